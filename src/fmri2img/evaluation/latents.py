"""Scores of predicted latents: per image, per latent number, and identification among the test images."""

import numpy as np

from fmri2img.evaluation.pixels import row_correlations, unit_rows


def pattern_correlations(truth: np.ndarray, predicted: np.ndarray, train_mean: np.ndarray) -> np.ndarray:
    """Return the correlation over latent numbers, per image, after subtracting the training mean.

    Without centring, the mean latent alone would score high.

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, d)
    train_mean : ndarray, shape (d,)

    Returns
    -------
    ndarray, shape (n,)
        0 for a prediction that equals the training mean.
    """
    return row_correlations(truth - train_mean, predicted - train_mean)


def dimension_correlations(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the correlation over images of each latent number, shape (d,); 0 where the prediction is constant."""
    return row_correlations(truth.T, predicted.T)


def similarity_matrix(truth: np.ndarray, predicted: np.ndarray, train_mean: np.ndarray) -> np.ndarray:
    """Return centred pattern correlations of all pairs, shape (n, n); rows are truth, columns predictions."""
    return unit_rows(truth - train_mean) @ unit_rows(predicted - train_mean).T


def two_way_identification(similarity: np.ndarray) -> np.ndarray:
    """Return, for each prediction, the share of other images that resemble it less than its own.

    ``acc_j = 1 / (n - 1) * sum over i != j of [r_ij < r_jj]``, as in the code of Brain-Diffuser, MindEye1 and MindEye2; chance
    is 0.5. The inequality is strict: a tie counts as wrong.

    Parameters
    ----------
    similarity : ndarray, shape (n, n)
        Rows are truth, columns predictions.

    Returns
    -------
    ndarray, shape (n,)
        0 to 1.

    Raises
    ------
    ValueError
        If there are fewer than two images.
    """
    n_images = len(similarity)
    if n_images < 2:
        raise ValueError(f"identification needs at least 2 images, got {n_images}")
    return (similarity < np.diag(similarity)[None]).sum(axis=0) / (n_images - 1)

"""Scores of pictures against pictures: PixCorr and SSIM, one value an image.

Both follow the published recipe (Ozcelik & VanRullen 2023, ``scripts/evaluate_reconstruction.py``): 425 x 425 pixels, values 0 to 1.
"""

import numpy as np
import torch
from joblib import Parallel, delayed
from skimage.metrics import structural_similarity

_GREY_WEIGHTS = np.array([0.2125, 0.7154, 0.0721], dtype=np.float32)


def enlarge(images: np.ndarray, size: int) -> np.ndarray:
    """Resize pictures bilinearly.

    Parameters
    ----------
    images : ndarray, shape (n, side, side, 3), uint8
    size : int
        Side of the result.

    Returns
    -------
    ndarray, shape (n, size, size, 3), float32
        0 to 1.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    resized = torch.nn.functional.interpolate(tensor, (size, size), mode="bilinear", antialias=False)
    return resized.permute(0, 2, 3, 1).contiguous().numpy()  # (n, size, size, 3)


def pixel_correlations(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return PixCorr of each pair: Pearson over all pixels and channels in one vector.

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, size, size, 3)

    Returns
    -------
    ndarray, shape (n,)
        -1 to 1; 0 where a picture is constant and the correlation undefined.
    """
    return row_correlations(truth.reshape(len(truth), -1), predicted.reshape(len(predicted), -1))


def row_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of each pair of rows, 0 where a row is constant, shape (n,)."""
    first, second = unit_rows(first), unit_rows(second)
    return np.einsum("ij,ij->i", first, second)


def unit_rows(values: np.ndarray) -> np.ndarray:
    """Centre each row and scale it to unit length; a constant row becomes 0. Shape (n, d), float32."""
    centred = values.astype(np.float32) - values.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    # What rounding leaves of a constant row is no signal.
    constant = length <= 1e-6 * np.sqrt(values.shape[1])
    return np.where(constant, 0, centred / np.where(constant, 1, length))


def structural_similarities(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the two-dimensional SSIM of each pair of grey-scaled pictures.

    Wang et al. 2004, doi:10.1109/TIP.2003.819861: Gaussian window of SD 1.5 cut at 3.5 SD, population covariance, data range 1.
    No channel argument is passed: with one, older scikit-image versions return the mean of one-dimensional column scores.

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, size, size, 3), float32
        0 to 1.

    Returns
    -------
    ndarray, shape (n,)
    """

    def one(first: np.ndarray, second: np.ndarray) -> float:
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
        return float(structural_similarity(first @ _GREY_WEIGHTS, second @ _GREY_WEIGHTS, **settings))

    jobs = (delayed(one)(first, second) for first, second in zip(truth, predicted, strict=True))
    return np.array(Parallel(n_jobs=-1, prefer="threads")(jobs))

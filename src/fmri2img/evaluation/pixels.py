"""Scores of pictures against pictures: PixCorr and SSIM, one value an image.

Both follow the published recipe (Ozcelik & VanRullen 2023, ``scripts/evaluate_reconstruction.py``): 425 x 425 pixels, values 0 to 1.
"""

import numpy as np
import torch

# Constants of Wang et al. for a data range of 1: (0.01)^2 and (0.03)^2.
_C1, _C2 = 1e-4, 9e-4
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

    Wang et al. 2004, doi:10.1109/TIP.2003.819861: Gaussian window of SD 1.5 cut at 3.5 SD (11 pixels), population covariance, data range 1,
    mean without a border of 5 pixels. Equal to scikit-image's two-dimensional score to five digits and several times
    faster: filtering is a product with a banded matrix.

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, size, size, 3), float32
        0 to 1; at least 11 pixels wide.

    Returns
    -------
    ndarray, shape (n,)
    """
    return similarity_of_moments(ssim_moments(truth), ssim_moments(predicted))


def ssim_moments(images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return grey pictures around 0, their local means and local mean squares: what SSIM needs of one side.

    Parameters
    ----------
    images : ndarray, shape (n, size, size, 3), float32
        0 to 1.
    """
    # Around 0.5, so that squares lose no digits in single precision.
    grey = torch.from_numpy(images @ _GREY_WEIGHTS - 0.5)
    blur = _window_matrix(grey.shape[1])
    return grey, blur @ grey @ blur.T, blur @ (grey * grey) @ blur.T


def similarity_of_moments(first: tuple, second: tuple) -> np.ndarray:
    """Return SSIM from the moments of both sides, shape (n,); one side may hold a single picture."""
    (grey_1, mean_1, square_1), (grey_2, mean_2, square_2) = first, second
    blur = _window_matrix(grey_1.shape[1])
    variance_1, variance_2 = square_1 - mean_1**2, square_2 - mean_2**2
    covariance = blur @ (grey_1 * grey_2) @ blur.T - mean_1 * mean_2
    mean_1, mean_2 = mean_1 + 0.5, mean_2 + 0.5
    luminance = (2 * mean_1 * mean_2 + _C1) / (mean_1**2 + mean_2**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_1 + variance_2 + _C2)
    return (luminance * structure).mean(dim=(1, 2)).double().numpy()


def _window_matrix(size: int) -> torch.Tensor:
    """Return the Gaussian window as a matrix, shape (size - 10, size): the border of 5 pixels falls away."""
    window = torch.exp(-0.5 * (torch.arange(-5, 6) / 1.5) ** 2)
    rows = torch.zeros(size - 10, size)
    for offset, weight in enumerate(window / window.sum()):
        rows[torch.arange(size - 10), torch.arange(size - 10) + offset] = weight
    return rows

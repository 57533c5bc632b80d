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
    mean without a border of 5 pixels. Equal to scikit-image's two-dimensional score to six digits and several times
    faster, since all pictures of a batch are filtered at once.

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, size, size, 3), float32
        0 to 1; at least 11 pixels wide.

    Returns
    -------
    ndarray, shape (n,)
    """
    first, second = (torch.from_numpy(images @ _GREY_WEIGHTS)[:, None].double() for images in (truth, predicted))
    moments = _blur(torch.cat([first, second, first * first, second * second, first * second], dim=1))
    mean_1, mean_2, square_1, square_2, product = moments.unbind(1)
    variance_1, variance_2 = square_1 - mean_1**2, square_2 - mean_2**2
    covariance = product - mean_1 * mean_2
    luminance = (2 * mean_1 * mean_2 + _C1) / (mean_1**2 + mean_2**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_1 + variance_2 + _C2)
    return (luminance * structure).mean(dim=(1, 2)).numpy()


def _blur(maps: torch.Tensor) -> torch.Tensor:
    """Filter maps (n, k, h, w) with the Gaussian window; the border of 5 pixels falls away."""
    offsets = torch.arange(-5, 6, dtype=maps.dtype)
    window = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    window = window / window.sum()
    n_maps = maps.shape[1]
    down = torch.nn.functional.conv2d(maps, window.view(1, 1, -1, 1).expand(n_maps, 1, -1, 1), groups=n_maps)
    return torch.nn.functional.conv2d(down, window.view(1, 1, 1, -1).expand(n_maps, 1, 1, -1), groups=n_maps)

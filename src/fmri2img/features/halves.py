"""Simple features of the halves of a picture: contrast energies and colours on a coarse grid."""

from collections.abc import Iterable

import numpy as np
import torch

from fmri2img.features.energies import contrast_energies

_GRID, _SIDE = 8, 64
_N_COMPONENTS = 128  # of each half


def half_features(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, int]:
    """Describe the left and the right half of pictures.

    Parameters
    ----------
    blocks : iterable of ndarray, shape (n, side, side, 3), uint8
        A few pictures at a time, of 64 pixels or more.

    Returns
    -------
    features : ndarray, shape (n_pictures, n_features), float32
        Principal components of standardized features, first those of the left half, then those of
        the right one; at most 128 of each.
    n_left : int
        How many describe the left half.
    """
    grid = np.concatenate([_grid(block) for block in blocks])  # (n, channels, rows, columns)
    middle = _GRID // 2
    left, right = (
        _components(half.reshape(len(grid), -1))
        for half in (grid[..., :middle], grid[..., middle:])
    )
    return np.concatenate([left, right], axis=1), left.shape[1]


def _grid(images: np.ndarray) -> np.ndarray:
    """Return contrast energies and mean colours, shape (n, 15, 8, 8), float32."""
    colours = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.adaptive_avg_pool2d(colours, _SIDE).round().to(torch.uint8)
    energies = contrast_energies(small.permute(0, 2, 3, 1).numpy())
    means = torch.nn.functional.adaptive_avg_pool2d(colours / 255, _GRID).numpy()
    return np.concatenate([energies, means], axis=1)


def _components(values: np.ndarray) -> np.ndarray:
    """Return the scores of the first principal components of standardized columns."""
    centred = values - values.mean(axis=0)
    deviation = centred.std(axis=0)
    standardized = centred / np.where(deviation > 0, deviation, 1)
    covariance = standardized.T @ standardized / len(values)
    _, axes = np.linalg.eigh(covariance)
    return (standardized @ axes[:, ::-1][:, :_N_COMPONENTS]).astype(np.float32)

"""Move volumes between NSD's spaces, with the semantics of MATLAB ``nsd_mapdata``.

A transform file holds, at each voxel of the target grid, decimal 1-based coordinates into the
source volume (1.0 is the centre of the first voxel). A coordinate is valid if it lies in 1..N of
its axis. The codes for "no data" differ between files (9999 went through arithmetic), so only the
range decides.
"""

from pathlib import Path

import numpy as np

from fmri2img.datasets.nsd.volumes import read_array, read_volume
from fmri2img.project.exceptions import FormatError, MismatchError


def read_coordinates(path: Path, target_shape: tuple[int, ...], *, remedy: str) -> np.ndarray:
    """Read a transform file.

    Parameters
    ----------
    path : Path
        ``<source>-to-<target>.nii.gz``.
    target_shape : tuple of int
        Grid (x, y, z) that the transform must cover.
    remedy : str
        The command that fetches the file.

    Returns
    -------
    ndarray, shape (x, y, z, 3), float32
        1-based coordinates into the source.

    Raises
    ------
    FormatError
        If the volume does not hold three coordinates per voxel.
    MismatchError
        If its grid is not the target's.
    """
    image = read_volume(path, remedy=remedy)
    if len(image.shape) != 4 or image.shape[3] != 3:
        raise FormatError(
            f"{path}: expected a volume of shape (x, y, z, 3), got {image.shape}; is this a "
            "transform file?"
        )
    if image.shape[:3] != tuple(target_shape[:3]):
        raise MismatchError(
            f"{path}: transform grid {image.shape[:3]} does not match the target grid "
            f"{tuple(target_shape[:3])}; "
            "use the transform of the same subject and functional space as the betas"
        )
    return read_array(path, image, remedy=remedy).astype(np.float32, copy=False)


def valid_coordinates(coordinates: np.ndarray, source_shape: tuple[int, ...]) -> np.ndarray:
    """Return where all three 1-based coordinates lie in 1..N of the source, shape (...,), bool."""
    upper = np.asarray(source_shape[:3])
    # NaN compares false, and is therefore invalid.
    return np.all((coordinates >= 1) & (coordinates <= upper), axis=-1)


def map_nearest(source: np.ndarray, coordinates: np.ndarray, *, bad_value: float) -> np.ndarray:
    """Take the nearest source voxel at each target voxel.

    Parameters
    ----------
    source : ndarray, shape (x, y, z)
        Any dtype.
    coordinates : ndarray, shape (..., 3)
        1-based coordinates into ``source``.
    bad_value : float
        Value where a coordinate is out of range.

    Returns
    -------
    ndarray, shape (...,), dtype of ``source``
        Ties go up, as MATLAB's ``round`` of positive numbers does.
    """
    valid = valid_coordinates(coordinates, source.shape)
    nearest = np.floor(coordinates[valid].astype(np.float64) + 0.5).astype(np.int64) - 1
    mapped = np.full(coordinates.shape[:-1], bad_value, dtype=source.dtype)
    mapped[valid] = source[nearest[:, 0], nearest[:, 1], nearest[:, 2]]
    return mapped


def map_winner_take_all(
    source: np.ndarray, coordinates: np.ndarray, *, bad_value: float
) -> np.ndarray:
    """Give each target voxel the label with the largest trilinear weight.

    Parameters
    ----------
    source : ndarray, shape (x, y, z)
        Label volume of any dtype.
    coordinates : ndarray, shape (..., 3)
        1-based coordinates into ``source``.
    bad_value : float
        Value where a coordinate is out of range.

    Returns
    -------
    ndarray, shape (...,), dtype of ``source``
        The lowest label wins a tie.
    """
    valid = valid_coordinates(coordinates, source.shape)
    inside = coordinates[valid].astype(np.float64) - 1  # (n, 3), 0-based
    low = np.minimum(np.floor(inside).astype(np.int64), np.asarray(source.shape) - 1)
    fraction = inside - low
    high = np.minimum(low + 1, np.asarray(source.shape) - 1)
    labels, corner_weights = [], []
    for corner in np.ndindex(2, 2, 2):
        index = np.where(corner, high, low)
        labels.append(source[index[:, 0], index[:, 1], index[:, 2]])
        corner_weights.append(np.prod(np.where(corner, fraction, 1 - fraction), axis=1))
    corner_labels, weights = np.stack(labels), np.stack(corner_weights)  # (8, n)
    winner = np.zeros(len(inside), dtype=source.dtype)
    best = np.zeros(len(inside))
    for label in np.unique(corner_labels):  # ascending: to win, a later label must weigh more
        weight = np.where(corner_labels == label, weights, 0).sum(axis=0)
        # Weights that are equal on paper differ in the last bits; without the margin, rounding
        # would decide a tie.
        better = weight > best + 1e-9
        winner[better], best[better] = label, weight[better]
    mapped = np.full(coordinates.shape[:-1], bad_value, dtype=source.dtype)
    mapped[valid] = winner
    return mapped

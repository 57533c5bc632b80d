"""Betas of one session, for the voxels of a mask only.

Files hold int16 = percent signal change x 300, with 0 for "no value". A ``.hdf5`` file has its axes
reversed (trial, z, y, x) and one chunk per voxel; a ``.nii.gz`` file has (x, y, z, trial). Voxels
are returned in C order over (x, y, z), whatever the format.
"""

from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

from fmri2img.containers.storage import array_fault
from fmri2img.datasets.nsd.design import TRIALS_PER_SESSION
from fmri2img.datasets.nsd.volumes import read_header, stream_voxels
from fmri2img.project.exceptions import FormatError, MismatchError
from fmri2img.project.files import check_file


def read_session_betas(
    path: Path, mask: np.ndarray, *, remedy: str, n_trials: int = TRIALS_PER_SESSION
) -> np.ndarray:
    """Read the betas of a mask's voxels from one session file.

    Parameters
    ----------
    path : Path
        ``.hdf5`` or ``.nii.gz``.
    mask : ndarray, shape (x, y, z), bool
    remedy : str
        The command that fetches the file.
    n_trials : int
        Expected number of trials.

    Returns
    -------
    ndarray, shape (n_trials, n_voxels), int16
        Stored units, 300 per percent; voxels in C order over (x, y, z).

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If the array is not int16 or does not have that many trials.
    MismatchError
        If its grid is not the mask's.
    """
    check_file(path, remedy)
    if path.suffix == ".hdf5":
        return _read_hdf5(path, mask, n_trials, remedy)
    return _read_nifti(path, mask, n_trials, remedy)


def _read_hdf5(path: Path, mask: np.ndarray, n_trials: int, remedy: str) -> np.ndarray:
    try:
        with h5py.File(
            path, "r", locking=False
        ) as file:  # archives are often on file systems without locks
            if fault := array_fault(file, "betas"):
                raise FormatError(f"{path}: {fault}; run: {remedy}")
            stored = file["betas"]
            _check(path, stored.shape[::-1], stored.dtype, mask, n_trials, remedy)
            return _read_runs(stored, mask)
    except (OSError, RuntimeError, KeyError) as error:
        raise FormatError(f"{path}: not a readable HDF5 file ({error}); run: {remedy}") from error


def _check(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype,
    mask: np.ndarray,
    n_trials: int,
    remedy: str,
) -> None:
    if dtype != np.int16 or len(shape) != 4 or shape[3] != n_trials:
        raise FormatError(
            f"{path}: expected int16 betas of shape (x, y, z, {n_trials}), got {dtype} "
            f"{shape}; run: {remedy}"
        )
    if shape[:3] != mask.shape:
        raise MismatchError(
            f"{path}: betas grid {shape[:3]} does not match the ROI grid {mask.shape}; use an ROI "
            "of the same subject and functional space"
        )


def _read_runs(stored: h5py.Dataset, mask: np.ndarray) -> np.ndarray:
    """Read unbroken runs of voxels along x: one chunk of the file is one voxel, so nothing
    outside the mask is read.
    """
    zyx = np.argwhere(mask.T)  # the file's own order
    # Position of each of these voxels in the returned order, C order over (x, y, z).
    order = np.ravel_multi_index(tuple(zyx.T[::-1]), mask.shape).argsort().argsort()
    betas = np.empty((len(zyx), len(stored)), dtype=np.int16)
    breaks = np.flatnonzero(np.any(np.diff(zyx, axis=0) != (0, 0, 1), axis=1)) + 1
    for first, last in pairwise((0, *breaks, len(zyx))):
        z, y, x = zyx[first]
        betas[order[first:last]] = stored[:, z, y, x : x + last - first].T
    return np.ascontiguousarray(betas.T)  # (n_trials, n_voxels)


def _read_nifti(path: Path, mask: np.ndarray, n_trials: int, remedy: str) -> np.ndarray:
    n_volumes = read_header(path, remedy=remedy).get_data_shape()[3:]
    if n_volumes != (n_trials,):
        raise FormatError(
            f"{path}: expected {n_trials} volumes, one a trial, got {n_volumes}; run: {remedy}"
        )
    betas = np.empty((n_trials, int(mask.sum())), dtype=np.int16)
    for row, volume in zip(betas, stream_voxels(path, mask, remedy=remedy), strict=True):
        row[:] = volume
    return betas

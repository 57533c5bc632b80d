"""Betas of one session, voxels of a mask only.

Files hold int16 = percent signal change x 300, with 0 for "no value". A ``.hdf5`` file has its axes reversed
(trial, z, y, x) and one chunk a voxel; a ``.nii.gz`` file has (x, y, z, trial). Voxels are handed out in C order over (x, y, z)
whichever format they come from.
"""

from pathlib import Path

import h5py
import nibabel as nib
import numpy as np

from fmri2img.exceptions import FormatError, MismatchError, MissingDataError
from fmri2img.nsd.design import TRIALS_PER_SESSION
from fmri2img.nsd.volumes import read_volume


def read_session_betas(path: Path, mask: np.ndarray, *, remedy: str) -> np.ndarray:
    """Read the betas of a mask's voxels from one session file.

    Parameters
    ----------
    path : Path
        ``.hdf5`` or ``.nii.gz``.
    mask : ndarray, shape (x, y, z), bool
    remedy : str
        The command that brings the file.

    Returns
    -------
    ndarray, shape (750, n_voxels), int16
        Stored units, 300 per percent; voxels in C order over (x, y, z).

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If the array is not int16 or has not 750 trials.
    MismatchError
        If its grid is not the mask's.
    """
    if not path.exists():
        raise MissingDataError(f"{path} not found; run: {remedy}")
    if path.suffix == ".hdf5":
        return _read_hdf5(path, mask)
    return _read_nifti(path, mask, remedy=remedy)


def _check(path: Path, shape: tuple[int, ...], dtype: np.dtype, mask: np.ndarray) -> None:
    if dtype != np.int16 or len(shape) != 4 or shape[3] != TRIALS_PER_SESSION:
        raise FormatError(f"{path}: expected int16 betas of shape (x, y, z, {TRIALS_PER_SESSION}), got {dtype} {shape}")
    if shape[:3] != mask.shape:
        raise MismatchError(
            f"{path}: betas grid {shape[:3]} does not match the ROI grid {mask.shape}; use an ROI of the same subject and functional space"
        )


def _read_hdf5(path: Path, mask: np.ndarray) -> np.ndarray:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FormatError(f"{path}: not an HDF5 file ({error})") from error
    with file:
        if "betas" not in file:
            raise FormatError(f"{path}: expected a dataset named betas, got {sorted(file)}")
        stored = file["betas"]
        _check(path, stored.shape[::-1], stored.dtype, mask)
        reversed_mask = mask.T  # (z, y, x), the file's own order
        betas = np.empty((TRIALS_PER_SESSION, int(mask.sum())), dtype=np.int16)
        # Position of each masked voxel in (x, y, z) order, looked up in the file's (z, y, x) order.
        order = np.full(mask.shape, -1)
        order[mask] = np.arange(betas.shape[1])
        for z in np.flatnonzero(reversed_mask.any(axis=(1, 2))):
            rows = np.flatnonzero(reversed_mask[z].any(axis=1))
            columns = np.flatnonzero(reversed_mask[z].any(axis=0))
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            inside = reversed_mask[z][box]
            betas[:, order.T[z][box][inside]] = stored[(slice(None), z, *box)][:, inside]
    return betas


def _read_nifti(path: Path, mask: np.ndarray, *, remedy: str) -> np.ndarray:
    image: nib.Nifti1Image = read_volume(path, remedy=remedy)
    _check(path, image.shape, image.get_data_dtype(), mask)
    return np.asarray(image.dataobj)[mask].T.copy()  # (750, n_voxels)

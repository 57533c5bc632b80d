"""The stimulus file: 73 000 colour pictures of 425 x 425."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from fmri2img.project.exceptions import FormatError, MismatchError, MissingDataError

STIMULUS_SIDE = 425
_CHUNK_CACHE_BYTES = 128 << 20


def iterate_images(path: Path, image_ids: np.ndarray, *, remedy: str) -> Iterator[np.ndarray]:
    """Yield pictures one by one, never more than one in memory.

    Parameters
    ----------
    path : Path
        ``nsd_stimuli.hdf5``.
    image_ids : ndarray, shape (n,)
        0-based 73k ids.
    remedy : str
        The command that brings the file.

    Yields
    ------
    ndarray, shape (425, 425, 3), uint8

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If it holds no pictures.
    MismatchError
        If an id lies beyond the last picture.
    """
    if not path.exists():
        raise MissingDataError(f"{path} not found; run: {remedy}")
    with _open(path, remedy) as file:
        if (
            "imgBrick" not in file
            or file["imgBrick"].ndim != 4
            or file["imgBrick"].dtype != np.uint8
        ):
            raise FormatError(
                f"{path}: expected a uint8 dataset imgBrick of shape (images, height, width, 3), "
                f"got {sorted(file)}; run: {remedy}"
            )
        brick = file["imgBrick"]
        if len(image_ids) and image_ids.max() >= len(brick):
            raise MismatchError(
                f"{path}: image id {image_ids.max()} (0-based) asked for, the file holds "
                f"{len(brick)}; run: {remedy}"
            )
        try:
            for image_id in image_ids:
                yield brick[image_id]
        except OSError as error:
            raise FormatError(f"{path}: damaged or cut off ({error}); run: {remedy}") from error


def _open(path: Path, remedy: str) -> h5py.File:
    try:
        # How the published file is cut into chunks is not documented; with room for many, one that
        # holds several pictures is read once.
        return h5py.File(path, "r", locking=False, rdcc_nbytes=_CHUNK_CACHE_BYTES)
    except OSError as error:
        raise FormatError(f"{path}: not a readable HDF5 file ({error}); run: {remedy}") from error

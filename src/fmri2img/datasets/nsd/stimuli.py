"""The stimulus file: 73 000 colour pictures of 425 x 425."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from fmri2img.containers.storage import array_fault
from fmri2img.project.exceptions import FormatError, MismatchError, MissingDataError
from fmri2img.project.files import check_file

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
        The command that fetches the file.

    Yields
    ------
    ndarray, shape (425, 425, 3), uint8

    Raises
    ------
    MissingDataError
        If the file is missing, or a picture was never written.
    FormatError
        If it holds no pictures.
    MismatchError
        If an id lies beyond the last picture.
    """
    check_file(path, remedy)
    with _open(path, remedy) as file:
        try:
            if fault := array_fault(file, "imgBrick", may_be_virtual=True):
                raise FormatError(f"{path}: {fault}; run: {remedy}")
            brick = file["imgBrick"]
        except (OSError, RuntimeError, KeyError) as error:
            raise FormatError(f"{path}: damaged or cut off ({error}); run: {remedy}") from error
        if brick.ndim != 4 or brick.dtype != np.uint8:
            raise FormatError(
                f"{path}: expected uint8 imgBrick of shape (images, height, width, 3), got "
                f"{brick.dtype} {brick.shape}; run: {remedy}"
            )
        if len(image_ids) and image_ids.max() >= len(brick):
            raise MismatchError(
                f"{path}: image id {image_ids.max()} (0-based) is beyond the {len(brick)} pictures "
                f"of the file; run: {remedy}"
            )
        for image_id in image_ids:
            try:
                picture = brick[image_id]
            except (OSError, RuntimeError) as error:
                raise FormatError(f"{path}: damaged or cut off ({error}); run: {remedy}") from error
            if not picture.any():  # as rows read that were never written, or lie in a lost file
                raise MissingDataError(
                    f"{path}: there is no picture of image id {image_id} (0-based): all its values "
                    f"are 0; run: {remedy}"
                )
            yield picture


def _open(path: Path, remedy: str) -> h5py.File:
    try:
        # The chunks of the published file are not documented; with a large cache, a chunk that
        # holds several pictures is read only once.
        return h5py.File(path, "r", locking=False, rdcc_nbytes=_CHUNK_CACHE_BYTES)
    except OSError as error:
        raise FormatError(f"{path}: not a readable HDF5 file ({error}); run: {remedy}") from error

"""LAION-fMRI's pictures, and what people wrote about them."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from fmri2img.containers.storage import array_fault
from fmri2img.datasets.folder_tables import read_table
from fmri2img.project.exceptions import FormatError, MismatchError
from fmri2img.project.files import check_file

SIDE = 1000
_GREY = (128, 128, 128)  # of the screen, behind pictures that are partly transparent


def read_names(path: Path, *, remedy: str) -> list[str]:
    """Read the names of all pictures, in the order of the file that holds them.

    Raises
    ------
    MissingDataError
        If the table is not there.
    FormatError
        If it has no column ``image_name``, or names a picture twice.
    """
    names = read_table(path, ("image_name",), command=remedy)["image_name"]
    if names.duplicated().any():
        raise FormatError(
            f"{path}: {names[names.duplicated()].iloc[0]} is there twice, expected each picture "
            f"once; run: {remedy}"
        )
    return list(names)


def iterate_stimuli(
    path: Path, names: list[str], image_ids: Iterable[str], *, remedy: str
) -> Iterator[np.ndarray]:
    """Yield pictures as they were on the screen, each of shape (side, side, 3), uint8.

    Parameters
    ----------
    path : Path
        HDF5 file whose array ``images`` holds the bytes of JPEG and PNG files.
    names : list of str
        Name of each row.
    image_ids : iterable of str
    remedy : str
        How to get the file.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If it cannot be read, or what a row holds is no picture.
    MismatchError
        If it has no such picture, or other pictures than the table.
    """
    check_file(path, remedy)
    rows = {name: row for row, name in enumerate(names)}
    try:
        with h5py.File(path, "r", locking=False) as file:
            if fault := array_fault(file, "images"):
                raise FormatError(f"{path}: {fault}; {remedy}")
            images = file["images"]
            if images.shape != (len(names),):
                raise MismatchError(
                    f"{path}: images of shape {images.shape}, expected ({len(names)},) by the "
                    f"table beside it; {remedy}"
                )
            for name in image_ids:
                if name not in rows:
                    raise MismatchError(
                        f"{path}: there is no picture {name}, which a trial showed; {remedy}"
                    )
                yield _as_displayed(bytes(images[rows[name]]), path, name, remedy)
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: not a readable HDF5 file ({error}); {remedy}") from error


def _as_displayed(content: bytes, path: Path, name: str, remedy: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if "A" not in picture.getbands():
                return np.asarray(picture.convert("RGB"))
            whole = Image.new("RGBA", picture.size, (*_GREY, 255))
            whole.alpha_composite(picture.convert("RGBA"))
            return np.asarray(whole.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path}: {name}: not a readable picture ({error}); {remedy}") from error


def read_human_captions(
    path: Path, image_ids: Iterable[str], *, remedy: str
) -> dict[int | str, list[str]]:
    """Return what people wrote about pictures, the best caption first.

    Raises
    ------
    MissingDataError
        If the table is not there.
    MismatchError
        If a picture has no caption.
    """
    table = read_table(path, ("image_name", "caption_idx", "source", "caption"), command=remedy)
    human = table[table["source"] == "human"].sort_values("caption_idx", kind="stable")
    captions = human.groupby("image_name")["caption"].agg(list)
    wanted = list(image_ids)
    if absent := [name for name in wanted if name not in captions.index]:
        raise MismatchError(
            f"{path}: {absent[0]} has no caption by a person ({len(absent)} such pictures); run: "
            f"{remedy}"
        )
    return {name: captions[name] for name in wanted}

"""The pictures of an experiment in a folder: files, or rows of one HDF5 array."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import pandas as pd
from PIL import Image

from fmri2img.containers.storage import array_fault
from fmri2img.datasets.folder_tables import read_table, whole_numbers
from fmri2img.datasets.protocol import Ids
from fmri2img.project.exceptions import FormatError
from fmri2img.project.plain_names import is_below, leads_elsewhere

PICTURES = PurePosixPath("pictures.csv")
ARRAY = PurePosixPath("pictures.hdf5")
_FOLDER = PurePosixPath("pictures")
_NAME = "pictures"  # of the array
_TRUTH = {"0": False, "1": True, "false": False, "true": True}


def image_ids(path: Path, ids: pd.Series, kind: Ids) -> pd.Series:
    """Return the ids of a table as declared: numbers, or texts that may name files.

    Raises
    ------
    FormatError
        If one is of another form.
    """
    if kind == "numbers":
        return whole_numbers(path, ids)
    if wrong := [text for text in ids if leads_elsewhere(text)]:
        raise FormatError(
            f"{path}: image_id: got {wrong[0]!r:.80}, expected texts that may name files, "
            "without slashes and not starting with . or -; correct the table"
        )
    return ids


def read_picture_table(path: Path, kind: Ids) -> pd.DataFrame:
    """Read ``pictures.csv``.

    Returns
    -------
    DataFrame
        ``image_id``, ``is_test``, and ``path``, relative to the root; ``row`` where pictures are
        rows of one array.

    Raises
    ------
    FormatError
        If the table is damaged, names an image twice, or files that lie elsewhere.
    """
    table = read_table(path, ("image_id", "is_test"))
    table["image_id"] = image_ids(path, table["image_id"], kind)
    if table["image_id"].duplicated().any():
        twice = table.loc[table["image_id"].duplicated(), "image_id"].iloc[0]
        raise FormatError(f"{path}: image {twice} appears twice; keep one line per image")
    is_test = table["is_test"].str.lower().map(_TRUTH)
    if is_test.isna().any():
        wrong = table.loc[is_test.isna(), "is_test"].iloc[0]
        raise FormatError(f"{path}: is_test: got {wrong!r}, expected 0 or 1; correct the table")
    table["is_test"] = is_test.astype(bool)
    if "row" in table and "file" not in table:
        rows = whole_numbers(path, table["row"])
        return table.assign(row=rows, path=pd.Series([ARRAY] * len(table), dtype=object))
    paths = [_FOLDER / file for file in read_table(path, ("file",))["file"]]
    if outside := [file for file in paths if not is_below(str(file))]:
        raise FormatError(
            f"{path}: file: got {outside[0]}, expected files below pictures; move it there"
        )
    return table.drop(columns="row", errors="ignore").assign(path=paths)


def read_picture_files(files: Sequence[Path]) -> Iterator[np.ndarray]:
    """Yield pictures as they are in their files, each of shape (height, width, 3), uint8.

    Raises
    ------
    FormatError
        If a file is no picture.
    """
    for file in files:
        try:
            with Image.open(file) as picture:
                if _is_transparent(picture):
                    raise FormatError(
                        f"{file}: partly transparent, and what was behind it on the screen is not "
                        "known; flatten it onto that colour"
                    )
                yield np.asarray(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise FormatError(f"{file}: not a readable picture ({error}); save it again") from error


def _is_transparent(picture: Image.Image) -> bool:
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return False
    return int(np.asarray(picture.convert("RGBA"))[..., 3].min()) < 255


def count_picture_rows(path: Path) -> int:
    """Return how many pictures the array ``pictures`` holds.

    Raises
    ------
    FormatError
        If there is no such array.
    """
    with _opened(path) as array:
        return len(array)


def read_picture_rows(path: Path, rows: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield pictures of the array ``pictures`` (n, height, width, 3), uint8.

    Raises
    ------
    FormatError
        If there is no such array, or no such row.
    """
    with _opened(path) as array:
        for row in rows:
            if row >= len(array):
                raise FormatError(
                    f"{path}: there is no row {row}, expected 0 to {len(array) - 1}; correct "
                    f"{PICTURES}"
                )
            yield array[row]


@contextmanager
def _opened(path: Path) -> Iterator[h5py.Dataset]:
    try:
        with h5py.File(path, "r", locking=False) as file:
            if fault := array_fault(file, _NAME):
                raise FormatError(f"{path}: {fault}; write the file anew")
            array = file[_NAME]
            if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
                raise FormatError(
                    f"{path}: {_NAME} is {array.dtype} of shape {array.shape}, expected uint8 of "
                    "(n, height, width, 3); write the file anew"
                )
            yield array
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: not a readable HDF5 file ({error}); write it anew") from error

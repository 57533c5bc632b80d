"""Image ids: whole numbers, or texts."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fmri2img.project.exceptions import MismatchError


def find_rows(sorted_ids: np.ndarray, wanted: np.ndarray, where: str) -> np.ndarray:
    """Return the position of each wanted id among ascending ids, shape (n,).

    Raises
    ------
    MismatchError
        If one is absent.
    """
    rows = np.searchsorted(sorted_ids, wanted).clip(max=max(len(sorted_ids) - 1, 0))
    absent = sorted_ids[rows] != wanted if len(sorted_ids) else np.ones(len(wanted), bool)
    if absent.any():
        raise MismatchError(
            f"image id {np.asarray(wanted)[absent][0]} is not among the {where}; rebuild both "
            "with: dvc repro"
        )
    return rows


def as_ids(values: Sequence[int | str]) -> np.ndarray:
    """Return ids as an array, shape (n,): int64, or texts."""
    are_texts = len(values) > 0 and isinstance(values[0], str)
    return np.asarray(values, dtype=np.str_ if are_texts else np.int64)


def id_name(image_id: Any) -> str:
    """Return the name of an image in files and keys; numbers have at least five digits."""
    return image_id if isinstance(image_id, str) else f"{image_id:05d}"


def id_number(image_id: Any) -> int:
    """Return the number that stands for an image in seeds; it is the same in every run."""
    if isinstance(image_id, str):
        return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "big")
    return int(image_id)

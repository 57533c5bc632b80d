"""Positions of image ids."""

import numpy as np

from fmri2img.exceptions import MismatchError


def find_rows(sorted_ids: np.ndarray, wanted: np.ndarray, where: str) -> np.ndarray:
    """Return the position of each wanted id among ascending ids.

    Raises
    ------
    MismatchError
        If one is absent.
    """
    rows = np.searchsorted(sorted_ids, wanted).clip(max=max(len(sorted_ids) - 1, 0))
    absent = sorted_ids[rows] != wanted if len(sorted_ids) else np.ones(len(wanted), bool)
    if absent.any():
        raise MismatchError(
            f"image id {np.asarray(wanted)[absent][0]} (0-based) is not among the {where}; rebuild "
            "both with: dvc repro"
        )
    return rows

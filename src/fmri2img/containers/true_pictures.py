"""Test pictures as the dataset stores them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fmri2img.containers.declared_arrays import Array
from fmri2img.containers.ids import find_rows
from fmri2img.containers.stored import Stored


@dataclass(frozen=True)
class TruePictures(Stored):
    """Test images as the dataset stores them; reconstructions are compared with them.

    Attributes
    ----------
    image_ids : ndarray, shape (n,), int64 or str
        Ascending.
    images : ndarray, shape (n, side, side, 3), uint8
    provenance : dict
        ``data_source`` and ``receipts``, as in `voxels.Voxels`, and ``picture_side``: the side
        that the dataset declares (files of version 0.2 do not say).
    """

    arrays: ClassVar[dict[str, Array]] = {
        "image_ids": Array("id", ("images",), "ascending"),
        "images": Array("uint8", ("images", "side", "side", 3)),
    }

    image_ids: np.ndarray
    images: np.ndarray
    provenance: dict

    def __post_init__(self) -> None:
        self._check_lengths(images=["image_ids", "images"])

    def contradiction(self) -> str:
        """Describe pictures that are not of the dataset's size: scores depend on it."""
        side = self.images.shape[1]
        declared = self.provenance.get("picture_side", side)
        if side != declared:
            return f"images: {side} pixels wide, expected the dataset's {declared}"
        return ""

    def of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return some pictures, shape (n, side, side, 3).

        Raises
        ------
        MismatchError
            If a picture is absent.
        """
        return self.images[find_rows(self.image_ids, image_ids, "true pictures")]

"""Latents of pictures."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fmri2img.containers.declared_arrays import Array
from fmri2img.containers.ids import find_rows
from fmri2img.containers.stored import Stored


@dataclass(frozen=True)
class Latents(Stored):
    """Latents of images in the autoencoder's scaled units.

    Attributes
    ----------
    image_ids : ndarray, shape (n_images,), int64 or str
        Ascending.
    values : ndarray, shape (n_images, 4, 16, 16), float32
    energies : ndarray, shape (n_images, 12, 8, 8), float32
        Local contrast energies of the same pictures (`features.energies`).
    provenance : dict
        ``data_source`` and the autoencoder's identity: name, revision, sha256, scaling factor.
    """

    arrays: ClassVar[dict[str, Array]] = {
        "image_ids": Array("id", ("images",), "ascending"),
        "values": Array("float32", ("images", 4, "rows", "columns"), is_finite=True),
        "energies": Array("float32", ("images", "bands", "cells", "cells"), is_finite=True),
    }

    needed_provenance: ClassVar[dict[str, type]] = {"autoencoder": dict}

    image_ids: np.ndarray
    values: np.ndarray
    energies: np.ndarray
    provenance: dict

    def __post_init__(self) -> None:
        self._check_lengths(images=["image_ids", "values", "energies"])

    def contradiction(self) -> str:
        """Describe latents that do not depend on the picture: no training could use them."""
        if len(self.values) > 1 and (self.values == self.values[0]).all():
            return f"values: the same latents for all {len(self.values)} pictures"
        return ""

    def only(self, image_ids: np.ndarray) -> "Latents":
        """Return the latents of some images, ids of shape (n,), in a container of their own.

        Raises
        ------
        MismatchError
            If an image has no latent.
        """
        rows = find_rows(self.image_ids, image_ids, "latents")
        return Latents(image_ids, self.values[rows], self.energies[rows], self.provenance)

    def of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return the latents of some images, shape (n, 4, 16, 16).

        Raises
        ------
        MismatchError
            If an image has no latent.
        """
        return self.values[find_rows(self.image_ids, image_ids, "latents")]

"""Stable Diffusion's latents of pictures and text embeddings of captions."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from fmri2img.containers.declared_arrays import Array
from fmri2img.containers.ids import find_rows
from fmri2img.containers.stored import Stored


@dataclass(frozen=True)
class DiffusionTargets(Stored):
    """Stable Diffusion's latents of pictures and text embeddings of captions.

    Attributes
    ----------
    image_ids : ndarray, shape (n_images,), int64
        Ascending.
    z_latents : ndarray, shape (n_images, 4, 40, 40), float16
        Latents of the pictures at 320 x 320, in scaled units: "z".
    text_embeddings : ndarray, shape (n_images, 77, 768), float16
        Text embeddings, averaged over an image's captions: "c".
    empty_text : ndarray, shape (77, 768), float16
        Embedding of the empty text.
    provenance : dict
        ``data_source``; ``z_latents`` and ``text_embeddings``: hashes of the model and inputs that
        each was made from; ``about``: Stable Diffusion's identity, as configs of encoders record
        it; ``n_captions``, ``n_truncated``.
    """

    arrays: ClassVar[dict[str, Array]] = {
        "image_ids": Array("id", ("images",), "ascending"),
        "z_latents": Array("float16", ("images", 4, 40, 40), is_finite=True),
        "text_embeddings": Array("float16", ("images", 77, 768), is_finite=True),
        "empty_text": Array("float16", (77, 768), is_finite=True),
    }

    earlier_names: ClassVar[dict[str, str]] = {
        "z_latents": "scenes",
        "text_embeddings": "prompts",
        "empty_text": "empty_prompt",
    }

    image_ids: np.ndarray
    z_latents: np.ndarray
    text_embeddings: np.ndarray
    empty_text: np.ndarray
    provenance: dict

    def __post_init__(self) -> None:
        self._check_lengths(images=["image_ids", "z_latents", "text_embeddings"])

    @classmethod
    def nothing(cls) -> Self:
        """Return targets of no image."""
        half = np.dtype(np.float16)
        return cls(
            np.zeros(0, np.int64),
            np.zeros((0, 4, 40, 40), half),
            np.zeros((0, 77, 768), half),
            np.zeros((77, 768), half),
            {},
        )

    def made_from(self, name: str) -> dict[str, Any] | None:
        """Return the hashes of the model and inputs of an array; None if they are unknown."""
        earlier: dict[str, Any] | None = self.provenance.get(self.earlier_names[name])
        return self.provenance.get(name, earlier)

    def rows_of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return the position of each image, shape (n,).

        Raises
        ------
        MismatchError
            If an image has no targets.
        """
        return find_rows(self.image_ids, image_ids, "targets")

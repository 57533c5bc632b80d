"""What Stable Diffusion makes of pictures and captions."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from fmri2img.containers.ids import find_rows
from fmri2img.containers.stored import Stored


@dataclass(frozen=True)
class DiffusionTargets(Stored):
    """What Stable Diffusion makes of pictures and captions; without rows for a model that learns
    from latents alone.

    Attributes
    ----------
    image_ids : ndarray, shape (n_images,), int64
        Ascending.
    scenes : ndarray, shape (n_images, 4, 40, 40), float16
        Latents of the pictures at 320 x 320, in scaled units: "z".
    prompts : ndarray, shape (n_images, 77, 768), float16
        Text embeddings, averaged over an image's captions: "c".
    empty_prompt : ndarray, shape (77, 768), float16
        Embedding of the empty text.
    provenance : dict
        ``data_source``; ``scenes`` and ``prompts``: hashes of what each was made with and from;
        ``about``: Stable Diffusion's identity, as configs of encoders record it; ``n_captions``,
        ``n_truncated``.
    """

    image_ids: np.ndarray
    scenes: np.ndarray
    prompts: np.ndarray
    empty_prompt: np.ndarray
    provenance: dict

    def __post_init__(self) -> None:
        self._check_lengths(images=["image_ids", "scenes", "prompts"])

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

    def rows_of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return the position of each image, shape (n,).

        Raises
        ------
        MismatchError
            If an image has no targets.
        """
        return find_rows(self.image_ids, image_ids, "targets")

"""What an encoder makes of averaged betas."""

from dataclasses import dataclass

import numpy as np

from fmri2img.containers.stored import Stored

# What pictures of encoders that use Stable Diffusion are made from, beside both together.
VARIANTS = ("z_only", "c_only")


@dataclass(frozen=True)
class Reconstructions(Stored):
    """What an encoder makes of averaged betas, beside what the autoencoder alone would give.

    Attributes
    ----------
    image_ids : ndarray, shape (n,), int64
        Ascending within each split.
    split : ndarray, shape (n,), bytes
        ``test`` or ``train``.
    latents : ndarray, shape (n, 4, 16, 16), float32
        Predicted, in scaled units.
    latent_sd : ndarray, shape (n, 4, 16, 16), float32
        How far off the encoder says it is, as an SD.
    images : ndarray, shape (n, side, side, 3), uint8
        Decoded from ``latents``.
    ceiling : ndarray, shape (n, side, side, 3), uint8
        Decoded from the true latents.
    mean_latent : ndarray, shape (4, 16, 16), float32
        Mean over training images.
    mean_decoded : ndarray, shape (side, side, 3), uint8
        Decoded from ``mean_latent``.
    partial_image_ids : ndarray, shape (m,), int64
        Test images that were shown more than once, several times each.
    partial_first, partial_count : ndarray, shape (m,), int8
        Which repetition was the first of how many that were averaged: the first alone, the second
        alone, the first two.
    partial_latents : ndarray, shape (m, 4, 16, 16), float32
        Predicted from those repetitions only.
    partial_images : ndarray, shape (m, side, side, 3), uint8
    partial_seen : ndarray, shape (m, 4, 16, 16), float32
        Latents that the autoencoder finds in ``partial_images``.
    mean_seen : ndarray, shape (4, 16, 16), float32
        And in ``mean_decoded``.
    seed_latents : ndarray, shape (n_seeds, n_test, 4, 16, 16), float32
        Of the test images, from encoders trained in the same way with other seeds; ``n_seeds`` is 0
        where a seed changes nothing.
    seed_images : ndarray, shape (n_seeds, n_test, side, side, 3), uint8
    samples : ndarray, shape (n_test or 0, n_samples, 512, 512, 3), uint8
        Of the test images, from Stable Diffusion, for encoders that use it: the first is the one in
        ``images``, there made smaller.
    scenes : ndarray, shape (n_test or 0, 4, 40, 40), float16
        Decoded z of the test images, for the same encoders.
    prompts : ndarray, shape (n_test or 0, 77, 768), float16
        Decoded c.
    variant_images : ndarray, shape (2, n_test, side, side, 3), uint8
        Pictures from z alone and from c alone (`VARIANTS`); the first axis has no entries for other
        encoders.
    variant_latents : ndarray, shape (2, n_test, 4, 16, 16), float32
        Latents that the autoencoder finds in them.
    provenance : dict
    """

    stays_on_disk = ("samples",)  # gigabytes

    image_ids: np.ndarray
    split: np.ndarray
    latents: np.ndarray
    latent_sd: np.ndarray
    images: np.ndarray
    ceiling: np.ndarray
    mean_latent: np.ndarray
    mean_decoded: np.ndarray
    partial_image_ids: np.ndarray
    partial_first: np.ndarray
    partial_count: np.ndarray
    partial_latents: np.ndarray
    partial_images: np.ndarray
    partial_seen: np.ndarray
    mean_seen: np.ndarray
    seed_latents: np.ndarray
    seed_images: np.ndarray
    samples: np.ndarray
    scenes: np.ndarray
    prompts: np.ndarray
    variant_images: np.ndarray
    variant_latents: np.ndarray
    provenance: dict

    def __post_init__(self) -> None:
        self._check_lengths(
            images=["image_ids", "split", "latents", "latent_sd", "images", "ceiling"],
            partial=[
                "partial_image_ids",
                "partial_first",
                "partial_count",
                "partial_latents",
                "partial_images",
                "partial_seen",
            ],
            seeds=["seed_latents", "seed_images"],
            diffusion=["samples", "scenes", "prompts"],
            variants=["variant_images", "variant_latents"],
        )

    def rows(self, split: str) -> np.ndarray:
        """Return the rows of one split."""
        return np.flatnonzero(self.split == split.encode())


def without_diffusion(
    n_test: int, picture_shape: tuple[int, ...], latent_shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return the parts of `Reconstructions` that only encoders have which steer Stable
    Diffusion, without entries.
    """
    return {
        "samples": np.zeros((0, 0, 512, 512, 3), np.uint8),
        "scenes": np.zeros((0, 4, 40, 40), np.float16),
        "prompts": np.zeros((0, 77, 768), np.float16),
        "variant_images": np.zeros((0, n_test, *picture_shape), np.uint8),
        "variant_latents": np.zeros((0, n_test, *latent_shape), np.float32),
    }

"""An encoder's reconstructions from averaged betas."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fmri2img.containers.declared_arrays import Array
from fmri2img.containers.stored import Stored

# Encoders that use Stable Diffusion also make pictures from z alone and from c alone.
VARIANTS = ("z_only", "c_only")
_LATENT = (4, "rows", "columns")


@dataclass(frozen=True)
class Reconstructions(Stored):
    """An encoder's reconstructions from averaged betas, and those of the autoencoder alone.

    Arrays that do not apply to an encoder are None, and are not in the file.

    Attributes
    ----------
    image_ids : ndarray, shape (n,), int64 or str
        Ascending within each split.
    split : ndarray, shape (n,), bytes
        ``test`` or ``train``.
    images : ndarray, shape (n, side, side, 3), uint8
        The reconstructions.
    ceiling : ndarray, shape (n, side, side, 3), uint8
        Decoded from the true latents.
    mean_latent : ndarray, shape (4, 16, 16), float32
        Mean over training images.
    mean_decoded : ndarray, shape (side, side, 3), uint8
        Decoded from ``mean_latent``.
    mean_seen : ndarray, shape (4, 16, 16), float32
        Latents that the autoencoder finds in ``mean_decoded``.
    partial_image_ids : ndarray, shape (m,), int64 or str
        Test images that were shown more than once; each id occurs several times.
    partial_first, partial_count : ndarray, shape (m,), int8
        First repetition averaged, from 0, and number of repetitions averaged: the first alone,
        the second alone, the first two, and so on.
    partial_images : ndarray, shape (m, side, side, 3), uint8
        Reconstructed from those repetitions only.
    partial_seen : ndarray, shape (m, 4, 16, 16), float32
        Latents that the autoencoder finds in ``partial_images``.
    provenance : dict
        Also ``states_its_spread``: whether ``latent_sd`` follows from the encoder's own prior and
        noise, not from its errors on validation images; absent until version 0.3.0.
    latents : ndarray, shape (n, 4, 16, 16), float32, or None
        Predicted latents, in scaled units; for an encoder that uses Stable Diffusion, the latents
        that the autoencoder finds in ``images``; None for an encoder that predicts none.
    latent_sd : ndarray, shape (n, 4, 16, 16), float32, or None
        SD that the encoder states for the error of its latents; NaN where it states none.
    partial_latents : ndarray, shape (m, 4, 16, 16), float32, or None
        Latents predicted from some of the repetitions.
    found_latents : ndarray, shape (n, 4, 16, 16), float32, or None
        Latents that the autoencoder finds in ``images``, for an encoder that predicts none.
    seed_images : ndarray, shape (n_seeds, n_test, side, side, 3), uint8, or None
        Reconstructions of the test images by encoders trained in the same way with other seeds;
        None where a seed changes nothing.
    seed_latents : ndarray, shape (n_seeds, n_test, 4, 16, 16), float32, or None
    samples : ndarray, shape (n_test, n_samples, 512, 512, 3), uint8, or None
        Stable Diffusion's pictures of the test images; ``images`` holds the first of each, made
        smaller.
    z_latents : ndarray, shape (n_test, 4, 40, 40), float16, or None
        Decoded z of the test images, for the same encoders.
    text_embeddings : ndarray, shape (n_test, 77, 768), float16, or None
        Decoded c of the test images.
    variant_images : ndarray, shape (2, n_test, side, side, 3), uint8, or None
        Pictures from z alone and from c alone (`VARIANTS`).
    variant_latents : ndarray, shape (2, n_test, 4, 16, 16), float32, or None
        Latents that the autoencoder finds in ``variant_images``.
    voxel_weights : ndarray, shape (n_voxels,), float32, or None
        Length of each z-scored voxel's weights in the encoder; None unless it is linear.
    posterior_image_ids : ndarray, shape (m,), int64 or str, or None
        Test images of which there are samples from the posterior, whatever their scores; None for
        an encoder without a posterior.
    posterior_images : ndarray, shape (m, n_draws, side, side, 3), uint8, or None
        Pictures decoded from draws of the latent, given the response; ``images`` has that of its
        mean.
    """

    stays_on_disk = ("samples",)  # gigabytes
    arrays: ClassVar[dict[str, Array]] = {
        "image_ids": Array("id", ("images",)),
        "split": Array("bytes", ("images",)),
        "images": Array("uint8", ("images", "side", "side", 3)),
        "ceiling": Array("uint8", ("images", "side", "side", 3)),
        "mean_latent": Array("float32", _LATENT, is_finite=True),
        "mean_decoded": Array("uint8", ("side", "side", 3)),
        "mean_seen": Array("float32", _LATENT, is_finite=True),
        "partial_image_ids": Array("id", ("partial",)),
        "partial_first": Array("int8", ("partial",)),
        "partial_count": Array("int8", ("partial",)),
        "partial_images": Array("uint8", ("partial", "side", "side", 3)),
        "partial_seen": Array("float32", ("partial", *_LATENT), is_finite=True),
        "latents": Array("float32", ("images", *_LATENT), is_finite=True),
        "latent_sd": Array("float32", ("images", *_LATENT)),
        "partial_latents": Array("float32", ("partial", *_LATENT), is_finite=True),
        "found_latents": Array("float32", ("images", *_LATENT), is_finite=True),
        "seed_images": Array("uint8", ("seeds", "test images", "side", "side", 3)),
        "seed_latents": Array("float32", ("seeds", "test images", *_LATENT), is_finite=True),
        "samples": Array("uint8", ("test images", "samples", 512, 512, 3)),
        "z_latents": Array("float16", ("test images", 4, 40, 40), is_finite=True),
        "text_embeddings": Array("float16", ("test images", 77, 768), is_finite=True),
        "variant_images": Array("uint8", (2, "test images", "side", "side", 3)),
        "variant_latents": Array("float32", (2, "test images", *_LATENT), is_finite=True),
        "voxel_weights": Array("float32", ("voxels",), is_finite=True),
        "posterior_image_ids": Array("id", ("posterior images",), order="ascending"),
        "posterior_images": Array("uint8", ("posterior images", "draws", "side", "side", 3)),
    }

    # Arrays with a picture or latent a row: who needs a few rows leaves them in the file.
    large: ClassVar[tuple[str, ...]] = tuple(
        name
        for name, declared in arrays.items()
        if len(declared.axes) > 2 and not name.startswith("mean_")
    )
    earlier_names: ClassVar[dict[str, str]] = {
        "z_latents": "scenes",
        "text_embeddings": "prompts",
    }
    once_empty = (
        *("seed_images", "seed_latents", "samples", "z_latents", "text_embeddings"),
        *("variant_images", "variant_latents"),
    )

    image_ids: np.ndarray
    split: np.ndarray
    images: np.ndarray
    ceiling: np.ndarray
    mean_latent: np.ndarray
    mean_decoded: np.ndarray
    mean_seen: np.ndarray
    partial_image_ids: np.ndarray
    partial_first: np.ndarray
    partial_count: np.ndarray
    partial_images: np.ndarray
    partial_seen: np.ndarray
    provenance: dict
    latents: np.ndarray | None = None
    latent_sd: np.ndarray | None = None
    partial_latents: np.ndarray | None = None
    found_latents: np.ndarray | None = None
    seed_images: np.ndarray | None = None
    seed_latents: np.ndarray | None = None
    samples: np.ndarray | None = None
    z_latents: np.ndarray | None = None
    text_embeddings: np.ndarray | None = None
    variant_images: np.ndarray | None = None
    variant_latents: np.ndarray | None = None
    voxel_weights: np.ndarray | None = None
    posterior_image_ids: np.ndarray | None = None
    posterior_images: np.ndarray | None = None

    def __post_init__(self) -> None:
        self._check_lengths(
            images=["image_ids", "split", "images", "ceiling"],
            predicted=["latents", "latent_sd", "found_latents"],
            partial=[
                "partial_image_ids",
                "partial_first",
                "partial_count",
                "partial_images",
                "partial_seen",
                "partial_latents",
            ],
            seeds=["seed_latents", "seed_images"],
            diffusion=["samples", "z_latents", "text_embeddings"],
            variants=["variant_images", "variant_latents"],
            posterior=["posterior_image_ids", "posterior_images"],
        )

    @property
    def n_samples(self) -> int:
        """Number of Stable Diffusion's pictures of each test image; 0 for other encoders."""
        return 0 if self.samples is None else self.samples.shape[1]

    @property
    def any_latents(self) -> np.ndarray:
        """The latents that stand for the pictures, shape (n, 4, 16, 16): predicted, or found in
        them by the autoencoder.
        """
        latents = self.latents if self.latents is not None else self.found_latents
        assert latents is not None  # noqa: S101  (every encoder has one of the two)
        return latents

    def rows(self, split: str) -> np.ndarray:
        """Return the rows of one split, shape (n,)."""
        return np.flatnonzero(self.split == split.encode())

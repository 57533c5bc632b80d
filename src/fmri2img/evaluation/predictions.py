"""Inputs of scoring: the truth of the test images, and predictions in the same order."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import numpy as np

ALL_VOXELS = "all voxels"


@dataclass(frozen=True)
class ShownPictures:
    """Pictures that were seen.

    Attributes
    ----------
    pictures : ndarray, shape (n, height, width, 3), uint8
        The pictures as they were shown.
    small : ndarray, shape (n, side, side, 3), uint8
        The same pictures at the size of the reconstructions.
    """

    pictures: np.ndarray
    small: np.ndarray


@dataclass(frozen=True)
class MeasuredResponses:
    """Responses to the second showing of test images, and the model that predicts them from
    pictures' latents.

    An encoder and the encoding model learn from the same trials. Applied in turn to one trial,
    they would reproduce some of its noise and correlate with it even without any signal. Therefore
    reconstructions are made from the first repetition and compared with the second.

    Attributes
    ----------
    predict : callable
        The encoding model: from latents, shape (m, d), to responses, shape (m, n_voxels).
    regions : dict of str to ndarray
        Voxels by region name.
    image_ids : ndarray, shape (m,)
        Test images that were shown more than once.
    second : ndarray, shape (m, n_voxels)
        Responses to their second repetition alone, z-scored by training trials.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    regions: dict[str, np.ndarray]
    image_ids: np.ndarray
    second: np.ndarray

    @classmethod
    def none(cls, n_voxels: int) -> Self:
        """Return no responses, where nothing is compared with the brain."""
        empty = np.zeros((0, n_voxels), np.float32)
        return cls(lambda latents: np.zeros((len(latents), n_voxels)), {}, empty[:, 0], empty)


@dataclass(frozen=True)
class TestTruth(ShownPictures):
    """The truth that predictions of the test images are compared with.

    Attributes
    ----------
    pictures : ndarray, shape (n, height, width, 3), uint8
        The test pictures as the dataset stores them.
    small : ndarray, shape (n, side, side, 3), uint8
        The test pictures at the size of the reconstructions.
    image_ids : ndarray, shape (n,)
    latents : ndarray, shape (n, d)
    train_mean, train_sd : ndarray, shape (d,)
        Mean and SD of the training images' latents; scores are centred on this mean.
    responses : MeasuredResponses
    n_repetitions : ndarray, shape (n,)
        Number of trials that showed each image.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    image_ids: np.ndarray
    latents: np.ndarray
    train_mean: np.ndarray
    train_sd: np.ndarray
    responses: MeasuredResponses
    n_repetitions: np.ndarray


@dataclass(frozen=True)
class Predictions:
    """Predictions of the test images by several rows of a table, in the order of the truth.

    Attributes
    ----------
    pictures : dict of str to ndarray, shape (n, side, side, 3) or (1, side, side, 3), uint8
        Row to predicted pictures; a single picture is the prediction for all images.
    latents : dict of str to ndarray, shape (n, d)
        Row to predicted latents, for rows that have latents.
    shuffles : dict of str to (str, ndarray)
        Row to the row that it reorders and the order, shape (n,); its predictions are in
        ``pictures`` and ``latents`` too.
    tested : tuple of str
        Rows whose scores of every pairing are kept, for permutation tests.
    """

    pictures: dict[str, np.ndarray]
    latents: dict[str, np.ndarray]
    shuffles: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)
    tested: tuple[str, ...] = ()

    @property
    def unshuffled(self) -> dict[str, np.ndarray]:
        """Pictures of the rows that do not reorder another, shape (n or 1, side, side, 3)."""
        return {row: images for row, images in self.pictures.items() if row not in self.shuffles}


@dataclass(frozen=True)
class Parts:
    """Predictions of an encoder from some repetitions only, and predictions from all repetitions
    after training with other seeds.

    Attributes
    ----------
    repetitions : dict of int to (ndarray, ndarray or None, ndarray)
        Number of averaged repetitions to rows of test images, latents and pictures, for the images
        shown most often. Latents are None if the encoder predicts none.
    reliability : tuple of ndarray, shape (m, d), or None
        Latents from the first and from the second repetition alone.
    seen_again : dict of str to ndarray, shape (m, d)
        Row to the latents that the autoencoder encodes from its pictures, for images that were
        shown again (``MeasuredResponses.image_ids``): ``model``, reconstructed from the first
        repetition alone, ``shuffled``, the decoded ``mean_latent``, and the ``truth``.
    seeds : Predictions
        Rows ``seed_1`` and so on: predictions after training with further seeds.
    stated_sd : ndarray, shape (n, d), or None
        SD that the encoder states for the error of each latent number; NaN or None if it
        states none.
    """

    repetitions: dict[int, tuple[np.ndarray, np.ndarray | None, np.ndarray]]
    reliability: tuple[np.ndarray, np.ndarray] | None
    seen_again: dict[str, np.ndarray]
    seeds: Predictions
    stated_sd: np.ndarray | None


def picture_key(picture: np.ndarray) -> bytes:
    """Return a key that is the same for equal pictures of one shape, uint8: rows often share
    pictures (an image shown once has only its single trial), and each is then read once.
    """
    return hashlib.blake2b(picture.tobytes(), digest_size=16).digest()


def derangement(n_images: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random order in which no image keeps its place, shape (n,)."""
    order = rng.permutation(n_images)
    shuffled = np.empty(n_images, dtype=np.int64)
    shuffled[order] = np.roll(order, 1)
    return shuffled

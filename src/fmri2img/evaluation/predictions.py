"""What the rows of the tables predict, joined with the truth by image id."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fmri2img.containers import (
    VARIANTS,
    EncodingModel,
    Examples,
    Latents,
    Reconstructions,
    TruePictures,
    find_rows,
)
from fmri2img.evaluation.brain import MeasuredResponses
from fmri2img.evaluation.table_rows import CEILING, MODEL, REFERENCE, SHUFFLED
from fmri2img.responses.splits import Split


@dataclass(frozen=True)
class ShownPictures:
    """Pictures that were seen.

    Attributes
    ----------
    pictures : ndarray, shape (n, height, width, 3), uint8
        The pictures as they were shown.
    small : ndarray, shape (n, side, side, 3), uint8
        The same pictures, as large as reconstructions.
    """

    pictures: np.ndarray
    small: np.ndarray


@dataclass(frozen=True)
class TestTruth(ShownPictures):
    """What predictions of the test images are compared with.

    Attributes
    ----------
    pictures : ndarray, shape (n, height, width, 3), uint8
        The test pictures as the dataset stores them.
    small : ndarray, shape (n, side, side, 3), uint8
        The test pictures, as large as reconstructions.
    image_ids : ndarray, shape (n,)
    latents : ndarray, shape (n, d)
    train_mean, train_sd : ndarray, shape (d,)
        Of training images' latents, as all means that centre.
    responses : MeasuredResponses
    n_repetitions : ndarray, shape (n,)
        Trials that showed each image.
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
        Row to prediction; a single picture is the same for all images.
    latents : dict of str to ndarray, shape (n, d)
        Row to predicted latents, for rows that have latents.
    shuffles : dict of str to (str, ndarray)
        Rows that are another row in another order, shape (n,); they stand among ``pictures`` and
        ``latents`` too.
    tested : tuple of str
        Rows whose scores of every pairing are kept, for permutation tests.
    """

    pictures: dict[str, np.ndarray]
    latents: dict[str, np.ndarray]
    shuffles: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)
    tested: tuple[str, ...] = ()

    @property
    def unshuffled(self) -> dict[str, np.ndarray]:
        """Pictures of the rows that are no other row in another order, each of shape (n, side,
        side, 3).
        """
        return {row: images for row, images in self.pictures.items() if row not in self.shuffles}


@dataclass(frozen=True)
class Parts:
    """What an encoder made of some repetitions only, and what its training from other seeds made of
    all.

    Attributes
    ----------
    repetitions : dict of int to (ndarray, ndarray or None, ndarray)
        Number of averaged repetitions to rows of test images, latents and pictures: of the images
        that were shown most often. None: the encoder predicts no latents.
    reliability : tuple of ndarray, shape (m, d), or None
        Latents from the first and from the second repetition alone.
    seen_again : dict of str to ndarray, shape (m, d)
        Row to the latents that the autoencoder finds in its pictures, of images that were shown
        again (``MeasuredResponses.image_ids``): ``model`` reconstructed from the first repetition
        alone, ``shuffled``, the decoded ``mean_latent``, and the ``truth``.
    seeds : Predictions
        ``seed_1`` and so on: what the encoder made from further seeds.
    stated_sd : ndarray, shape (n, d), or None
        SD that the encoder states for the error of each latent number; NaN, or None: it states
        none.
    """

    repetitions: dict[int, tuple[np.ndarray, np.ndarray | None, np.ndarray]]
    reliability: tuple[np.ndarray, np.ndarray] | None
    seen_again: dict[str, np.ndarray]
    seeds: Predictions
    stated_sd: np.ndarray | None


def join_truth(
    examples: Examples,
    split: Split,
    latents: Latents,
    pictures: TruePictures,
    encoding: EncodingModel,
) -> TestTruth:
    """Collect the truth of a subject's test images, by image id."""
    image_ids, train_ids = split.ids("test"), split.ids("train")
    train = latents.of(train_ids).reshape(len(train_ids), -1)
    _, shown = np.unique(
        examples.trial_image_ids[examples.trials_of(image_ids)], return_counts=True
    )
    return TestTruth(
        image_ids=image_ids,
        pictures=pictures.of(image_ids),
        small=examples.images[examples.rows_of(image_ids)],
        latents=latents.of(image_ids).reshape(len(image_ids), -1),
        train_mean=train.mean(axis=0, dtype=np.float64).astype(np.float32),
        train_sd=train.std(axis=0, dtype=np.float64).astype(np.float32),
        responses=MeasuredResponses.of(encoding, examples, split),
        n_repetitions=shown,
    )


def reference_rows(
    truth: TestTruth, examples: Examples, split: Split, ridge: Reconstructions
) -> Predictions:
    """Make the rows that all encoders of a subject share, from training images and from ridge's
    file.
    """
    test = ridge.rows("test")
    rows = test[
        find_rows(ridge.image_ids[test], truth.image_ids, "images that ridge reconstructed")
    ]
    side = ridge.images.shape[1]
    mean_picture = (
        examples.images[examples.rows_of(split.ids("train"))].mean(axis=0).round().astype(np.uint8)
    )
    return Predictions(
        pictures={
            REFERENCE: ridge.images[rows],
            "grey": np.full((1, side, side, 3), 128, np.uint8),
            "train_mean": mean_picture[None],
            "mean_latent": ridge.mean_decoded[None],
            CEILING: ridge.ceiling[rows],
            "resize_ceiling": truth.small,
        },
        latents={
            REFERENCE: _flat(ridge.any_latents[rows]),
            "mean_latent": np.broadcast_to(truth.train_mean, truth.latents.shape),
            CEILING: truth.latents,
        },
    )


def model_rows(
    truth: TestTruth,
    examples: Examples,
    split: Split,
    latents: Latents,
    reconstructions: Reconstructions,
    *,
    seed: int,
) -> tuple[Predictions, Parts]:
    """Join an encoder's predictions with the truth by image id, and make the rows that depend on
    it.

    Parameters
    ----------
    truth : TestTruth
    examples, split, latents
        The subject's.
    reconstructions : Reconstructions
        What the encoder makes of the test images.
    seed : int
        Seed of the order of the shuffled row.
    """
    test = reconstructions.rows("test")
    rows = test[find_rows(reconstructions.image_ids[test], truth.image_ids, "reconstructions")]
    order = np.searchsorted(reconstructions.image_ids[test], truth.image_ids)
    shuffle = derangement(len(rows), np.random.default_rng(seed))
    train_ids = split.ids("train")
    train_latents = latents.of(train_ids).reshape(len(train_ids), -1)
    nearest = nearest_rows(_flat(reconstructions.any_latents[rows]), train_latents)
    images = reconstructions.images[rows]
    pictures = {
        MODEL: images,
        "single_trial": _from_single_trials(
            images, reconstructions.partial_images, reconstructions, truth
        ),
        SHUFFLED: images[shuffle],
        "nearest_train": examples.images[examples.rows_of(train_ids)[nearest]],
    }
    predicted: dict[str, np.ndarray] = {}
    if reconstructions.latents is not None and reconstructions.partial_latents is not None:
        ours = _flat(reconstructions.latents[rows])
        of_some = _flat(reconstructions.partial_latents)
        predicted = {
            MODEL: ours,
            "single_trial": _from_single_trials(ours, of_some, reconstructions, truth),
            SHUFFLED: ours[shuffle],
            "nearest_train": train_latents[nearest],
        }
    variants = _in_order(
        VARIANTS, reconstructions.variant_images, reconstructions.variant_latents, order
    )
    table = Predictions(
        pictures=pictures | variants.pictures,
        latents=predicted | variants.latents,
        shuffles={SHUFFLED: (MODEL, shuffle)},
        tested=(MODEL,),
    )
    n_seeds = 0 if reconstructions.seed_images is None else len(reconstructions.seed_images)
    names = [f"seed_{number}" for number in range(1, n_seeds + 1)]
    stated = reconstructions.latent_sd
    parts = Parts(
        repetitions=_repetitions(reconstructions, truth, predicted.get(MODEL), images),
        reliability=_reliability(reconstructions),
        seen_again=_seen_again(reconstructions, truth, seed),
        seeds=_in_order(names, reconstructions.seed_images, reconstructions.seed_latents, order),
        stated_sd=_flat(stated[rows]) if stated is not None else None,
    )
    return table, parts


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), math.prod(values.shape[1:]))


def _in_order(
    names: Sequence[str],
    pictures: np.ndarray | None,
    latents: np.ndarray | None,
    order: np.ndarray,
) -> Predictions:
    """Bring further predictions, one along the first axis each, into the order of the truth."""
    return Predictions(
        pictures={
            name: images[order]
            for name, images in zip(names, () if pictures is None else pictures, strict=False)
        },
        latents={
            name: _flat(values[order])
            for name, values in zip(names, () if latents is None else latents, strict=False)
        },
    )


def _from_single_trials(
    from_all: np.ndarray,
    from_some: np.ndarray,
    reconstructions: Reconstructions,
    truth: TestTruth,
) -> np.ndarray:
    """Put predictions from the first trial in the place of those from all trials, where there are
    several.
    """
    single = from_all.copy()
    first = (reconstructions.partial_first == 0) & (reconstructions.partial_count == 1)
    at = np.searchsorted(truth.image_ids, reconstructions.partial_image_ids[first])
    single[at] = from_some[first]
    return single


def nearest_rows(predicted: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return, for each predicted latent, the training image whose latent is closest, shape (n,)."""
    squared = (train**2).sum(axis=1)
    return np.array([(squared - 2 * train @ one).argmin() for one in predicted], dtype=np.int64)


def derangement(n_images: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random order in which no image keeps its place, shape (n,)."""
    order = rng.permutation(n_images)
    shuffled = np.empty(n_images, dtype=np.int64)
    shuffled[order] = np.roll(order, 1)
    return shuffled


def _repetitions(
    reconstructions: Reconstructions,
    truth: TestTruth,
    predicted: np.ndarray | None,
    images: np.ndarray,
) -> dict[int, tuple[np.ndarray, np.ndarray | None, np.ndarray]]:
    shown = truth.n_repetitions
    often = [count for count in np.unique(shown).tolist() if (shown == count).sum() >= 2]
    most = max(often, default=0)
    if most < 2:
        return {}
    rows = np.flatnonzero(shown == most)
    of_some = reconstructions.partial_latents
    ours = None if predicted is None else predicted[rows]
    curve: dict[int, tuple[np.ndarray, np.ndarray | None, np.ndarray]] = {
        most: (rows, ours, images[rows])
    }
    for count in range(1, most):
        chosen = np.flatnonzero(
            (reconstructions.partial_first == 0) & (reconstructions.partial_count == count)
        )
        at = chosen[
            find_rows(
                reconstructions.partial_image_ids[chosen],
                truth.image_ids[rows],
                "predictions from some of the repetitions",
            )
        ]
        curve[count] = (
            rows,
            None if of_some is None else _flat(of_some[at]),
            reconstructions.partial_images[at],
        )
    return dict(sorted(curve.items()))


def _seen_again(
    reconstructions: Reconstructions, truth: TestTruth, seed: int
) -> dict[str, np.ndarray]:
    ids = truth.responses.image_ids
    if not len(ids):
        return {}
    first = np.flatnonzero(
        (reconstructions.partial_first == 0) & (reconstructions.partial_count == 1)
    )
    rows = first[
        find_rows(
            reconstructions.partial_image_ids[first],
            ids,
            "reconstructions from the first repetition",
        )
    ]
    encoded_again = reconstructions.partial_seen[rows].reshape(len(rows), -1)
    return {
        MODEL: encoded_again,
        SHUFFLED: encoded_again[derangement(len(rows), np.random.default_rng(seed))]
        if len(rows) > 1
        else encoded_again,
        "mean_latent": np.broadcast_to(reconstructions.mean_seen.reshape(-1), encoded_again.shape),
        "truth": truth.latents[find_rows(truth.image_ids, ids, "test images")],
    }


def _reliability(reconstructions: Reconstructions) -> tuple[np.ndarray, np.ndarray] | None:
    first, second = (
        np.flatnonzero(
            (reconstructions.partial_first == number) & (reconstructions.partial_count == 1)
        )
        for number in (0, 1)
    )
    if len(second) < 3 or reconstructions.partial_latents is None:
        return None
    first = first[
        np.searchsorted(
            reconstructions.partial_image_ids[first], reconstructions.partial_image_ids[second]
        )
    ]
    flat = _flat(reconstructions.partial_latents)
    return flat[first], flat[second]

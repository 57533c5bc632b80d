"""Predictions of the tables' rows, joined with the truth by image id."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from fmri2img.containers.encoding_model import EncodingModel
from fmri2img.containers.examples import Examples
from fmri2img.containers.ids import find_rows
from fmri2img.containers.latents import Latents
from fmri2img.containers.reconstructions import VARIANTS, Reconstructions
from fmri2img.containers.repetitions import average_zscored
from fmri2img.containers.splits import Split
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.evaluation.brain import regions_of
from fmri2img.evaluation.predictions import (
    MeasuredResponses,
    Parts,
    Predictions,
    TestTruth,
    derangement,
)
from fmri2img.evaluation.table_rows import CEILING, MODEL, REFERENCE, SHUFFLED
from fmri2img.project.exceptions import MismatchError

# Side to which pictures are shrunk to be compared, and the largest mean difference, of 255, between
# two that were shrunk from one: others differ by tens.
_COARSE, _SAME_PICTURE = 16, 6


def join_truth(
    examples: Examples,
    split: Split,
    latents: Latents,
    pictures: TruePictures,
    encoding: EncodingModel,
) -> TestTruth:
    """Collect the truth of a subject's test images, by image id.

    Raises
    ------
    MismatchError
        If a true picture shows something else than the picture of the same id in the examples.
    """
    image_ids, train_ids = split.ids("test"), split.ids("train")
    train_mean, train_sd = training_statistics(latents, train_ids)
    _, shown = np.unique(
        examples.trial_image_ids[examples.trials_of(image_ids)], return_counts=True
    )
    shown_pictures, small = (
        pictures.of(image_ids),
        examples.images[examples.rows_of(image_ids)],
    )
    _check_same_pictures(image_ids, shown_pictures, small)
    return TestTruth(
        image_ids=image_ids,
        pictures=shown_pictures,
        small=small,
        latents=latents.of(image_ids).reshape(len(image_ids), -1),
        train_mean=train_mean,
        train_sd=train_sd,
        responses=measure_responses(encoding, examples, split),
        n_repetitions=shown,
    )


def training_statistics(latents: Latents, train_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and SD of each latent number over training images, each of shape (d,)."""
    train = latents.of(train_ids).reshape(len(train_ids), -1)
    mean: np.ndarray = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    sd: np.ndarray = train.std(axis=0, dtype=np.float64).astype(np.float32)
    return mean, sd


def mean_picture(examples: Examples, train_ids: np.ndarray) -> np.ndarray:
    """Return the mean training picture, shape (side, side, 3), uint8."""
    pictures: np.ndarray = examples.images[examples.rows_of(train_ids)]
    mean: np.ndarray = pictures.mean(axis=0).round().astype(np.uint8)
    return mean


def grey_picture(side: int) -> np.ndarray:
    """Return a picture of middle grey, shape (side, side, 3), uint8."""
    return np.full((side, side, 3), 128, np.uint8)


def _check_same_pictures(image_ids: np.ndarray, large: np.ndarray, small: np.ndarray) -> None:
    """Compare the pictures of two files, shrunk as the examples are; coarsely, because versions
    of Pillow differ in the last digits.
    """
    side = small.shape[1]
    for image_id, picture, expected in zip(image_ids, large, small, strict=True):
        shrunk = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
        coarse = [
            np.asarray(one.resize((_COARSE, _COARSE), Image.Resampling.BOX), float)
            for one in (shrunk, Image.fromarray(expected))
        ]
        if (difference := float(np.abs(coarse[0] - coarse[1]).mean())) > _SAME_PICTURE:
            raise MismatchError(
                f"the true picture of image {image_id} is not the picture of that id in the "
                f"examples: they differ by {difference:.0f} of 255 on average, expected less than "
                f"{_SAME_PICTURE}; run: dvc repro --force create_examples collect_truth"
            )


def measure_responses(model: EncodingModel, examples: Examples, split: Split) -> MeasuredResponses:
    """Collect the responses to the second showing of a subject's test images."""
    trials, reference = (
        examples.trials_of(split.ids("test")),
        examples.trials_of(split.ids("train")),
    )
    ids, starts, shown = np.unique(
        examples.trial_image_ids[trials], return_index=True, return_counts=True
    )
    again = trials[starts[shown > 1] + 1]  # trials of an image are in time order
    second = (
        average_zscored(examples, again, reference)
        if len(again)
        else np.zeros((0, examples.n_voxels), np.float32)
    )
    return MeasuredResponses(model.predict, regions_of(examples.roi_names), ids[shown > 1], second)


def reference_rows(
    truth: TestTruth, examples: Examples, split: Split, ridge: Reconstructions
) -> Predictions:
    """Build the rows that all encoders of a subject share, from training images and from ridge's
    reconstructions.
    """
    test = ridge.rows("test")
    rows = test[
        find_rows(ridge.image_ids[test], truth.image_ids, "images that ridge reconstructed")
    ]
    side = ridge.images.shape[1]
    return Predictions(
        pictures={
            REFERENCE: ridge.images[rows],
            "grey": grey_picture(side)[None],
            "train_mean": mean_picture(examples, split.ids("train"))[None],
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
    """Join an encoder's predictions with the truth by image id, and build the rows that depend
    on it.

    Parameters
    ----------
    truth : TestTruth
    examples, split, latents
        Data of one subject.
    reconstructions : Reconstructions
        Reconstructions of the test images by the encoder.
    seed : int
        Seed for the order of the shuffled row.
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
    """Reorder further predictions, stacked along the first axis, to match the truth."""
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
    """Replace predictions from all trials by predictions from the first trial, where there are
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

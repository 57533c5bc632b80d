"""All scores of one encoder on the test images, each beside its floors, references and ceilings."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fmri2img.containers import Examples, Latents, Reconstructions, TruePictures, find_rows
from fmri2img.evaluation.identification import retrieval_scores, similarity_matrix, two_way_identification, two_way_table
from fmri2img.evaluation.inference import bootstrap_intervals, permutation_p
from fmri2img.evaluation.latents import (
    dimension_correlations,
    latent_summary,
    pattern_correlations,
    resampled_dimension_correlation,
)
from fmri2img.evaluation.pixels import PRESETS, constant_pictures, row_correlations, score_pictures
from fmri2img.responses.splits import Split

HEADLINE = "mindeye"
METRICS = ("pixcorr", "ssim", "pattern_correlation", "dimension_correlation", "two_way")
# Rows of every table. Predictors that know nothing of the test trials; what others make of the same trials; what pictures alone allow.
FLOORS = ("grey", "train_mean", "mean_latent", "shuffled", "nearest_train")
CEILINGS = ("vae_ceiling", "resize_ceiling")
ROWS = ("model", "single_trial", "ridge", *FLOORS, *CEILINGS)


@dataclass(frozen=True)
class TestSet:
    """Truth and every row's prediction of the test images, in the same order.

    Attributes
    ----------
    image_ids : ndarray, shape (n,)
    truth : ndarray, shape (n, height, width, 3), uint8
        As NSD stores them.
    pictures : dict of str to ndarray, shape (n, side, side, 3) or (1, side, side, 3), uint8
        Row to prediction; a single picture is the same for all images.
    true_latents : ndarray, shape (n, d)
    latents : dict of str to ndarray, shape (n, d)
        Row to prediction, of rows that have latents.
    train_mean : ndarray, shape (d,)
        Of training images, as all means that centre.
    repetitions : dict of int to (ndarray, ndarray, ndarray)
        Number of averaged repetitions to rows of test images, latents and pictures: of the images that were shown most often.
    reliability : tuple of ndarray, shape (m, d), or None
        Latents from the first and from the second repetition alone.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    image_ids: np.ndarray
    truth: np.ndarray
    pictures: dict[str, np.ndarray]
    true_latents: np.ndarray
    latents: dict[str, np.ndarray]
    train_mean: np.ndarray
    repetitions: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]
    reliability: tuple[np.ndarray, np.ndarray] | None


def collect_test_set(
    examples: Examples, split: Split, latents: Latents, truth: TruePictures, found: Reconstructions, ridge: Reconstructions, *, seed: int
) -> TestSet:
    """Join truth and predictions of the test images by 73k id, and make the floors from training images.

    Parameters
    ----------
    examples, split, latents
        The subject's.
    truth : TruePictures
    found : Reconstructions
        Of the encoder that is scored.
    ridge : Reconstructions
        Of ridge, the linear reference.
    seed : int
        Of the shuffled row.
    """
    rows = found.rows("test")
    image_ids = found.image_ids[rows]
    ridge_rows = ridge.rows("test")
    ridge_rows = ridge_rows[find_rows(ridge.image_ids[ridge_rows], image_ids, "images that ridge reconstructed")]
    train_ids = split.ids("train")
    train_latents = latents.of(train_ids).reshape(len(train_ids), -1)
    train_rows = examples.rows_of(train_ids)
    predicted, images = found.latents[rows].reshape(len(rows), -1), found.images[rows]
    side = images.shape[1]
    nearest = nearest_rows(predicted, train_latents)
    shuffle = derangement(len(rows), np.random.default_rng(seed))
    single_latents, single_images = predicted.copy(), images.copy()
    first = (found.partial_first == 0) & (found.partial_count == 1)
    at = np.searchsorted(image_ids, found.partial_image_ids[first])
    single_latents[at], single_images[at] = found.partial_latents[first].reshape(len(at), -1), found.partial_images[first]
    mean_picture = examples.images[train_rows].mean(axis=0).round().astype(np.uint8)
    return TestSet(
        image_ids=image_ids,
        truth=truth.of(image_ids),
        pictures={
            "model": images,
            "single_trial": single_images,
            "ridge": ridge.images[ridge_rows],
            "grey": np.full((1, side, side, 3), 128, np.uint8),
            "train_mean": mean_picture[None],
            "mean_latent": found.mean_decoded[None],
            "shuffled": images[shuffle],
            "nearest_train": examples.images[train_rows[nearest]],
            "vae_ceiling": found.ceiling[rows],
            "resize_ceiling": examples.images[examples.rows_of(image_ids)],
        },
        true_latents=latents.of(image_ids).reshape(len(rows), -1),
        latents={
            "model": predicted,
            "single_trial": single_latents,
            "ridge": ridge.latents[ridge_rows].reshape(len(rows), -1),
            "mean_latent": np.broadcast_to(found.mean_latent.reshape(-1), predicted.shape),
            "shuffled": predicted[shuffle],
            "nearest_train": train_latents[nearest],
            "vae_ceiling": latents.of(image_ids).reshape(len(rows), -1),
        },
        train_mean=found.mean_latent.reshape(-1),
        repetitions=_repetitions(found, image_ids, predicted, images, examples),
        reliability=_reliability(found),
    )


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


def _repetitions(found: Reconstructions, image_ids: np.ndarray, predicted: np.ndarray, images: np.ndarray, examples: Examples) -> dict:
    shown = np.array([np.count_nonzero(examples.trial_image_ids == image_id) for image_id in image_ids])
    most = max((count for count in (2, 3) if (shown == count).sum() >= 2), default=0)
    if not most:
        return {}
    rows = np.flatnonzero(shown == most)
    curve = {most: (rows, predicted[rows], images[rows])}
    for count in range(1, most):
        chosen = np.flatnonzero((found.partial_first == 0) & (found.partial_count == count))
        at = chosen[np.searchsorted(found.partial_image_ids[chosen], image_ids[rows])]
        curve[count] = (rows, found.partial_latents[at].reshape(len(at), -1), found.partial_images[at])
    return dict(sorted(curve.items()))


def _reliability(found: Reconstructions) -> tuple[np.ndarray, np.ndarray] | None:
    first, second = (np.flatnonzero((found.partial_first == number) & (found.partial_count == 1)) for number in (0, 1))
    if len(second) < 3:
        return None
    first = first[np.searchsorted(found.partial_image_ids[first], found.partial_image_ids[second])]
    flat = found.partial_latents.reshape(len(found.partial_latents), -1)
    return flat[first], flat[second]


@dataclass(frozen=True)
class Scores:
    """What `score_test_set` found.

    Attributes
    ----------
    means : dict of str to dict of str to float
        Row to metric to mean over images.
    intervals : dict of str to tuple
        95 % BCa bootstrap interval over images of each of the model's metrics; percentile for ``dimension_correlation``.
    p_values : dict of str to float
        Permutation p of the model's metrics.
    per_image : dict of str to dict of str to ndarray, shape (n,)
        Row to metric to scores of each image.
    latent : dict of str to float
        `latents.latent_summary` of the model, and ``reliability``.
    retrieval : dict of str to dict of str to float
        In latents, ``raw`` and ``centred`` on the training mean.
    repetitions : dict of int to dict of str to float
        Number of averaged repetitions to metric.
    profile : ndarray, shape (d,)
        Correlation over images of each latent number.
    n_constant : int
        Reconstructions of a single colour: their PixCorr counts as 0.
    """

    means: dict[str, dict[str, float]]
    intervals: dict[str, tuple[float, float]]
    p_values: dict[str, float]
    per_image: dict[str, dict[str, np.ndarray]]
    latent: dict[str, float]
    retrieval: dict[str, dict[str, float]]
    repetitions: dict[int, dict[str, float]]
    profile: np.ndarray
    n_constant: int


def score_test_set(test: TestSet, *, n_permutations: int, n_bootstrap: int, seed: int) -> Scores:
    """Score an encoder.

    Parameters
    ----------
    test : TestSet
    n_permutations, n_bootstrap : int
    seed : int

    Returns
    -------
    Scores
    """
    rng = np.random.default_rng(seed)
    truth, predicted = test.true_latents, test.latents["model"]
    per_image = _picture_scores(test)
    for row, values in test.latents.items():
        per_image[row] |= _latent_scores(truth, values, test.train_mean)
    means = {row: {metric: float(scores.mean()) for metric, scores in found.items()} for row, found in per_image.items()}
    for row, values in test.latents.items():
        means[row]["dimension_correlation"] = float(dimension_correlations(truth, values).mean())
    model = per_image["model"]
    ends = bootstrap_intervals(np.stack(list(model.values())), n_bootstrap, rng)
    intervals = {metric: (float(low), float(high)) for metric, (low, high) in zip(model, ends, strict=True)}
    low, high = np.percentile(resampled_dimension_correlation(truth, predicted, n_bootstrap, rng), (2.5, 97.5))
    intervals["dimension_correlation"] = (float(low), float(high))
    raw, centred = similarity_matrix(truth, predicted), similarity_matrix(truth - test.train_mean, predicted - test.train_mean)
    tables = {"pixcorr": _pixel_table(test), "pattern_correlation": centred, "two_way": two_way_table(centred)}
    latent = latent_summary(truth, predicted, test.train_mean)
    if test.reliability is not None:
        latent["reliability"] = float(dimension_correlations(*test.reliability).mean())
    return Scores(
        means=means,
        intervals=intervals,
        p_values=permutation_p(tables, n_permutations, rng),
        per_image=per_image,
        latent=latent,
        retrieval={"raw": retrieval_scores(raw, rng), "centred": retrieval_scores(centred, rng)},
        repetitions={count: _scores_of_repetitions(test, *parts) for count, parts in test.repetitions.items()},
        profile=dimension_correlations(truth, predicted),
        n_constant=constant_pictures(test.pictures["model"]),
    )


def _picture_scores(test: TestSet) -> dict[str, dict[str, np.ndarray]]:
    """Return picture scores of every row: the headline preset's by plain names, others under ``<preset>_``."""
    found: dict[str, dict[str, np.ndarray]] = {row: {} for row in test.pictures}
    for name, preset in PRESETS.items():
        prefix = "" if name == HEADLINE else f"{name}_"
        for row, scores in score_pictures(test.truth, test.pictures, preset.bring).items():
            found[row] |= {f"{prefix}{metric}": values for metric, values in scores.items()}
    return found


def _latent_scores(truth: np.ndarray, predicted: np.ndarray, train_mean: np.ndarray) -> dict[str, np.ndarray]:
    scores = {"pattern_correlation": pattern_correlations(truth, predicted, train_mean)}
    if np.allclose(predicted, train_mean):  # centred, nothing is left that could be identified
        return scores
    similarity = similarity_matrix(truth - train_mean, predicted - train_mean)
    ground_truth = two_way_identification(similarity, "ground_truth")
    return scores | {"two_way": two_way_identification(similarity), "two_way_ground_truth": ground_truth}


def _pixel_table(test: TestSet) -> np.ndarray:
    """Return PixCorr of all pairs, on pictures as small as the reconstructions: at 425 x 425 it would take ten times as long."""
    small, predicted = test.pictures["resize_ceiling"], test.pictures["model"]
    return similarity_matrix(small.reshape(len(small), -1), predicted.reshape(len(predicted), -1))


def _scores_of_repetitions(test: TestSet, rows: np.ndarray, latents: np.ndarray, pictures: np.ndarray) -> dict[str, float]:
    truth = test.true_latents[rows]
    scores: dict[str, Any] = _latent_scores(truth, latents, test.train_mean)
    small = test.pictures["resize_ceiling"][rows]
    scores["pixcorr_128"] = row_correlations(small.reshape(len(rows), -1), pictures.reshape(len(rows), -1))
    return {"n_images": float(len(rows))} | {metric: float(values.mean()) for metric, values in scores.items()}

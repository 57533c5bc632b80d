"""All scores of one encoder on the test images, each beside its floors, references and ceilings."""

from collections.abc import Iterator, Sequence
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
from fmri2img.evaluation.brain import MeasuredResponses, score_responses
from fmri2img.evaluation.identification import (
    cosine_matrix,
    retrieval_scores,
    similarity_matrix,
    two_way_identification,
    two_way_table,
)
from fmri2img.evaluation.inference import bootstrap_intervals, permutation_p
from fmri2img.evaluation.latent_scores import (
    dimension_correlations,
    latent_summary,
    pattern_correlations,
    resampled_dimension_correlation,
)
from fmri2img.evaluation.network_scores import Networks, score_in_networks
from fmri2img.evaluation.picture_scores import (
    PRESETS,
    constant_pictures,
    row_correlations,
    score_pictures,
    ssim_table,
)
from fmri2img.responses.splits import Split

HEADLINE = "mindeye"
# Rows of every table. Predictors that know nothing of the test trials; what others make of the same
# trials; what pictures alone allow.
FLOORS = ("grey", "train_mean", "mean_latent", "shuffled", "nearest_train")
CEILINGS = ("vae_ceiling", "resize_ceiling")
# Rows that depend on the encoder; the others are the subject's. One that steers Stable Diffusion
# has `containers.VARIANTS`, too.
MODEL_ROWS = ("model", "single_trial", "shuffled", "nearest_train")
REFERENCE_ROWS = ("ridge", "grey", "train_mean", "mean_latent", *CEILINGS)


@dataclass(frozen=True)
class TestTruth:
    """What predictions of the test images are compared with.

    Attributes
    ----------
    image_ids : ndarray, shape (n,)
    pictures : ndarray, shape (n, height, width, 3), uint8
        As NSD stores them.
    small : ndarray, shape (n, side, side, 3), uint8
        As large as reconstructions.
    latents : ndarray, shape (n, d)
    train_mean, train_sd : ndarray, shape (d,)
        Of training images' latents, as all means that centre.
    responses : MeasuredResponses
    n_repetitions : ndarray, shape (n,)
        Trials that showed each image.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    image_ids: np.ndarray
    pictures: np.ndarray
    small: np.ndarray
    latents: np.ndarray
    train_mean: np.ndarray
    train_sd: np.ndarray
    responses: MeasuredResponses
    n_repetitions: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Predictions of the test images, in the order of `TestTruth`.

    Attributes
    ----------
    pictures : dict of str to ndarray, shape (n, side, side, 3) or (1, side, side, 3), uint8
        Row to prediction; a single picture is the same for all images.
    latents : dict of str to ndarray, shape (n, d)
        Of rows that have latents.
    shuffles : dict of str to (str, ndarray)
        Rows that are another one in another order, shape (n,); they stand among ``pictures`` and
        ``latents`` too.
    """

    pictures: dict[str, np.ndarray]
    latents: dict[str, np.ndarray]
    shuffles: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)


@dataclass(frozen=True)
class Parts:
    """What an encoder made of some repetitions only, and what its training from other seeds made of
    all.

    Attributes
    ----------
    repetitions : dict of int to (ndarray, ndarray, ndarray)
        Number of averaged repetitions to rows of test images, latents and pictures: of the images
        that were shown most often.
    reliability : tuple of ndarray, shape (m, d), or None
        Latents from the first and from the second repetition alone.
    seen_again : dict of str to ndarray, shape (m, d)
        Row to the latents that the autoencoder finds in its pictures, of images that were shown
        again (``MeasuredResponses.image_ids``): ``model`` reconstructed from the first repetition
        alone, ``shuffled``, the decoded ``mean_latent``, and the ``truth``.
    seeds : Rows
        ``seed_1`` and so on: what the encoder made from further seeds.
    stated_sd : ndarray, shape (n, d)
        SD that the encoder states for the error of each latent number; NaN: it states none.
    """

    repetitions: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]
    reliability: tuple[np.ndarray, np.ndarray] | None
    seen_again: dict[str, np.ndarray]
    seeds: Rows
    stated_sd: np.ndarray


def join_truth(
    examples: Examples,
    split: Split,
    latents: Latents,
    pictures: TruePictures,
    encoding: EncodingModel,
) -> TestTruth:
    """Collect the truth of a subject's test images, by 73k id."""
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
) -> Rows:
    """Make the rows that all encoders of a subject share (`REFERENCE_ROWS`), from training
    images and from ridge's file.
    """
    test = ridge.rows("test")
    rows = test[
        find_rows(ridge.image_ids[test], truth.image_ids, "images that ridge reconstructed")
    ]
    side = ridge.images.shape[1]
    mean_picture = (
        examples.images[examples.rows_of(split.ids("train"))].mean(axis=0).round().astype(np.uint8)
    )
    return Rows(
        pictures={
            "ridge": ridge.images[rows],
            "grey": np.full((1, side, side, 3), 128, np.uint8),
            "train_mean": mean_picture[None],
            "mean_latent": ridge.mean_decoded[None],
            "vae_ceiling": ridge.ceiling[rows],
            "resize_ceiling": truth.small,
        },
        latents={
            "ridge": ridge.latents[rows].reshape(len(rows), -1),
            "mean_latent": np.broadcast_to(truth.train_mean, truth.latents.shape),
            "vae_ceiling": truth.latents,
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
) -> tuple[Rows, Parts]:
    """Join an encoder's predictions with the truth by 73k id, and make the rows that depend on it
    (`MODEL_ROWS`).

    Parameters
    ----------
    truth : TestTruth
    examples, split, latents
        The subject's.
    reconstructions : Reconstructions
        Of the encoder.
    seed : int
        Of the shuffled row.
    """
    test = reconstructions.rows("test")
    rows = test[find_rows(reconstructions.image_ids[test], truth.image_ids, "reconstructions")]
    predicted, images = (
        reconstructions.latents[rows].reshape(len(rows), -1),
        reconstructions.images[rows],
    )
    train_ids = split.ids("train")
    train_latents = latents.of(train_ids).reshape(len(train_ids), -1)
    nearest = nearest_rows(predicted, train_latents)
    shuffle = derangement(len(rows), np.random.default_rng(seed))
    single_latents, single_images = predicted.copy(), images.copy()
    first = (reconstructions.partial_first == 0) & (reconstructions.partial_count == 1)
    at = np.searchsorted(truth.image_ids, reconstructions.partial_image_ids[first])
    single_latents[at], single_images[at] = (
        reconstructions.partial_latents[first].reshape(-1, predicted.shape[1]),
        reconstructions.partial_images[first],
    )
    order = np.searchsorted(reconstructions.image_ids[test], truth.image_ids)
    variants = dict(
        zip(
            VARIANTS,
            zip(reconstructions.variant_images, reconstructions.variant_latents, strict=True),
            strict=False,
        )
    )
    table = Rows(
        pictures={
            "model": images,
            "single_trial": single_images,
            "shuffled": images[shuffle],
            "nearest_train": examples.images[examples.rows_of(train_ids)[nearest]],
            **{name: pictures[order] for name, (pictures, _) in variants.items()},
        },
        latents={
            "model": predicted,
            "single_trial": single_latents,
            "shuffled": predicted[shuffle],
            "nearest_train": train_latents[nearest],
            **{
                name: values[order].reshape(len(order), -1)
                for name, (_, values) in variants.items()
            },
        },
        shuffles={"shuffled": ("model", shuffle)},
    )
    seeds = Rows(
        pictures={
            f"seed_{number}": pictures[order]
            for number, pictures in enumerate(reconstructions.seed_images, start=1)
        },
        latents={
            f"seed_{number}": values[order].reshape(len(order), -1)
            for number, values in enumerate(reconstructions.seed_latents, start=1)
        },
    )
    parts = Parts(
        repetitions=_repetitions(reconstructions, truth, predicted, images),
        reliability=_reliability(reconstructions),
        seen_again=_seen_again(reconstructions, truth, seed),
        seeds=seeds,
        stated_sd=reconstructions.latent_sd[rows].reshape(len(rows), -1),
    )
    return table, parts


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
    reconstructions: Reconstructions, truth: TestTruth, predicted: np.ndarray, images: np.ndarray
) -> dict:
    shown = truth.n_repetitions
    most = max((count for count in (2, 3) if (shown == count).sum() >= 2), default=0)
    if not most:
        return {}
    rows = np.flatnonzero(shown == most)
    curve = {most: (rows, predicted[rows], images[rows])}
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
            reconstructions.partial_latents[at].reshape(len(at), -1),
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
        "model": encoded_again,
        "shuffled": encoded_again[derangement(len(rows), np.random.default_rng(seed))]
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
    if len(second) < 3:
        return None
    first = first[
        np.searchsorted(
            reconstructions.partial_image_ids[first], reconstructions.partial_image_ids[second]
        )
    ]
    flat = reconstructions.partial_latents.reshape(len(reconstructions.partial_latents), -1)
    return flat[first], flat[second]


@dataclass(frozen=True)
class RowScores:
    """Scores of several rows.

    Attributes
    ----------
    per_image : dict of str to dict of str to ndarray, shape (n,)
        Row to metric to scores of each image.
    means : dict of str to dict of str to float
        Row to metric to mean over images; ``dimension_correlation``, which no single image has,
        among them.
    tables : dict of str to dict of str to ndarray, shape (n, n)
        Row to metric in a network to the score of every pairing, for permutation tests; of the
        model alone.
    absent : dict of str to str
        Metric to the reason why it was not computed.
    weights : dict of str to str
        Weight file of a network to its SHA-256.
    """

    per_image: dict[str, dict[str, np.ndarray]]
    means: dict[str, dict[str, float]]
    tables: dict[str, dict[str, np.ndarray]]
    absent: dict[str, str]
    weights: dict[str, str]

    def intervals(
        self, n_resamples: int, rng: np.random.Generator
    ) -> dict[str, dict[str, tuple[float, float]]]:
        """Return 95 % BCa intervals over images, by row and metric."""
        ends = {
            row: bootstrap_intervals(np.stack(list(metrics.values())), n_resamples, rng)
            for row, metrics in self.per_image.items()
        }
        return {
            row: {
                metric: (float(low), float(high))
                for metric, (low, high) in zip(self.per_image[row], pairs, strict=True)
            }
            for row, pairs in ends.items()
        }


def score_rows(
    truth: TestTruth, rows: Rows, networks: Networks, *, presets: Sequence[str] = tuple(PRESETS)
) -> RowScores:
    """Score predictions in pixels, in networks and in latents.

    Parameters
    ----------
    truth : TestTruth
    rows : Rows
    networks : Networks
    presets : sequence of str
        By whose recipes.

    Returns
    -------
    RowScores
        The headline preset's metrics by plain names, others under ``<preset>_``.
    """
    per_image: dict[str, dict[str, np.ndarray]] = {row: {} for row in rows.pictures}
    tables: dict[str, dict[str, np.ndarray]] = {row: {} for row in rows.pictures}
    for name in presets:
        preset, prefix = PRESETS[name], "" if name == HEADLINE else f"{name}_"
        for row, scores in score_pictures(truth.pictures, rows.pictures, preset.bring).items():
            per_image[row] |= {f"{prefix}{metric}": values for metric, values in scores.items()}
        pictures = {
            row: values for row, values in rows.pictures.items() if row not in rows.shuffles
        }
        for row, row_scores in score_in_networks(
            truth.pictures, pictures, networks, preset, shuffles=rows.shuffles, tables_of=("model",)
        ).items():
            per_image[row] |= row_scores.per_image
            tables[row] |= row_scores.tables
    for row, values in rows.latents.items():
        per_image[row] |= latent_scores(truth.latents, values, truth.train_mean, truth.train_sd)
    means = {
        row: {metric: float(scores.mean()) for metric, scores in row_scores.items()}
        for row, row_scores in per_image.items()
    }
    for row, values in rows.latents.items():
        means[row]["dimension_correlation"] = float(
            dimension_correlations(truth.latents, values).mean()
        )
    return RowScores(per_image, means, tables, networks.absent, networks.weights)


def latent_scores(
    truth: np.ndarray, predicted: np.ndarray, train_mean: np.ndarray, train_sd: np.ndarray
) -> dict[str, np.ndarray]:
    """Return pattern correlations and latent 2-way identification, both directions, centred on
    the training mean; each of shape (n,).
    """
    scores = {
        "pattern_correlation": pattern_correlations(truth, predicted, train_mean),
        "pattern_correlation_scaled": pattern_correlations(truth, predicted, train_mean, train_sd),
    }
    if np.allclose(predicted, train_mean):  # centred, nothing is left that could be identified
        return scores
    similarity = similarity_matrix(truth - train_mean, predicted - train_mean)
    ground_truth = two_way_identification(similarity, "ground_truth")
    return scores | {
        "two_way": two_way_identification(similarity),
        "two_way_ground_truth": ground_truth,
    }


@dataclass(frozen=True)
class Scores:
    """What `score_model` found.

    Attributes
    ----------
    rows : RowScores
        Of `MODEL_ROWS`.
    intervals : dict of str to dict of str to tuple
        By row and metric; 95 %, BCa bootstrap over images, percentile for
        ``dimension_correlation``, which the model alone has.
    p_values : dict of str to float
        Permutation p of the model's metrics.
    latent : dict of str to float
        `latents.latent_summary` of the model, ``reliability``, and ``error_over_stated``: the RMS
        error over that which the encoder itself states, if it does; 1 is calibrated, more is too
        sure.
    retrieval : dict of str to dict of str to float
        In latents, ``raw`` and ``centred`` on the training mean.
    repetitions : dict of int to dict of str to float
        Number of averaged repetitions to metric.
    seeds : dict of str to list of float
        Metric to its mean over images, for the encoder and for those trained from other seeds;
        empty if there are none.
    brain : dict of str to dict of str to dict of str to float
        `brain.score_responses` of ``Parts.seen_again``.
    profile : ndarray, shape (d,)
        Correlation over images of each latent number.
    n_constant : int
        Reconstructions of a single colour: their PixCorr counts as 0.
    """

    rows: RowScores
    intervals: dict[str, dict[str, tuple[float, float]]]
    p_values: dict[str, float]
    latent: dict[str, float]
    retrieval: dict[str, dict[str, float]]
    repetitions: dict[int, dict[str, float]]
    seeds: dict[str, list[float]]
    brain: dict[str, dict[str, dict[str, float]]]
    profile: np.ndarray
    n_constant: int


def score_model(
    truth: TestTruth,
    rows: Rows,
    parts: Parts,
    networks: Networks,
    *,
    n_permutations: int,
    n_bootstrap: int,
    seed: int,
) -> Scores:
    """Score an encoder.

    Parameters
    ----------
    truth : TestTruth
    rows : Rows
        `MODEL_ROWS`.
    parts : Parts
    networks : Networks
    n_permutations, n_bootstrap : int
    seed : int

    Returns
    -------
    Scores
    """
    rng = np.random.default_rng(seed)
    predicted = rows.latents["model"]
    scored = score_rows(truth, rows, networks)
    intervals = scored.intervals(n_bootstrap, rng)
    low, high = np.percentile(
        resampled_dimension_correlation(truth.latents, predicted, n_bootstrap, rng), (2.5, 97.5)
    )
    intervals["model"]["dimension_correlation"] = (float(low), float(high))
    centred_truth, centred = truth.latents - truth.train_mean, predicted - truth.train_mean
    retrieval = {
        "raw": cosine_matrix(truth.latents, predicted),
        "centred": cosine_matrix(centred_truth, centred),
    }
    latent = latent_summary(truth.latents, predicted, truth.train_mean)
    if not np.isnan(parts.stated_sd).any():
        latent["error_over_stated"] = float(
            np.sqrt(((predicted - truth.latents) ** 2).mean() / (parts.stated_sd**2).mean())
        )
    if parts.reliability is not None:
        latent["reliability"] = float(dimension_correlations(*parts.reliability).mean())
    tables = (
        dict(_pairings(truth, rows.pictures["model"], similarity_matrix(centred_truth, centred)))
        | scored.tables["model"]
    )
    return Scores(
        rows=scored,
        intervals=intervals,
        p_values=permutation_p(tables, n_permutations, rng),
        latent=latent,
        retrieval={
            name: retrieval_scores(similarity, rng) for name, similarity in retrieval.items()
        },
        repetitions={
            count: _scores_of_repetitions(truth, *part) for count, part in parts.repetitions.items()
        },
        seeds=_scores_of_seeds(truth, scored.means["model"], parts.seeds, networks),
        brain=score_responses(truth.responses, parts.seen_again, n_bootstrap, rng),
        profile=dimension_correlations(truth.latents, predicted),
        n_constant=constant_pictures(rows.pictures["model"]),
    )


def _pairings(
    truth: TestTruth, images: np.ndarray, centred: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield metric and its score of every pairing of image (rows) and prediction (columns).

    PixCorr is that of pictures as small as the reconstructions and SSIM that of 64 x 64: all pairs
    at 425 x 425 would take hours.
    """
    yield (
        "pixcorr",
        similarity_matrix(truth.small.reshape(len(images), -1), images.reshape(len(images), -1)),
    )
    yield "ssim", ssim_table(truth.small, images)
    yield "pattern_correlation", centred
    yield "two_way", two_way_table(centred)


def _scores_of_repetitions(
    truth: TestTruth, rows: np.ndarray, latents: np.ndarray, pictures: np.ndarray
) -> dict[str, float]:
    scores = latent_scores(truth.latents[rows], latents, truth.train_mean, truth.train_sd)
    small = truth.small[rows]
    scores["pixcorr_small"] = row_correlations(
        small.reshape(len(rows), -1), pictures.reshape(len(rows), -1)
    )
    return {"n_images": float(len(rows))} | {
        metric: float(values.mean()) for metric, values in scores.items()
    }


def _scores_of_seeds(
    truth: TestTruth, first_seed: dict[str, float], seeds: Rows, networks: Networks
) -> dict[str, list[float]]:
    others = list(score_rows(truth, seeds, networks, presets=(HEADLINE,)).means.values())
    return {
        metric: [first_seed[metric], *(other[metric] for other in others)]
        for metric in (others[0] if others else ())
    }

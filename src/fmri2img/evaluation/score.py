"""All scores of one encoder on the test images, each beside its floors, references and ceilings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fmri2img.evaluation.brain import score_responses
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
from fmri2img.evaluation.rows import Parts, Rows, TestTruth

HEADLINE = "mindeye"


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
        Names of the recipes (`PRESETS`) by which pictures are scored.

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
        Scores of the rows of `MODEL_ROWS`.
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
        Retrieval scores in latents, ``raw`` and ``centred`` on the training mean.
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

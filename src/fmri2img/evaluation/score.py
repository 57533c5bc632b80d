"""All scores of one encoder on the test images, each beside its floors, references and ceilings."""

from collections.abc import Sequence

import numpy as np

from fmri2img.evaluation.brain import image_correlations, score_responses
from fmri2img.evaluation.identification import cosine_matrix, retrieval_scores
from fmri2img.evaluation.inference import permutation_p
from fmri2img.evaluation.metrics.catalogue import families
from fmri2img.evaluation.metrics.declaration import FamilyScores
from fmri2img.evaluation.metrics.latent_metrics import (
    DIMENSION,
    dimension_correlations,
    latent_scores,
    latent_summary,
    resampled_dimension_correlation,
)
from fmri2img.evaluation.metrics.network_metrics import absent_metrics
from fmri2img.evaluation.metrics.picture_metrics import (
    PIXCORR_SMALL,
    constant_pictures,
    pixel_correlation_of_small,
)
from fmri2img.evaluation.predictions import Parts, Predictions, ShownPictures, TestTruth
from fmri2img.evaluation.presets import HEADLINE, PRESETS
from fmri2img.evaluation.read_outs import Networks
from fmri2img.evaluation.scores import RowScores, Scores
from fmri2img.evaluation.table_rows import MODEL
from fmri2img.project.progress import progress


def score_rows(
    truth: ShownPictures,
    predictions: Predictions,
    networks: Networks,
    *,
    presets: Sequence[str] = tuple(PRESETS),
) -> RowScores:
    """Score predictions by every declared metric of their spaces.

    Parameters
    ----------
    truth : ShownPictures
        A `TestTruth` with latents, if predictions have latents.
    predictions : Predictions
    networks : Networks
    presets : sequence of str
        Names of the recipes (`PRESETS`) by which pictures are scored.

    Returns
    -------
    RowScores
        Metrics of the headline preset under plain names, others with the prefix ``<preset>_``.
    """
    per_image: dict[str, dict[str, np.ndarray]] = {row: {} for row in predictions.pictures}
    means: dict[str, dict[str, float]] = {row: {} for row in predictions.pictures}
    tables: dict[str, dict[str, np.ndarray]] = {row: {} for row in predictions.tested}
    for scores in _scores_of_families(truth, predictions, networks, presets):
        for row, metrics in scores.per_image.items():
            per_image[row] |= metrics
            means[row] |= {metric: float(values.mean()) for metric, values in metrics.items()}
        for row, numbers in scores.means.items():
            means[row] |= numbers
        for row, pairings in scores.tables.items():
            tables[row] |= pairings
    return RowScores(per_image, means, tables, absent_metrics(networks), networks.weights)


def _scores_of_families(
    truth: ShownPictures, predictions: Predictions, networks: Networks, presets: Sequence[str]
) -> list[FamilyScores]:
    """Return each family's scores; families that depend on the preset first, by preset."""
    spaces = {"pictures", "networks"} | ({"latents"} if predictions.latents else set())
    usable = [
        family for family in families() if {metric.space for metric in family.metrics} <= spaces
    ]
    by_preset = [family for family in usable if family.depends_on_preset]
    plain = [family for family in usable if not family.depends_on_preset]
    calls = [(family, preset) for preset in presets for family in by_preset]
    calls += [(family, HEADLINE) for family in plain]
    scoring = progress("scoring, groups of metrics")
    return [
        family.score(truth, predictions, networks, PRESETS[preset])
        for family, preset in scoring(calls)
    ]


def score_model(
    truth: TestTruth,
    rows: Predictions,
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
    rows : Predictions
        The rows that depend on the encoder.
    parts : Parts
    networks : Networks
    n_permutations, n_bootstrap : int
    seed : int
    """
    rng = np.random.default_rng(seed)
    predicted = rows.latents.get(MODEL)
    scored = score_rows(truth, rows, networks)
    intervals = scored.intervals(n_bootstrap, rng)
    if predicted is not None:
        resampled = resampled_dimension_correlation(truth.latents, predicted, n_bootstrap, rng)
        low, high = np.percentile(resampled, (2.5, 97.5))
        intervals[MODEL][DIMENSION.name] = (float(low), float(high))
    p_values = permutation_p(scored.tables[MODEL], n_permutations, rng)
    retrieval: dict[str, dict[str, float]] = {}
    if predicted is not None:
        centred = [values - truth.train_mean for values in (truth.latents, predicted)]
        retrieval["raw"] = retrieval_scores(cosine_matrix(truth.latents, predicted), rng)
        retrieval["centred"] = retrieval_scores(cosine_matrix(*centred), rng)
    return Scores(
        rows=scored,
        intervals=intervals,
        p_values=p_values,
        latent=_latent_summary(truth, predicted, parts) if predicted is not None else {},
        retrieval=retrieval,
        repetitions={
            count: _scores_of_repetitions(truth, *part) for count, part in parts.repetitions.items()
        },
        seeds=_scores_of_seeds(truth, scored.means[MODEL], parts.seeds, networks),
        brain=score_responses(truth.responses, parts.seen_again, n_bootstrap, n_permutations, rng),
        brain_of_images=image_correlations(truth.responses, parts.seen_again.get(MODEL)),
        profile=dimension_correlations(truth.latents, predicted) if predicted is not None else None,
        n_constant=constant_pictures(rows.pictures[MODEL]),
    )


def _latent_summary(truth: TestTruth, predicted: np.ndarray, parts: Parts) -> dict[str, float]:
    summary = latent_summary(truth.latents, predicted, truth.train_mean)
    if parts.stated_sd is not None and not np.isnan(parts.stated_sd).any():
        summary["error_over_stated"] = float(
            np.sqrt(((predicted - truth.latents) ** 2).mean() / (parts.stated_sd**2).mean())
        )
    if parts.reliability is not None:
        summary["reliability"] = float(dimension_correlations(*parts.reliability).mean())
    return summary


def _scores_of_repetitions(
    truth: TestTruth, rows: np.ndarray, latents: np.ndarray | None, pictures: np.ndarray
) -> dict[str, float]:
    scores = {PIXCORR_SMALL.name: pixel_correlation_of_small(truth.small[rows], pictures)}
    if latents is not None:
        means = truth.train_mean, truth.train_sd
        scores = latent_scores(truth.latents[rows], latents, *means) | scores
    return {"n_images": float(len(rows))} | {
        metric: float(values.mean()) for metric, values in scores.items()
    }


def _scores_of_seeds(
    truth: TestTruth, first_seed: dict[str, float], seeds: Predictions, networks: Networks
) -> dict[str, list[float]]:
    if not seeds.pictures:
        return {}
    others = list(score_rows(truth, seeds, networks, presets=(HEADLINE,)).means.values())
    return {
        metric: [first_seed[metric], *(other[metric] for other in others)] for metric in others[0]
    }

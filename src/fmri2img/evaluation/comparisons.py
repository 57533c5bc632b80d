"""Encoders side by side: paired differences, means over subjects, corrected p-values."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from fmri2img.evaluation.inference import bootstrap_intervals, holm, sign_flip_p
from fmri2img.evaluation.metrics.catalogue import paired_metrics
from fmri2img.evaluation.metrics_document import MetricsDocument
from fmri2img.evaluation.table_rows import BRAIN_CORRELATION, REFERENCE
from fmri2img.project.exceptions import MismatchError

_RESAMPLES_AT_ONCE = 500
_ROUNDING = 1e-12
_RESAMPLES_A_TEST = 40  # Holm's correction of the smallest p is then .025


def paired_differences(
    tables: dict[str, dict[str, pd.DataFrame]], *, n_resamples: int = 10_000, seed: int = 0
) -> list[dict[str, Any]]:
    """Compare every model with ridge on the same images.

    Parameters
    ----------
    tables : dict of str to dict of str to DataFrame
        Subject to model to the scores of each image (`score_table`).
    n_resamples, seed : int
        Size and seed of the bootstrap and of the sign-flip test, which takes more where the list
        is so long that its p could not reach .05 otherwise.

    Returns
    -------
    list of dict
        ``subject``, ``models``, ``metric``, ``mean`` difference, 95 % ``interval``, ``effect``
        (`effect_size`), sign-flip ``p`` and ``p_holm`` over the whole list.
    """
    rng = np.random.default_rng(seed)
    n_tests = sum(
        len(compared_metrics(table.columns, scores[REFERENCE].columns))
        for scores in tables.values()
        for model, table in scores.items()
        if model != REFERENCE
    )
    n_flips = max(n_resamples, _RESAMPLES_A_TEST * n_tests)
    differences = []
    for subject, model, pair in _pairs(tables):
        for metric in compared_metrics(*(table.columns for table in pair)):
            difference = _difference(pair, metric)
            ((low, high),) = bootstrap_intervals(difference[None], n_resamples, rng)
            p_value = sign_flip_p(difference, n_flips, rng)
            item = {"subject": subject, "models": f"{model} - {REFERENCE}", "metric": metric}
            differences.append(item | _numbers(difference, (low, high), p_value))
    return _corrected(differences)


def brain_differences(
    tables: dict[str, dict[str, pd.DataFrame]], *, n_resamples: int = 10_000, seed: int = 0
) -> list[dict[str, Any]]:
    """Compare every model with ridge in how well reconstructions predict the next response
    (`brain.image_correlations`), on images that were shown again; a family of its own.

    Returns what `paired_differences` does.
    """
    rng = np.random.default_rng(seed)
    pairs = [
        (subject, model, pair)
        for subject, model, pair in _pairs(tables)
        if all(BRAIN_CORRELATION in table for table in pair)
    ]
    n_flips = max(n_resamples, _RESAMPLES_A_TEST * len(pairs))
    differences = []
    for subject, model, pair in pairs:
        difference = _difference(pair, BRAIN_CORRELATION)
        difference = difference[np.isfinite(difference)]
        if len(difference) < 2:
            continue
        ((low, high),) = bootstrap_intervals(difference[None], n_resamples, rng)
        p_value = sign_flip_p(difference, n_flips, rng)
        models = f"{model} - {REFERENCE}"
        item = {"subject": subject, "models": models, "metric": BRAIN_CORRELATION}
        differences.append(item | _numbers(difference, (low, high), p_value))
    return _corrected(differences)


def _pairs(
    tables: dict[str, dict[str, pd.DataFrame]],
) -> Iterator[tuple[str, str, tuple[pd.DataFrame, pd.DataFrame]]]:
    """Yield each subject and model with its table and that of ridge."""
    for subject, scores in tables.items():
        for model, table in scores.items():
            if model != REFERENCE:
                yield subject, model, (table, scores[REFERENCE])


def _difference(pair: tuple[pd.DataFrame, pd.DataFrame], metric: str) -> np.ndarray:
    model, reference = (table.set_index("image_id")[metric] for table in pair)
    difference: np.ndarray = (model - reference).to_numpy()
    return difference


def _numbers(
    difference: np.ndarray, interval: tuple[float, float], p_value: float
) -> dict[str, Any]:
    return {
        "mean": round(float(difference.mean()), 6),
        "interval": [round(float(end), 6) for end in interval],
        "effect": effect_size(difference),
        "p": round(p_value, 6),
    }


def _corrected(differences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    adjusted = holm({str(number): item["p"] for number, item in enumerate(differences)})
    return [
        item | {"p_holm": round(adjusted[str(number)], 6)}
        for number, item in enumerate(differences)
    ]


def effect_size(differences: np.ndarray) -> float:
    """Return Cohen's d of paired differences, shape (n,): their mean over their SD; 0 if all are
    the same.
    """
    if len(differences) < 2 or np.ptp(differences) < _ROUNDING:
        return 0.0
    return round(float(differences.mean() / differences.std(ddof=1)), 6)


def compared_metrics(*columns: Iterable[str]) -> list[str]:
    """Return the headline preset's metrics that all tables have: models are compared on them."""
    shared = set.intersection(*map(set, columns))
    return [metric for metric in paired_metrics() if metric in shared]


def mean_over_subjects(
    tables: dict[str, pd.DataFrame], metric: str, *, n_resamples: int = 10_000, seed: int = 0
) -> dict[str, Any]:
    """Return a model's unweighted mean over subjects, with a 95 % percentile interval over images.

    Subjects saw the same test images, so each image is drawn for all subjects at once: the interval
    includes the difficulty that they share. It says nothing about other subjects.

    Parameters
    ----------
    tables : dict of str to DataFrame
        Subject to the scores of each image (`score_table`).
    metric : str
    n_resamples, seed : int

    Returns
    -------
    dict
        ``mean``, ``interval``, and ``subjects``: the mean of each subject.
    """
    joined = pd.concat(
        {subject: table.set_index("image_id")[metric] for subject, table in tables.items()}, axis=1
    ).to_numpy()
    is_scored = np.isfinite(joined)  # (n_images, n_subjects)
    values = np.where(is_scored, joined, 0)
    rng = np.random.default_rng(seed)
    means = []
    for start in range(0, n_resamples, _RESAMPLES_AT_ONCE):
        size = min(_RESAMPLES_AT_ONCE, n_resamples - start)
        counts = rng.multinomial(
            len(values), np.full(len(values), 1 / len(values)), size=size
        ).astype(np.float64)
        means.append((counts @ values / np.maximum(counts @ is_scored, 1)).mean(axis=1))
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    subject_means = values.sum(axis=0) / is_scored.sum(axis=0)
    return {
        "mean": round(float(subject_means.mean()), 6),
        "interval": [round(float(low), 6), round(float(high), 6)],
        "subjects": dict(zip(tables, subject_means.round(6).tolist(), strict=True)),
    }


def means_over_subjects(tables: dict[str, dict[str, pd.DataFrame]]) -> list[dict[str, Any]]:
    """Return `mean_over_subjects` of every model and metric: ``model``, and ``scores`` by metric.

    Parameters
    ----------
    tables : dict of str to dict of str to DataFrame
        Subject to model to the scores of each image.
    """
    means = []
    for model in next(iter(tables.values())):
        mine = {subject: scores[model] for subject, scores in tables.items()}
        metrics = compared_metrics(*(table.columns for table in mine.values()))
        means.append(
            {
                "model": model,
                "scores": {metric: mean_over_subjects(mine, metric) for metric in metrics},
            }
        )
    return means


def check_scored_alike(
    documents: dict[str, MetricsDocument], stages: str = "score_references evaluate"
) -> None:
    """Refuse to compare scores that come from different weights, settings or data.

    Parameters
    ----------
    documents : dict of str to MetricsDocument
        Documents by name, such as subj01/ridge.
    stages : str
        What makes them anew.

    Raises
    ------
    MismatchError
        If two differ.
    """
    (first, reference), *others = documents.items()
    for name, document in others:
        for key in ("weights", "versions", "preset", "networks", "data_source", "test_set"):
            ours, theirs = reference.about[key], document.about[key]
            if ours != theirs:
                raise MismatchError(
                    f"{name} and {first} were scored with different {key}: {theirs} and {ours}; "
                    f"run: dvc repro --force {stages}"
                )


def corrected_p(documents: dict[str, MetricsDocument]) -> dict[str, dict[str, float]]:
    """Return the permutation p of every metric in every document, Holm-corrected over all of them.

    Parameters
    ----------
    documents : dict of str to MetricsDocument
        Documents by name, such as subj01/ridge.
    """
    flat = {
        f"{name}|{metric}": value
        for name, document in documents.items()
        for metric, value in document.p_values.items()
    }
    adjusted = holm(flat)
    return {
        name: {metric: round(adjusted[f"{name}|{metric}"], 6) for metric in document.p_values}
        for name, document in documents.items()
    }

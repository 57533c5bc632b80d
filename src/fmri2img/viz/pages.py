"""Offline pages: everything about one encoder, and all subjects and models side by side."""

import base64
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fmri2img.evaluation.documents import OOD_NOTE
from fmri2img.evaluation.metrics.catalogue import (
    CHAMPION_METRIC,
    HALVES_METRICS,
    HALVES_OVER_IMAGES,
    all_metrics,
    plain_metrics,
    published_metrics,
    title_of,
)
from fmri2img.evaluation.metrics.declaration import Metric
from fmri2img.evaluation.metrics_document import MetricsDocument
from fmri2img.evaluation.predictions import ALL_VOXELS
from fmri2img.evaluation.table_rows import (
    BRAIN_CORRELATION,
    MODEL,
    NEAREST,
    REFERENCE,
    ROWS,
    SHUFFLED,
    SUBJECT_ROWS,
)
from fmri2img.evaluation.verdict import outcome_of
from fmri2img.project.layout import comparison_path, report_path
from fmri2img.viz.posterior_samples import PosteriorSamples
from fmri2img.viz.published import BESIDE, PUBLISHED
from fmri2img.viz.rendering import links_from, map_uri, picture_uri, render
from fmri2img.viz.score_figures import (
    distributions,
    explained_by_region,
    figure_uri,
    latent_maps,
    repetition_curve,
)
from fmri2img.viz.signs import SIGNS

_RETRIEVAL_TITLES = {"raw": "raw", "centred": "centred on the training mean"}


@dataclass(frozen=True)
class ReportData:
    """Content of the page about one encoder.

    Attributes
    ----------
    subject, model : str
    document : MetricsDocument
    encoding : dict
        Encoding document with the scores of each region, as in ``reports/encoding``.
    per_image : dict of str to dict of str to ndarray, shape (n,)
        Row to metric to scores.
    image_ids : ndarray, shape (n,)
    shown, ceiling, reconstructed : ndarray, shape (n, side, side, 3), uint8
        The test pictures, and their reconstructions by the autoencoder alone and by the encoder.
    profile : ndarray, shape (channels, h, w), or None
        Correlation over images of each latent number; None: the encoder predicts no latents.
    decided : ndarray, shape (h, w), or None
        Share of the variance of latents over pictures that the response decided, in the encoder's
        own statement, below 0 where it states more than that; None: it has no prior.
    posterior : list of PosteriorSamples
        Empty for an encoder without a posterior.
    """

    subject: str
    model: str
    document: MetricsDocument
    encoding: dict
    per_image: dict[str, dict[str, np.ndarray]]
    image_ids: np.ndarray
    shown: np.ndarray
    ceiling: np.ndarray
    reconstructed: np.ndarray
    profile: np.ndarray | None
    decided: np.ndarray | None = None
    posterior: list[PosteriorSamples] = field(default_factory=list)


def run_page(data: ReportData) -> str:
    """Return the page about one encoder as HTML, in one file that works offline."""
    document, regions = data.document, data.encoding["regions"]
    here = report_path(data.subject, data.model)
    return render(
        "report.html.jinja",
        data_source=document.about["data_source"],
        links=links_from(here, data.subject, data.model),
        origin=document.origin,
        title=f"{data.subject} · {data.model}",
        about=document.about,
        warnings=[note for note in document.notes if not note.startswith("Simulated")],
        tables=_tables(document, data.model),
        absent=_absent(document.absent),
        p_values={title_of(metric): document.p_values[metric] for metric in _tested(document)},
        n_repeated=int(
            max((values["n_images"] for values in document.repetitions.values()), default=0)
        ),
        figures=_figures(data),
        reference=REFERENCE,
        differences=""
        if data.model == REFERENCE
        else f"{os.path.relpath(comparison_path('html'), here.parent)}#differences",
        decided=_decided(data.decided),
        posterior=[
            {
                "image_id": one.image_id,
                "shown": picture_uri(one.shown),
                "mean": picture_uri(one.mean),
                "samples": [picture_uri(sample) for sample in one.samples],
            }
            for one in data.posterior
        ],
        picked=_picked(data),
        picked_by=title_of(_picked_by(data)),
        seeds=_seed_lines(document),
        regions=_region_lines(regions, document.brain),
        encoding=data.encoding["about"],
        facts={name.replace("_", " "): value for name, value in document.latent.items()},
        halves=document.halves,
        halves_metrics=HALVES_METRICS,
        halves_over_images=HALVES_OVER_IMAGES,
        by_samples=document.samples,
        retrieval={
            _RETRIEVAL_TITLES[name]: _told_apart(scores, document.n_images)
            for name, scores in document.retrieval.items()
        },
    )


def _told_apart(retrieval: dict[str, float], n_images: int) -> dict[str, float]:
    """Leave out pools that hold all images: these are the same numbers again."""
    sizes = {name: re.search(r"_of_(\d+)", name) for name in retrieval}
    return {
        name: score
        for name, score in retrieval.items()
        if not (size := sizes[name]) or int(size[1]) < n_images
    }


def _decided(shares: np.ndarray | None) -> dict | None:
    """Return the map of shares with its mean and its scale; None if there is none."""
    if shares is None:
        return None
    scale = map_uri(np.tile(np.linspace(0, 1, 64), (2, 1)))
    return {"picture": map_uri(shares), "mean": float(shares.mean()), "scale": scale}


def _tested(document: MetricsDocument) -> list[str]:
    return [metric for metric in plain_metrics() if metric in document.p_values]


def _absent(absent: dict[str, str]) -> list[tuple[str, list[str]]]:
    """Return each reason with the headings of the metrics that are absent because of it."""
    return [
        (
            reason,
            [
                metric.heading
                for name, metric in plain_metrics().items()
                if absent.get(name) == reason
            ],
        )
        for reason in sorted(set(absent.values()))
    ]


def _figures(data: ReportData) -> dict[str, str | None]:
    repetitions, regions = data.document.repetitions, data.encoding["regions"]
    histograms = distributions(data.per_image[MODEL], data.per_image[SHUFFLED], data.model)
    return {
        "distributions": figure_uri(histograms),
        "maps": figure_uri(latent_maps(data.profile)) if data.profile is not None else None,
        "repetitions": figure_uri(repetition_curve(repetitions)) if repetitions else None,
        "regions": figure_uri(
            explained_by_region({name: regions[name] for name in _all_first(regions)})
        ),
    }


def _tables(document: MetricsDocument, model: str) -> list[dict]:
    """Return the tables of scores: pictures, latents, and variants of the picture scores."""
    scored = {
        name: metric for name, metric in all_metrics().items() if name in document.rows[MODEL]
    }
    latents = [name for name, metric in scored.items() if metric.space == "latents"]
    pictures = [name for name in plain_metrics("pictures", "networks") if name in scored]
    variants = [name for name in scored if name not in (*pictures, *latents)]
    rows = [row for row in ROWS if row in document.rows and not (row == REFERENCE and model == row)]
    tables = {
        "Pictures": pictures,
        "Latents and responses": latents,
        "Variants of the picture scores": variants,
    }
    return [_table(title, names, rows, document) for title, names in tables.items() if names]


def _seed_lines(document: MetricsDocument) -> list[tuple[str, dict, float]]:
    """Return each metric's title, spread over seeds, and half-width of the interval over images."""
    lines = []
    for metric, spread in document.seeds.items():
        score = document.rows[MODEL][metric]
        if metric in plain_metrics() and score.low is not None and score.high is not None:
            lines.append((title_of(metric), spread, (score.high - score.low) / 2))
    return lines


def _region_lines(encoding: dict, brain: dict) -> list[dict]:
    return [
        {"name": region, **encoding[region], "brain": brain.get(region, {})}
        for region in _all_first(encoding)
    ]


def _all_first(regions: dict) -> list[str]:
    """Return names of regions, all voxels together first (JSON has sorted them)."""
    return sorted(regions, key=lambda name: (name != ALL_VOXELS, name))


@dataclass(frozen=True)
class ListedRun:
    """One subject and model of the comparison.

    Attributes
    ----------
    subject, model : str
    is_champion : bool
    document : MetricsDocument
    against_reference : mapping of str to str
        Metric to ``better``, ``worse`` or `verdict.TIE`, beside ridge; nothing for ridge itself.
    """

    subject: str
    model: str
    is_champion: bool
    document: MetricsDocument
    against_reference: Mapping[str, str] = field(default_factory=dict)


def comparison_page(
    runs: list[ListedRun],
    data_source: str,
    sentences: list[str],
    differences: list[dict],
    means: list[dict],
    encoding: dict[str, dict],
    figure: bytes,
    ood: Mapping[str, Mapping[str, MetricsDocument]] | None = None,
) -> str:
    """Return the page with all subjects and models as HTML.

    Parameters
    ----------
    runs : list of ListedRun
    data_source : str
    sentences : list of str
        What the comparison says.
    differences : list of dict
        Paired differences: ``subject``, ``models``, ``metric``, ``mean``, ``interval``, ``effect``,
        ``p``, ``p_holm``; those of `BRAIN_CORRELATION` stand beside the brain's responses.
    means : list of dict
        ``model``, and ``scores``: metric to mean over subjects, interval and subjects' means.
    encoding : dict of str to dict
        Subject to regions, as in ``reports/encoding``.
    figure : bytes
        The comparison as PNG.
    ood : mapping of str to mapping of str to MetricsDocument
        Further test set to encoder (``subj01/ridge``) to its scores there.
    """
    shown = {
        name: metric
        for name, metric in plain_metrics().items()
        if any(name in run.document.rows[MODEL] for run in runs)
    }
    document = runs[0].document
    return render(
        "comparison.html.jinja",
        links=links_from(comparison_path("html")),
        origin=document.origin,
        metrics=_headings(shown),
        runs=runs,
        data_source=data_source,
        sentences=sentences,
        differences=[
            item | {"title": title_of(item["metric"]), "outcome": outcome_of(item)}
            for item in differences
            if item["metric"] != BRAIN_CORRELATION
        ],
        brain_differences={
            f"{item['subject']}/{item['models'].partition(' - ')[0]}": item
            | {"outcome": outcome_of(item)}
            for item in differences
            if item["metric"] == BRAIN_CORRELATION
        },
        means=means,
        n_subjects=len({run.subject for run in runs}),
        ood=ood or {},
        ood_note=OOD_NOTE,
        floors={ROWS[row].title: row for row in SUBJECT_ROWS},
        nearest=NEAREST,
        nearest_title=ROWS[NEAREST].title,
        absent=[
            metric.heading for name, metric in plain_metrics().items() if name in document.absent
        ],
        signs=SIGNS,
        reference=REFERENCE,
        test_set_of_ours=f"{document.n_images} images ({document.about['test_set']})",
        published=PUBLISHED if data_source in BESIDE else (),
        published_metrics=_headings(published_metrics()),
        encoding={
            subject: {name: scores["regions"][name] for name in _all_first(scores["regions"])}
            for subject, scores in encoding.items()
        },
        ceiling_from=next(iter(encoding.values()))["about"],
        all_voxels=ALL_VOXELS,
        floor_means=_reference_means(runs, shown),
        figure="data:image/png;base64," + base64.b64encode(figure).decode(),
    )


def _headings(metrics: dict[str, Metric]) -> dict[str, str]:
    return {name: metric.heading for name, metric in metrics.items()}


def _reference_means(runs: list[ListedRun], metrics: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return the means over subjects of the rows that all encoders share."""
    documents = list({run.subject: run.document for run in runs}.values())
    means: dict[str, dict[str, float]] = {}
    for row in SUBJECT_ROWS:
        scores = [document.means(row) for document in documents]
        means[ROWS[row].title] = {
            metric: float(np.mean([values[metric] for values in scores]))
            for metric in metrics
            if all(metric in values for values in scores)
        }
    return means


def _table(title: str, metrics: list[str], rows: list[str], document: MetricsDocument) -> dict:
    lines = []
    for row in rows:
        scores = document.rows[row]
        cells = []
        for metric in metrics:
            score = scores.get(metric)
            has_ends = ROWS[row].has_intervals and score is not None and score.low is not None
            cells.append(
                (
                    f"{score.value:.3f}" if score else "–",
                    f"{score.low:.3f} – {score.high:.3f}" if score and has_ends else "",
                )
            )
        lines.append({"name": ROWS[row].title, "cells": cells, "is_model": row == MODEL})
    return {"title": title, "heads": [title_of(metric) for metric in metrics], "lines": lines}


def _picked_by(data: ReportData) -> str:
    """Return the metric by which images are picked: the champion's, or the first available."""
    scored = data.per_image[MODEL]
    return CHAMPION_METRIC if CHAMPION_METRIC in scored else next(iter(scored))


def _picked(data: ReportData) -> list[dict]:
    """Return the best, the median and the worst images."""
    scores = data.per_image[MODEL][_picked_by(data)]
    order = np.argsort(-scores, kind="stable")
    middle = len(order) // 2
    groups = {
        "best": order[:4],
        "median": order[max(0, middle - 2) : middle + 2],
        "worst": order[-4:],
    }
    return [
        {
            "title": title,
            "items": [
                {
                    "image_id": data.image_ids[row].item(),
                    "score": float(scores[row]),
                    "pictures": [
                        picture_uri(pictures[row])
                        for pictures in (data.shown, data.reconstructed, data.ceiling)
                    ],
                }
                for row in rows
            ],
        }
        for title, rows in groups.items()
    ]

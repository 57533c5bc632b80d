"""Pages to read offline: all that is known of one encoder, and all subjects and models side by
side.
"""

import base64
import io
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from fmri2img.evaluation.brain import ALL_VOXELS
from fmri2img.viz.published import PUBLISHED
from fmri2img.viz.titles import (
    METRIC_TITLES,
    PICTURE_METRICS,
    PUBLISHED_METRICS,
    ROW_SECTIONS,
    ROW_TITLES,
    SUBJECT_ROWS,
    title_of,
)

_WITH_INTERVALS = ("test", "z_only", "c_only", "single_trial", "reference_ridge")
_INK, _BLUE, _GREY = "#1d2330", "#3b6fb6", "#98a2b3"


@dataclass(frozen=True)
class ReportData:
    """What a page about one encoder shows.

    Attributes
    ----------
    subject, model : str
    document : dict
        The metrics document, as in ``reports/metrics``.
    encoding : dict
        What the encoding model explains of each region, as in ``reports/encoding``.
    per_image : dict of str to dict of str to ndarray, shape (n,)
        Row to metric to scores.
    image_ids : ndarray, shape (n,)
    seen, ceiling, reconstructed : ndarray, shape (n, side, side, 3), uint8
    profile : ndarray, shape (channels, h, w)
        Correlation over images of each latent number.
    """

    subject: str
    model: str
    document: dict
    encoding: dict
    per_image: dict[str, dict[str, np.ndarray]]
    image_ids: np.ndarray
    seen: np.ndarray
    ceiling: np.ndarray
    reconstructed: np.ndarray
    profile: np.ndarray


def run_page(data: ReportData) -> str:
    """Return the page about one encoder as HTML, in one file without a network."""
    document = data.document
    left_out = {"reference_ridge"} if data.model == "ridge" else set()
    order = [
        section
        for section in ROW_SECTIONS.values()
        if section in document and section not in left_out
    ]
    titles = {section: ROW_TITLES[row] for row, section in ROW_SECTIONS.items()}
    scored = list(document["test"])
    pictures = [metric for metric in PICTURE_METRICS if metric in scored]
    latents = [
        metric
        for metric in (*METRIC_TITLES, "two_way_ground_truth", "pattern_correlation_scaled")
        if metric in scored and metric not in pictures
    ]
    tables = {"Pictures": pictures, "Latents and responses": latents}
    tables["Variants of the picture scores"] = [
        metric for metric in scored if metric not in (*pictures, *latents)
    ]
    absent, regions = document["about"]["absent"], data.encoding["regions"]
    return _render(
        "report.html.jinja",
        title=f"{data.subject} · {data.model}",
        about=document["about"],
        tables=[
            _table(title, metrics, order, titles, document) for title, metrics in tables.items()
        ],
        absent=[
            (reason, [METRIC_TITLES[name] for name in METRIC_TITLES if absent.get(name) == reason])
            for reason in sorted(set(absent.values()))
        ],
        p_values={
            METRIC_TITLES[metric]: document["p"][metric]
            for metric in METRIC_TITLES
            if metric in document["p"]
        },
        n_repeated=int(
            max((values["n_images"] for values in document["repetitions"].values()), default=0)
        ),
        figures={
            "distributions": _uri(_distributions(data)),
            "maps": _uri(_maps(data.profile)),
            "repetitions": _uri(_repetition_curve(document["repetitions"]))
            if document["repetitions"]
            else None,
            "regions": _uri(_regions({name: regions[name] for name in _all_first(regions)})),
        },
        picked=_picked(data),
        seeds=_seed_lines(document),
        regions=_region_lines(regions, document["brain"]),
        encoding=data.encoding["about"],
        facts={name.replace("_", " "): value for name, value in document["latent"].items()},
        halves=document.get("halves", {}),
        by_samples=document.get("identification_by_samples", {}),
        retrieval={
            "raw": document["retrieval_raw"],
            "centred on the training mean": document["retrieval_centred"],
        },
    )


def _seed_lines(document: dict) -> list[tuple[str, dict, float]]:
    """Return title, spread over seeds, and half the width of the interval over images, of each
    headline metric.
    """
    ends = document["interval"]["test"]
    return [
        (title_of(metric), spread, (ends[metric][1] - ends[metric][0]) / 2)
        for metric, spread in document["seeds"].items()
        if metric in METRIC_TITLES
    ]


def _region_lines(encoding: dict, brain: dict) -> list[dict]:
    return [
        {"name": region, **encoding[region], "brain": brain.get(region, {})}
        for region in _all_first(encoding)
    ]


def _all_first(regions: dict) -> list[str]:
    """Return names of regions, the one of all voxels first (JSON has sorted them)."""
    return sorted(regions, key=lambda name: (name != ALL_VOXELS, name))


def comparison_page(
    runs: list[dict],
    data_source: str,
    differences: list[dict],
    means: list[dict],
    encoding: dict[str, dict],
    figure: bytes,
) -> str:
    """Return the page with all subjects and models as HTML.

    Parameters
    ----------
    runs : list of dict
        ``subject``, ``model``, ``champion``, and ``document`` as in ``reports/metrics``.
    data_source : str
    differences : list of dict
        Paired differences: ``subject``, ``models``, ``metric``, ``mean``, ``interval``, ``p``,
        ``p_holm``.
    means : list of dict
        ``model``, and ``scores``: metric to mean over subjects, interval and each subject's.
    encoding : dict of str to dict
        Subject to regions, as in ``reports/encoding``.
    figure : bytes
        The comparison as PNG.
    """
    shown = [
        metric for metric in METRIC_TITLES if all(metric in run["document"]["test"] for run in runs)
    ]
    about = runs[0]["document"]["about"]
    return _render(
        "comparison.html.jinja",
        metrics={metric: METRIC_TITLES[metric] for metric in shown},
        runs=runs,
        data_source=data_source,
        differences=[item | {"title": title_of(item["metric"])} for item in differences],
        means=means,
        n_subjects=len({run["subject"] for run in runs}),
        floors={ROW_TITLES[row]: ROW_SECTIONS[row] for row in SUBJECT_ROWS},
        absent=[METRIC_TITLES[metric] for metric in METRIC_TITLES if metric in about["absent"]],
        test_set_of_ours=f"{about['n_test_images']} images ({about['test_set']})",
        published=PUBLISHED,
        published_metrics={metric: METRIC_TITLES[metric] for metric in PUBLISHED_METRICS},
        encoding={
            subject: {name: document["regions"][name] for name in _all_first(document["regions"])}
            for subject, document in encoding.items()
        },
        ceiling_from=next(iter(encoding.values()))["about"],
        all_voxels=ALL_VOXELS,
        floor_means=_reference_means(runs, shown),
        figure="data:image/png;base64," + base64.b64encode(figure).decode(),
    )


def _reference_means(runs: list[dict], metrics: list[str]) -> dict[str, dict[str, float]]:
    """Return the means over subjects of the rows that all encoders share."""
    documents = list({run["subject"]: run["document"] for run in runs}.values())
    return {
        ROW_TITLES[row]: {
            metric: float(np.mean([document[ROW_SECTIONS[row]][metric] for document in documents]))
            for metric in metrics
            if all(metric in document[ROW_SECTIONS[row]] for document in documents)
        }
        for row in SUBJECT_ROWS
    }


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page, css = (
        files("fmri2img.viz").joinpath(name).read_text() for name in (template, "page.css.jinja")
    )
    return environment.from_string(page).render(css=Markup(css), **values)  # noqa: S704


def _table(
    title: str, metrics: list[str], order: list[str], titles: dict[str, str], document: dict
) -> dict:
    lines = []
    for section in order:
        means, ends = (
            document[section],
            document["interval"].get(section, {}) if section in _WITH_INTERVALS else {},
        )
        cells = [
            (
                f"{means[metric]:.3f}" if metric in means else "–",
                f"{ends[metric][0]:.3f} – {ends[metric][1]:.3f}" if metric in ends else "",
            )
            for metric in metrics
        ]
        lines.append({"name": titles[section], "cells": cells, "is_model": section == "test"})
    return {"title": title, "heads": [title_of(metric) for metric in metrics], "lines": lines}


def _picked(data: ReportData) -> list[dict]:
    """Return the best, the median and the worst images by latent pattern correlation."""
    scores = data.per_image["model"]["pattern_correlation"]
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
                    "image_id": int(data.image_ids[row]),
                    "score": float(scores[row]),
                    "pictures": [
                        _picture_uri(pictures[row])
                        for pictures in (data.seen, data.reconstructed, data.ceiling)
                    ],
                }
                for row in rows
            ],
        }
        for title, rows in groups.items()
    ]


def _distributions(data: ReportData) -> Figure:
    metrics = [metric for metric in METRIC_TITLES if metric in data.per_image["model"]]
    n_columns = min(5, len(metrics))
    n_rows = -(-len(metrics) // n_columns)
    figure, grid = plt.subplots(
        n_rows,
        n_columns,
        figsize=(2.6 * n_columns, 2.3 * n_rows),
        layout="constrained",
        squeeze=False,
    )
    for axis, metric in zip(grid.flat, metrics, strict=False):
        model, shuffled = data.per_image["model"][metric], data.per_image["shuffled"][metric]
        bins = np.linspace(
            min(model.min(), shuffled.min()),
            max(model.max(), shuffled.max(), model.min() + 1e-3),
            25,
        )
        axis.hist(shuffled, bins, color=_GREY, alpha=0.6, label="shuffled")
        axis.hist(model, bins, color=_BLUE, alpha=0.75, label=data.model)
        axis.axvline(model.mean(), color=_INK, linewidth=1.2)
        axis.set_title(METRIC_TITLES[metric], fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in grid.flat[len(metrics) :]:
        axis.set_axis_off()
    for row in grid:
        row[0].set_ylabel("images", fontsize=9)
    figure.legend(
        *grid[0][0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        frameon=False,
    )
    return figure


def _regions(encoding: dict) -> Figure:
    names = list(encoding)
    figure, axis = plt.subplots(figsize=(max(5, 0.75 * len(names) + 2), 2.6), layout="constrained")
    places = np.arange(len(names))
    axis.bar(
        places - 0.2,
        [encoding[name].get("noise_ceiling_above", np.nan) for name in names],
        0.38,
        color=_GREY,
        label="noise ceiling",
    )
    axis.bar(
        places + 0.2,
        [encoding[name].get("r2", np.nan) for name in names],
        0.38,
        color=_BLUE,
        label="explained from latents (R²)",
    )
    axis.axhline(0, color=_INK, linewidth=0.8)
    axis.set_xticks(places, names, fontsize=8, rotation=30 if len(names) > 9 else 0)
    axis.set_ylabel("% of variance, median", fontsize=9)
    axis.tick_params(axis="y", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def _maps(profile: np.ndarray) -> Figure:
    figure, axes = plt.subplots(
        1,
        len(profile),
        figsize=(2.5 * len(profile) + 0.7, 2.6),
        layout="constrained",
        squeeze=False,
    )
    limit = max(0.05, float(np.abs(profile).max()))
    for number, (axis, values) in enumerate(zip(axes[0], profile, strict=True), start=1):
        shown = axis.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set_title(f"channel {number}, mean {values.mean():.2f}", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    bar = figure.colorbar(shown, ax=axes[0].tolist(), shrink=0.85)
    bar.set_label("correlation over images", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def _repetition_curve(curve: dict[str, dict[str, float]]) -> Figure:
    counts = [int(count) for count in curve]
    metrics = {
        "pattern_correlation": "latent pattern r",
        "two_way": "latent 2-way",
        "pixcorr_small": "PixCorr, small pictures",
    }
    figure, axes = plt.subplots(
        1, len(metrics), figsize=(2.9 * len(metrics), 2.5), layout="constrained"
    )
    for axis, (metric, title) in zip(axes, metrics.items(), strict=True):
        axis.plot(counts, [values[metric] for values in curve.values()], "o-", color=_BLUE)
        axis.set_xticks(counts)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("repetitions averaged", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.margins(0.15)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _picture_uri(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

"""Pages to read offline: all that is known of one encoder, and all subjects and models side by side."""

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

from fmri2img.viz.comparison import METRIC_TITLES, ROW_SECTIONS, ROW_TITLES
from fmri2img.viz.published import PUBLISHED

TITLES = METRIC_TITLES | {
    "ssim_columnwise": "SSIM, column-wise",
    "two_way_ground_truth": "latent 2-way, fixed truth",
    "brain_diffuser_pixcorr": "PixCorr",
    "brain_diffuser_ssim": "SSIM",
    "brain_diffuser_ssim_columnwise": "SSIM, column-wise",
}
_OF_SUBJECT = ("grey", "train_mean", "mean_latent", "vae_ceiling", "resize_ceiling")  # the same for all models
_OTHER_PRESET = "brain_diffuser_"
_INK, _BLUE, _GREY = "#1d2330", "#3b6fb6", "#98a2b3"


@dataclass(frozen=True)
class ReportData:
    """What a page about one encoder shows.

    Attributes
    ----------
    subject, model : str
    document : dict
        As in ``reports/metrics``.
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
    per_image: dict[str, dict[str, np.ndarray]]
    image_ids: np.ndarray
    seen: np.ndarray
    ceiling: np.ndarray
    reconstructed: np.ndarray
    profile: np.ndarray


def run_page(data: ReportData) -> str:
    """Return the page about one encoder as HTML, in one file without a network."""
    document = data.document
    sections = [name for name in (*ROW_SECTIONS.values(), "reference_ridge") if name in document]
    titles = {section: ROW_TITLES[row] for row, section in ROW_SECTIONS.items()} | {"reference_ridge": "reference: ridge"}
    order = ["test", "single_trial", "reference_ridge", *(name for name in sections if name.startswith(("floor", "ceiling")))]
    if data.model == "ridge":
        order.remove("reference_ridge")
    rows = [(titles[name], document[name]) for name in order if name in document]
    scored = list(document["test"])
    headline = [metric for metric in (*METRIC_TITLES, "two_way_ground_truth", "ssim_columnwise") if metric in scored]
    other = [metric for metric in scored if metric.startswith(_OTHER_PRESET)]
    return _render(
        "report.html.jinja",
        title=f"{data.subject} · {data.model}",
        about=document["about"],
        tables=[
            _table("Scores", headline, rows, document["interval"]),
            _table("The same by Brain-Diffuser's recipe", other, rows, document["interval"]),
        ],
        p_values={TITLES.get(metric, metric): value for metric, value in document["p"].items()},
        figures={
            "distributions": _uri(_distributions(data)),
            "maps": _uri(_maps(data.profile)),
            "repetitions": _uri(_repetition_curve(document["repetitions"])) if document["repetitions"] else None,
        },
        picked=_picked(data),
        facts={name.replace("_", " "): value for name, value in document["latent"].items()},
        retrieval={"raw": document["retrieval_raw"], "centred on the training mean": document["retrieval_centred"]},
    )


def comparison_page(runs: list[dict], data_source: str, differences: list[dict], figure: bytes) -> str:
    """Return the page with all subjects and models as HTML.

    Parameters
    ----------
    runs : list of dict
        ``subject``, ``model``, ``champion``, and ``document`` as in ``reports/metrics``.
    data_source : str
    differences : list of dict
        Paired differences: ``subject``, ``models``, ``metric``, ``mean``, ``interval``, ``p``, ``p_holm``.
    figure : bytes
        The comparison as PNG.
    """
    models = list(dict.fromkeys(run["model"] for run in runs))
    return _render(
        "comparison.html.jinja",
        metrics=METRIC_TITLES,
        runs=runs,
        data_source=data_source,
        differences=[item | {"title": TITLES.get(item["metric"], item["metric"])} for item in differences],
        means=[{"model": model, **_mean_over_subjects([run for run in runs if run["model"] == model])} for model in models],
        floors={ROW_TITLES[row]: ROW_SECTIONS[row] for row in _OF_SUBJECT},
        published=PUBLISHED,
        figure="data:image/png;base64," + base64.b64encode(figure).decode(),
    )


def _mean_over_subjects(runs: list[dict]) -> dict[str, Any]:
    tests = [run["document"]["test"] for run in runs]
    return {"n": len(runs), "scores": {metric: float(np.mean([test[metric] for test in tests])) for metric in METRIC_TITLES}}


def _render(template: str, **values: Any) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page, css = (files("fmri2img.viz").joinpath(name).read_text() for name in (template, "page.css.jinja"))
    return environment.from_string(page).render(css=Markup(css), **values)  # noqa: S704 (our own file)


def _table(title: str, metrics: list[str], rows: list[tuple[str, dict]], intervals: dict) -> dict:
    lines = []
    for number, (name, means) in enumerate(rows):
        cells = []
        for metric in metrics:
            ends = f"{intervals[metric][0]:.3f} – {intervals[metric][1]:.3f}" if number == 0 else ""
            cells.append((f"{means[metric]:.3f}" if metric in means else "–", ends))
        lines.append({"name": name, "cells": cells, "is_model": number == 0})
    return {"title": title, "heads": [TITLES[metric] for metric in metrics], "lines": lines}


def _picked(data: ReportData) -> list[dict]:
    """Return the best, the median and the worst images by latent pattern correlation."""
    scores = data.per_image["model"]["pattern_correlation"]
    order = np.argsort(-scores, kind="stable")
    middle = len(order) // 2
    groups = {"best": order[:4], "median": order[max(0, middle - 2) : middle + 2], "worst": order[-4:]}
    return [
        {
            "title": title,
            "items": [
                {
                    "image_id": int(data.image_ids[row]),
                    "score": float(scores[row]),
                    "pictures": [_picture_uri(pictures[row]) for pictures in (data.seen, data.reconstructed, data.ceiling)],
                }
                for row in rows
            ],
        }
        for title, rows in groups.items()
    ]


def _distributions(data: ReportData) -> Figure:
    metrics = [metric for metric in METRIC_TITLES if metric in data.per_image["model"]]
    figure, axes = plt.subplots(1, len(metrics), figsize=(2.9 * len(metrics), 2.5), layout="constrained", squeeze=False)
    for axis, metric in zip(axes[0], metrics, strict=True):
        model, shuffled = data.per_image["model"][metric], data.per_image["shuffled"][metric]
        bins = np.linspace(min(model.min(), shuffled.min()), max(model.max(), shuffled.max(), model.min() + 1e-3), 25)
        axis.hist(shuffled, bins, color=_GREY, alpha=0.6, label="shuffled")
        axis.hist(model, bins, color=_BLUE, alpha=0.75, label=data.model)
        axis.axvline(model.mean(), color=_INK, linewidth=1.2)
        axis.set_title(TITLES[metric], fontsize=10)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("images", fontsize=9)
    axes[0][0].legend(fontsize=8, frameon=False)
    return figure


def _maps(profile: np.ndarray) -> Figure:
    figure, axes = plt.subplots(1, len(profile), figsize=(2.5 * len(profile) + 0.7, 2.6), layout="constrained", squeeze=False)
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
    metrics = {"pattern_correlation": "latent pattern r", "two_way": "latent 2-way", "pixcorr_128": "PixCorr at 128 x 128"}
    figure, axes = plt.subplots(1, len(metrics), figsize=(2.9 * len(metrics), 2.5), layout="constrained")
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

"""Figures of the page about one encoder."""

import base64
import io

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fmri2img.evaluation.metrics.catalogue import REPETITION_METRICS, plain_metrics, title_of

_INK, _BLUE, _GREY = "#1d2330", "#3b6fb6", "#98a2b3"


def distributions(
    model: dict[str, np.ndarray], shuffled: dict[str, np.ndarray], name: str
) -> Figure:
    """Draw the scores of single images beside those of shuffled predictions.

    Parameters
    ----------
    model, shuffled : dict of str to ndarray, shape (n,)
        Metric to scores.
    name : str
        Name of the encoder.
    """
    metrics = [metric for metric in plain_metrics() if metric in model]
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
        scores, floor = model[metric], shuffled[metric]
        bins = np.linspace(
            min(scores.min(), floor.min()),
            max(scores.max(), floor.max(), scores.min() + 1e-3),
            25,
        )
        axis.hist(floor, bins, color=_GREY, alpha=0.6, label="shuffled")
        axis.hist(scores, bins, color=_BLUE, alpha=0.75, label=name)
        axis.axvline(scores.mean(), color=_INK, linewidth=1.2)
        axis.set_title(title_of(metric), fontsize=9)
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


def explained_by_region(encoding: dict) -> Figure:
    """Draw each region's noise ceiling beside the variance explained from latents.

    Parameters
    ----------
    encoding : dict of str to dict of str to float
        Region to numbers, as in ``reports/encoding``.
    """
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


def latent_maps(profile: np.ndarray) -> Figure:
    """Draw the correlation of each latent number as one map per channel; profile of shape
    (channels, h, w).
    """
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


def repetition_curve(curve: dict[str, dict[str, float]]) -> Figure:
    """Draw scores by the number of repetitions that are averaged.

    Parameters
    ----------
    curve : dict of str to dict of str to float
        Number of repetitions to metric to mean.
    """
    counts = [int(count) for count in curve]
    scored = next(iter(curve.values()))
    metrics = {name: title_of(name) for name in REPETITION_METRICS if name in scored}
    figure, axes = plt.subplots(
        1, len(metrics), figsize=(2.9 * len(metrics), 2.5), layout="constrained", squeeze=False
    )
    for axis, (metric, title) in zip(axes[0], metrics.items(), strict=True):
        axis.plot(counts, [values[metric] for values in curve.values()], "o-", color=_BLUE)
        axis.set_xticks(counts)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("repetitions averaged", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.margins(0.15)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def figure_uri(figure: Figure) -> str:
    """Return a figure as a data URI, and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

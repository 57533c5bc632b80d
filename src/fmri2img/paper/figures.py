"""Figures of a manuscript, in the widths of one and two columns, as PDF and SVG."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from fmri2img.containers.ids import find_rows
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.evaluation.metrics.declaration import Metric
from fmri2img.evaluation.metrics_document import floor_of
from fmri2img.evaluation.table_rows import MODEL
from fmri2img.models.registry import stage_of
from fmri2img.paper.facts import Encoder, Facts
from fmri2img.project.layout import reconstructions_path, truth_path

# Widths of one and of two columns in most journals, in inches (89 and 183 mm).
WIDTHS = {"one_column": 3.5, "two_columns": 7.2}
# Letters are drawn as outlines in SVG, and embedded in PDF: they look the same everywhere. The
# same numbers give the same bytes.
_STYLE: Any = {
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "fmri2img",
    "font.size": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_BLUE, _GREY = "#3b6fb6", "#667085"
_PIXELS = 128
N_PICTURES = 8


def figures(facts: Facts) -> Iterator[tuple[str, bytes]]:
    """Yield every figure: the name of its file, and its bytes."""
    pictures = {one.subject: chosen_pictures(facts, one.subject) for one in facts.participants}
    for columns, width in WIDTHS.items():
        with plt.rc_context(_STYLE):
            drawn = {"scores": scores_figure(facts, width)} | {
                f"pictures_{subject}": pictures_figure(rows, width)
                for subject, rows in pictures.items()
            }
            for name, figure in drawn.items():
                for ending, date in (("pdf", "CreationDate"), ("svg", "Date")):
                    buffer = io.BytesIO()
                    figure.savefig(buffer, format=ending, metadata={date: None})
                    yield f"{name}_{columns}.{ending}", buffer.getvalue()
                plt.close(figure)


def scores_figure(facts: Facts, width: float) -> Figure:
    """Draw the headline scores of every encoder: a dot for each subject with its 95 % interval, and
    a grey line at its floor; better is always further right.

    Parameters
    ----------
    facts : Facts
    width : float
        Inches.
    """
    metrics, models = facts.metrics, facts.models
    n_columns = len(metrics) if width > WIDTHS["one_column"] else 1
    n_rows = -(-len(metrics) // n_columns)
    height = 0.35 + 0.16 * len(models) * max(1, len(facts.participants) / 3)
    figure, grid = plt.subplots(
        n_rows,
        n_columns,
        figsize=(width, 0.2 + n_rows * (height + 0.35)),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for axis, metric in zip(grid.flat, metrics.values(), strict=False):
        _draw_scores(axis, facts, metric)
    for axis in grid.flat[len(metrics) :]:
        axis.set_axis_off()
    return figure


def _draw_scores(axis: Axes, facts: Facts, metric: Metric) -> None:
    offsets = np.linspace(-0.25, 0.25, len(facts.participants)) if facts.participants[1:] else [0.0]
    for place, model in enumerate(facts.models):
        for offset, one in zip(offsets, facts.participants, strict=True):
            encoders = (each for each in facts.of_subject(one.subject) if each.model == model)
            encoder = next(encoders, None)
            if encoder is not None and metric.name in encoder.means[MODEL]:
                _draw_score(axis, encoder, metric.name, place + offset)
    axis.set_title(metric.title, fontsize=7)
    axis.set_yticks(range(len(facts.models)), facts.models)
    axis.set_ylim(len(facts.models) - 0.5, -0.5)
    axis.locator_params(axis="x", nbins=3)
    if not metric.higher_is_better:
        axis.invert_xaxis()


def _draw_score(axis: Axes, encoder: Encoder, metric: str, place: float) -> None:
    """Draw one encoder's score: a dot, its interval, and its floor."""
    if metric in encoder.intervals:
        axis.plot(encoder.intervals[metric], [place, place], color=_BLUE, linewidth=1)
    axis.plot(encoder.means[MODEL][metric], place, "o", color=_BLUE, markersize=2.5)
    if floor := floor_of(metric, encoder.means):
        axis.plot([floor.value] * 2, [place - 0.12, place + 0.12], color=_GREY, linewidth=1)


def chosen_pictures(facts: Facts, subject: str) -> dict[str, list[np.ndarray]]:
    """Return test pictures of a subject, drawn at random, and their reconstructions by every
    encoder: pictures (side, side, 3), uint8, by the title of their row.

    Raises
    ------
    MissingDataError
        If pictures or reconstructions are not there.
    MismatchError
        If an image was not reconstructed.
    """
    truth = TruePictures.open(
        truth_path(subject),
        remedy=f"fmri2img pull --everything (or dvc repro collect_truth@{subject})",
    )
    rng = np.random.default_rng(0)
    n_chosen = min(N_PICTURES, len(truth.images))
    chosen = np.sort(rng.choice(len(truth.images), n_chosen, replace=False))
    rows = {"seen": [_small(picture) for picture in truth.images[chosen]]}
    for encoder in facts.of_subject(subject):
        reconstructions = Reconstructions.open(
            reconstructions_path(subject, encoder.model),
            remedy="fmri2img pull --everything (or dvc repro "
            f"{stage_of('predict', subject, encoder.model)})",
        )
        tests = reconstructions.rows("test")
        places = find_rows(
            reconstructions.image_ids[tests], truth.image_ids[chosen], "reconstructed test images"
        )
        rows[encoder.model] = [_small(picture) for picture in reconstructions.images[tests][places]]
    return rows


def pictures_figure(rows: Mapping[str, Sequence[np.ndarray]], width: float) -> Figure:
    """Draw rows of pictures below one another.

    Parameters
    ----------
    rows : mapping of str to sequence of ndarray
        As of `chosen_pictures`.
    width : float
        Inches.
    """
    n_columns = len(next(iter(rows.values())))
    side = width / (n_columns + 1.1)
    figure, grid = plt.subplots(
        len(rows),
        n_columns,
        figsize=(width, side * len(rows) * 1.06),
        layout=ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0),
        squeeze=False,
    )
    for axes, (title, pictures) in zip(grid, rows.items(), strict=True):
        for axis, picture in zip(axes, pictures, strict=True):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        axes[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=6)
    return figure


def _small(picture: np.ndarray) -> np.ndarray:
    """Return a picture (side, side, 3) in the size of reconstructions."""
    if len(picture) == _PIXELS:
        return picture
    return np.asarray(Image.fromarray(picture).resize((_PIXELS, _PIXELS)))

"""The first page: what the numbers say, headline scores between floor and ceiling, and the same
pictures by every encoder.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from fmri2img.evaluation.metrics.catalogue import (
    CHAMPION_METRIC,
    all_metrics,
    headline_metrics,
)
from fmri2img.evaluation.metrics.declaration import Metric
from fmri2img.evaluation.metrics_document import floor_of
from fmri2img.evaluation.table_rows import CEILING, MODEL, REFERENCE
from fmri2img.evaluation.verdict import TIE, is_above_floor
from fmri2img.project.layout import (
    brain_path,
    comparison_path,
    gallery_path,
    overview_path,
    report_path,
    side_by_side_path,
)
from fmri2img.viz.compared_run import ComparedRun
from fmri2img.viz.rendering import links_from, picture_uri, render
from fmri2img.viz.signs import SIGNS

# Classes of the style sheet for outcomes against the reference.
_STYLES = {"better": "good", "worse": "bad", TIE: "soft"}


@dataclass(frozen=True)
class ShownPictures:
    """Test pictures of one subject, and the same pictures through the autoencoder alone.

    Attributes
    ----------
    image_ids : ndarray, shape (n,)
    truth, ceiling : ndarray, shape (n, side, side, 3), uint8
    data_source : str
    """

    image_ids: np.ndarray
    truth: np.ndarray
    ceiling: np.ndarray
    data_source: str


@dataclass(frozen=True)
class Scale:
    """One scale for all encoders' scores in a metric: better is always further right.

    Attributes
    ----------
    worst, best : float
        Its ends.
    """

    worst: float
    best: float

    @classmethod
    def of(cls, metric: Metric, runs: Sequence[ComparedRun]) -> Self:
        """Build from all that is drawn: scores, intervals, floors and ceilings."""
        drawn = []
        for run in runs:
            if metric.name not in run.means[MODEL]:
                continue
            drawn += [run.means[MODEL][metric.name], *run.intervals.get(metric.name, ())]
            floor = floor_of(metric.name, run.means)
            drawn += [floor.value] if floor else []
            drawn += [run.means[CEILING][metric.name]] if metric.name in run.means[CEILING] else []
        ends = min(drawn, default=0.0), max(drawn, default=1.0)
        return cls(*(ends if metric.higher_is_better else ends[::-1]))

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 (worst) to 100 (best)."""
        width = self.best - self.worst
        return round(100 * (value - self.worst) / width, 2) if width else 50.0


def overview_page(
    runs: Sequence[ComparedRun],
    shown: Mapping[str, ShownPictures],
    sentences: Sequence[str],
    origin: str = "",
) -> str:
    """Return the page as HTML, in one file that works offline.

    Parameters
    ----------
    runs : sequence of ComparedRun
    shown : mapping of str to ShownPictures
        By subject.
    sentences : sequence of str
        What the comparison says.
    origin : str
        The dataset and its terms.
    """
    metrics = {
        name: metric
        for name, metric in headline_metrics().items()
        if any(name in run.means[MODEL] for run in runs)
    }
    scales = {name: Scale.of(metric, runs) for name, metric in metrics.items()}
    tests = list(dict.fromkeys(test for run in runs for test in run.ood))
    judged_by = all_metrics()[CHAMPION_METRIC]
    others = {test: [run.on(test) if test in run.ood else None for run in runs] for test in tests}
    rows = [_row(run, metrics, scales) for run in runs]
    for there in others.values():
        scale = Scale.of(judged_by, [run for run in there if run])
        for row, run in zip(rows, there, strict=True):
            row["cells"].append(_cell(run, judged_by, scale) if run else {})
    return render(
        "index.html.jinja",
        data_source=next(iter(shown.values())).data_source,
        links=links_from(overview_path()),
        origin=origin,
        sentences=sentences,
        headings=[
            *((metric.heading, metric.unit) for metric in metrics.values()),
            *((f"{judged_by.heading}, {test}", judged_by.unit) for test in tests),
        ],
        tests=tests,
        rows=rows,
        reference=REFERENCE,
        all_scores=os.path.relpath(comparison_path("html"), overview_path().parent),
        strips={
            subject: _strips(pictures, [run for run in runs if run.subject == subject])
            for subject, pictures in shown.items()
        },
        pictures=os.path.relpath(side_by_side_path(), overview_path().parent),
        brains={
            subject: os.path.relpath(brain_path(subject), overview_path().parent)
            for subject in shown
        },
        image_ids={subject: pictures.image_ids.tolist() for subject, pictures in shown.items()},
    )


def _row(
    run: ComparedRun, metrics: Mapping[str, Metric], scales: Mapping[str, Scale]
) -> dict[str, Any]:
    """Return what the table shows of one encoder."""
    here = overview_path().parent
    addresses = {
        "scores": report_path(run.subject, run.model),
        "pictures": gallery_path(run.subject, run.model),
        "brain": brain_path(run.subject),
    }
    return {
        "subject": run.subject,
        "model": run.model,
        "is_champion": run.is_champion,
        "n_images": run.n_images,
        "links": {title: os.path.relpath(path, here) for title, path in addresses.items()},
        "cells": [_cell(run, metric, scales[name]) for name, metric in metrics.items()],
    }


def _cell(run: ComparedRun, metric: Metric, scale: Scale) -> dict[str, Any]:
    """Return a score with its places on the scale and how it compares; nothing if it is absent."""
    value, interval = run.means[MODEL].get(metric.name), run.intervals.get(metric.name)
    if value is None or interval is None:
        return {}
    floor, ceiling = floor_of(metric.name, run.means), run.means[CEILING].get(metric.name)
    ends = sorted(map(scale.place, interval))
    outcome = run.against_reference.get(metric.name, "")
    return {
        "value": value,
        "interval": interval,
        "floor": floor.value if floor else None,
        "ceiling": ceiling,
        "dot": scale.place(value),
        "low": ends[0],
        "width": round(ends[1] - ends[0], 2),
        "floor_place": scale.place(floor.value) if floor else None,
        "ceiling_place": scale.place(ceiling) if ceiling is not None else None,
        "outcome": outcome,
        "style": _STYLES.get(outcome, "soft"),
        "sign": SIGNS.get(outcome, ""),
        "is_above_floor": is_above_floor(metric, interval, floor),
    }


def _strips(pictures: ShownPictures, runs: Sequence[ComparedRun]) -> list[dict[str, str]]:
    """Return a subject's pictures side by side: as seen, by the autoencoder alone, and by each
    encoder.
    """
    rows = [
        ("seen", "", pictures.truth),
        ("autoencoder alone", "", pictures.ceiling),
        *(
            (
                run.model,
                os.path.relpath(gallery_path(run.subject, run.model), overview_path().parent),
                run.pictures,
            )
            for run in runs
        ),
    ]
    return [
        {"title": title, "link": link, "picture": picture_uri(np.concatenate(row, axis=1))}
        for title, link, row in rows
    ]

"""The page that compares encoders: a saved view of MLflow's charts, with the main scores on top,
instead of 200 charts in alphabetical order.

MLflow keeps saved views as tags of the experiment; a link with ``viewStateShareKey`` opens one.
"""

import json
from collections.abc import Sequence
from typing import Any

from fmri2img.evaluation.metrics.catalogue import (
    CHAMPION_METRIC,
    CHAMPION_SCORE,
    VALIDATION_LOSS,
    headline_metrics,
)
from fmri2img.evaluation.table_rows import CEILING, MODEL, ROWS

VIEW_KEY, _VIEW = "scores", "Scores"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
_OWN = {"deleted": False, "isGenerated": False}  # what MLflow generates, it also removes
_AXES: dict[str, Any] = {
    "xAxisKey": "step",
    "xAxisScaleType": "linear",
    "scaleType": "linear",
    "yAxisKey": "metric",
    "yAxisExpressions": [],
}
_AXES |= {"range": {}, "lineSmoothness": 0, "useGlobalXaxisKey": True}
# Columns of the table of runs, and of lists in the terminal.
LISTED_SCORES = tuple(f"{ROWS[MODEL].key}/{metric}" for metric in headline_metrics())
_N_RUNS = 10  # how many runs MLflow shows pictures of
_CURVES = (f"curve/validation_{CHAMPION_METRIC}", "curve/validation_loss", "curve/train_loss")
_TEST, _LIMITS, _PICTURES, _VALIDATION, _TRAINING = (
    "Test scores",
    "Floors and ceilings",
    "Seen, ceiling, decoded",
    "Validation: champions",
    "Training",
)
# By title: height of its cards in pixels. One card a row: in windows of up to 1400 pixels, with
# MLflow's other panels open, titles in narrower cards are cut.
_SECTIONS = {_TEST: 320, _LIMITS: 460, _PICTURES: 900, _VALIDATION: 320, _TRAINING: 320}
# What stands in one chart, on one scale; such a chart has its runs in the order of the list,
# without their names.
_BESIDE = (ROWS[MODEL].key, "floor", ROWS[CEILING].key)


def chart_view(image_keys: Sequence[str]) -> str:
    """Return the value of the experiment's tag `VIEW_TAG`.

    Parameters
    ----------
    image_keys : sequence of str
        Keys of the pictures that runs hold.
    """
    bars = [(_TEST, score) for score in LISTED_SCORES]
    bars += [(_VALIDATION, CHAMPION_SCORE), (_VALIDATION, VALIDATION_LOSS)]
    charts = [_chart(section, "BAR", metric) | {"metricKey": metric} for section, metric in bars]
    charts += [
        _chart(_LIMITS, "BAR", f"limits/{metric}")
        | {"metricKey": f"{_BESIDE[0]}/{metric}"}
        | {"selectedMetricKeys": [f"{row}/{metric}" for row in _BESIDE]}
        for metric in headline_metrics()
    ]
    charts += [
        _chart(_TRAINING, "LINE", metric)
        | {"metricKey": metric, "selectedMetricKeys": [metric]}
        | _AXES
        for metric in _CURVES
    ]
    if image_keys:  # one grid: a row for each run, a column for each picture
        charts += [
            _chart(_PICTURES, "IMAGE", "pictures")
            | {"imageKeys": list(image_keys), "step": 0, "showRunParams": False}
        ]
    state = {
        "compareRunSections": [
            {
                "uuid": name,
                "name": name,
                "columns": 1,
                "cardHeight": height,
                "display": True,
                "isReordered": True,
            }
            | _OWN
            for name, height in _SECTIONS.items()
        ],
        "compareRunCharts": charts,
        "isAccordionReordered": True,
        "orderByKey": "tags.`mlflow.runName`",
        "orderByAsc": True,
        "hideEmptyCharts": True,
        "runsHiddenMode": "FIRST_10_RUNS",
        "selectedColumns": [
            *(f"tags.`{tag}`" for tag in ("subject", "model", "changed", "data.source")),
            *(f"metrics.`{metric}`" for metric in (CHAMPION_SCORE, *LISTED_SCORES)),
        ],
    }
    return json.dumps({"name": _VIEW, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})


def renewed(view: str) -> str:
    """Return today's view in place of one that an earlier version of this project has made, with
    its pictures; somebody else's is returned as it is.
    """
    try:
        document = json.loads(view)
        state = json.loads(document["state"])
        is_ours = document["name"] == _VIEW and not document["createdAt"]
        keys = [one["imageKeys"] for one in state["compareRunCharts"] if one["type"] == "IMAGE"]
    except (ValueError, KeyError, TypeError):
        return view
    return chart_view(keys[0] if keys else ()) if is_ours else view


def _chart(section: str, kind: str, key: str) -> dict[str, Any]:
    return {
        "uuid": key,
        "type": kind,
        "runsCountToCompare": _N_RUNS,
        "metricSectionId": section,
    } | _OWN

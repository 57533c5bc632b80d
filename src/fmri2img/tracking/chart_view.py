"""The page that compares encoders: a saved view of MLflow's charts, with what counts on top, instead of 200 charts by alphabet.

MLflow keeps saved views as tags of the experiment; a link with ``viewStateShareKey`` opens one.
"""

import json
from collections.abc import Sequence
from typing import Any

VIEW_KEY = "scores"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
_N_RUNS = 10  # that MLflow shows pictures of
_TITLES = {"pixcorr": "PixCorr", "pattern_correlation": "latent r", "two_way": "latent 2-way", "ssim": "SSIM"}
_FLOORS = {"pixcorr": "floor_shuffled", "pattern_correlation": "floor_shuffled", "two_way": "floor_shuffled", "ssim": "floor_grey"}
_TEST, _VALIDATION, _CURVES, _PICTURES = "Test: score, floor, ceiling", "Validation: champions", "Training", "Seen, ceiling, decoded"


def chart_view(image_keys: Sequence[str]) -> str:
    """Return the value of the experiment's tag `VIEW_TAG`.

    Parameters
    ----------
    image_keys : sequence of str
        Of the pictures that runs hold.
    """
    charts = [
        _metric(_TEST, f"{row}/{metric}", f"{title}{suffix}")
        for metric, title in _TITLES.items()
        for row, suffix in (("test", ""), (_FLOORS[metric], ", floor"), ("ceiling", ", ceiling"))
    ]
    charts += [
        _metric(_VALIDATION, "validation/pattern_correlation", "latent r"),
        _metric(_VALIDATION, "validation/loss", "loss"),
        *(_curve(f"curve/{name}", name.replace("_", " ")) for name in ("validation_pattern_correlation", "validation_loss", "train_loss")),
    ]
    charts += [_chart(_PICTURES, "IMAGE", key) | {"imageKeys": [key], "step": 0, "showRunParams": False} for key in image_keys]
    state = {
        "compareRunSections": [
            {"uuid": section, "name": section, "display": True, "isReordered": True, "deleted": False, "isGenerated": False}
            for section in (_TEST, _VALIDATION, _CURVES, _PICTURES)
        ],
        "compareRunCharts": charts,
        "isAccordionReordered": True,
        "orderByKey": "tags.`mlflow.runName`",
        "orderByAsc": True,
        "hideEmptyCharts": True,
        "runsHiddenMode": "FIRST_10_RUNS",
        "selectedColumns": [
            *(f"tags.`{tag}`" for tag in ("subject", "model", "data.source")),
            *(f"metrics.`{metric}`" for metric in ("validation/pattern_correlation", "test/pixcorr", "test/two_way")),
        ],
    }
    return json.dumps({"name": "Scores", "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})


def _metric(section: str, metric: str, title: str) -> dict[str, Any]:
    return _chart(section, "BAR", metric) | {"metricKey": metric, "displayName": title}


def _curve(metric: str, title: str) -> dict[str, Any]:
    axes = {
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
    }
    shown = {"metricKey": metric, "selectedMetricKeys": [metric], "displayName": title, "lineSmoothness": 0, "useGlobalXaxisKey": True}
    return _chart(_CURVES, "LINE", metric) | shown | axes


def _chart(section: str, kind: str, key: str) -> dict[str, Any]:
    return {"uuid": key, "type": kind, "runsCountToCompare": _N_RUNS, "metricSectionId": section, "deleted": False, "isGenerated": False}

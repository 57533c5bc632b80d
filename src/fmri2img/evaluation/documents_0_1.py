"""Metrics documents of version 0.1, read as those of today."""

from typing import Any

from fmri2img.evaluation.metrics_document import MetricsDocument, Score
from fmri2img.evaluation.table_rows import ROWS


def upgrade(document: dict[str, Any]) -> MetricsDocument:
    """Return a document of version 0.1 as one of today; no number changes.

    Parameters
    ----------
    document : dict
        What ``reports/metrics`` or ``reports/references`` held.
    """
    about = dict(document["about"])
    is_simulated = about.get("data_source") == "simulated"
    retrieval = {
        name: document[f"retrieval_{name}"]
        for name in ("raw", "centred")
        if f"retrieval_{name}" in document
    }
    return MetricsDocument(
        absent=about.pop("absent"),
        about=about,
        rows={
            name: _scores(document[row.key], document["interval"].get(row.key, {}))
            for name, row in ROWS.items()
            if row.key in document
        },
        p_values=document.get("p", {}),
        latent=document.get("latent", {}),
        retrieval=retrieval,
        repetitions=document.get("repetitions", {}),
        seeds=document.get("seeds", {}),
        brain=document.get("brain", {}),
        halves=document.get("halves", {}),
        samples=document.get("identification_by_samples", {}),
        notes=("Simulated data: these numbers come from a simulated brain.",)
        if is_simulated
        else (),
    )


def _scores(means: dict[str, float], intervals: dict[str, list[float]]) -> dict[str, Score]:
    return {
        metric: Score(value, *intervals.get(metric, (None, None)))
        for metric, value in means.items()
    }

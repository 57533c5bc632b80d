"""The closing summary of a run: scores at a glance, files to open, the next command."""

import textwrap
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from fmri2img.evaluation.metrics.catalogue import headline_metrics
from fmri2img.evaluation.metrics_document import floor_of
from fmri2img.evaluation.table_rows import MODEL, REFERENCE
from fmri2img.viz.signs import BETTER, SIGNS, WORSE

_GAP, _WIDTH = 2, 98


def terminal_summary(
    runs: list[dict], data_source: str, pages: list[Path], sentences: Sequence[str] = ()
) -> str:
    """Return the closing summary as plain text, less than 100 columns wide.

    Parameters
    ----------
    runs : list of dict
        As in ``reports/comparison.json``, each with its ``name``.
    data_source : str
    pages : list of Path
        Files worth opening; if empty, only the scores are shown.
    sentences : sequence of str
        What the comparison says.
    """
    shown = {
        name: metric
        for name, metric in headline_metrics().items()
        if any(name in run["means"][MODEL] for run in runs)
    }
    cells = [[_cell(run, name) for name in shown] for run in runs]
    titles = [metric.narrow_heading for metric in shown.values()]
    widths = [max(map(len, column)) + _GAP for column in zip(titles, *cells, strict=True)]
    names = [f"{run['name']}{' *' if run['champion'] else ''}" for run in runs]
    first = max(len("test images"), *map(len, names))
    lines = ["", _line("test images", titles, first, widths)]
    lines += [_line(name, values, first, widths) for name, values in zip(names, cells, strict=True)]
    lines += [
        "",
        "* champion, chosen on validation images.",
        "In brackets, the floor: the best score of a prediction that uses no test trial.",
        f"{BETTER} better, {WORSE} worse than {REFERENCE} (p < .05 after Holm).",
    ]
    if sentences:
        points = (
            textwrap.wrap(
                sentence,
                _WIDTH,
                initial_indent="- ",
                subsequent_indent="  ",
                break_on_hyphens=False,
            )
            for sentence in sentences
        )
        lines += ["", *chain.from_iterable(points), ""]
    if data_source == "simulated":
        lines += [
            "SIMULATED DATA: painted scenes and a simulated brain; not results about real brains."
        ]
    if pages:
        lines += ["", "Open these files:", *(f"  {page}" for page in pages)]
        lines += ["", "Compare the runs in MLflow:", "  make ui"]
    return "\n".join([*lines, ""])


def _cell(run: dict, metric: str) -> str:
    """Return a score with its floor in brackets."""
    score = run["means"][MODEL].get(metric)
    if score is None:
        return "–"
    floor = floor_of(metric, run["means"])
    # Comparisons of earlier versions do not say how an encoder compares.
    outcome = run.get(f"against_{REFERENCE}", {}).get(metric, "")
    sign = SIGNS.get(outcome, " ")
    return f"{score:.3f}{sign} ({floor.value:.3f})" if floor else f"{score:.3f}{sign}"


def _line(name: str, cells: list[str], first: int, widths: list[int]) -> str:
    padded = (f"{cell:>{width}s}" for cell, width in zip(cells, widths, strict=True))
    return f"{name:{first}s}{''.join(padded)}"

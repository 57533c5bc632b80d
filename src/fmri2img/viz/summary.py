"""The closing summary of a run: scores at a glance, files to open, the next command."""

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from fmri2img.evaluation.metrics.catalogue import headline_metrics
from fmri2img.evaluation.metrics.declaration import Metric
from fmri2img.evaluation.metrics_document import floor_of
from fmri2img.evaluation.table_rows import MODEL, REFERENCE
from fmri2img.project.exceptions import FormatError
from fmri2img.project.files import read_json
from fmri2img.viz.signs import BETTER, SIGNS, WORSE

_GAP, _WIDTH = 2, 98


def read_comparison(path: Path, *, remedy: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read ``reports/comparison.json``.

    Parameters
    ----------
    path : Path
    remedy : str
        The command that makes it.

    Returns
    -------
    document : dict
    runs : list of dict
        Its runs, each with its ``name``.

    Raises
    ------
    MissingDataError, FormatError
        If it is not there, or is no comparison.
    """
    document = read_json(path, remedy=remedy, fields={"runs": dict, "data_source": str})
    runs = [dict(run, name=name) for name, run in document["runs"].items() if _is_run(run)]
    if len(runs) < len(document["runs"]) or not runs:
        other = next((name for name, run in document["runs"].items() if not _is_run(run)), "none")
        raise FormatError(
            f"{path}: runs: {other}: expected means of rows and champion; run: {remedy}"
        )
    return document, runs


def _is_run(run: Any) -> bool:
    """Whether a run of the comparison has what the summary shows."""
    if not isinstance(run, dict) or not isinstance(run.get("champion"), bool):
        return False
    others = run.get("ood", {})
    if not isinstance(others, dict) or not all(isinstance(one, dict) for one in others.values()):
        return False
    return all(_are_means(one.get("means")) for one in (run, *others.values()))


def _are_means(rows: Any) -> bool:
    if not isinstance(rows, dict) or MODEL not in rows:
        return False
    return all(
        isinstance(scores, dict) and all(isinstance(one, int | float) for one in scores.values())
        for scores in rows.values()
    )


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
    # Comparisons of version 0.2 do not say how an encoder compares.
    has_signs = any(f"against_{REFERENCE}" in run for run in runs)
    lines = ["", *_table("test images", runs, shown, has_signs=has_signs), ""]
    for test in dict.fromkeys(test for run in runs for test in run.get("ood", ())):
        there = [run | run["ood"][test] for run in runs if test in run.get("ood", ())]
        lines += [*_table(f"{test} (other images)", there, shown, has_signs=False), ""]
    lines += [
        "* champion, chosen on validation images.",
        "In brackets, the floor: the best score of a prediction that knows nothing of the image.",
    ]
    if has_signs:
        lines += [f"{BETTER} better, {WORSE} worse than {REFERENCE} (p < .05 after Holm)."]
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


def _table(
    title: str, runs: list[dict], shown: Mapping[str, Metric], *, has_signs: bool
) -> list[str]:
    """Return the lines of a table: an encoder a line, a metric a column."""
    cells = [[_cell(run, name, has_signs=has_signs) for name in shown] for run in runs]
    titles = [metric.narrow_heading for metric in shown.values()]
    widths = [max(map(len, column)) + _GAP for column in zip(titles, *cells, strict=True)]
    names = [f"{run['name']}{' *' if run['champion'] else ''}" for run in runs]
    first = max(map(len, (title, *names)))
    head = _line(title, titles, first, widths)
    return [head, *map(partial(_line, first=first, widths=widths), names, cells)]


def _cell(run: dict, metric: str, *, has_signs: bool) -> str:
    """Return a score with its floor in brackets."""
    score = run["means"][MODEL].get(metric)
    if score is None:
        return "–"
    floor = floor_of(metric, run["means"])
    outcome = run.get(f"against_{REFERENCE}", {}).get(metric, "")
    sign = SIGNS.get(outcome, " ") if has_signs else ""
    return f"{score:.3f}{sign} ({floor.value:.3f})" if floor else f"{score:.3f}{sign}"


def _line(name: str, cells: list[str], first: int, widths: list[int]) -> str:
    padded = (f"{cell:>{width}s}" for cell, width in zip(cells, widths, strict=True))
    return f"{name:{first}s}{''.join(padded)}"

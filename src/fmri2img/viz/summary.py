"""The last words of a run: scores at a glance, files to open, the next command."""

from pathlib import Path

_SHOWN = {
    "pixcorr": "PixCorr",
    "pattern_correlation": "latent pattern r",
    "two_way": "latent 2-way",
}
_FLOORS = ("grey", "train_mean", "mean_latent", "shuffled")


def terminal_summary(runs: list[dict], data_source: str, pages: list[Path]) -> str:
    """Return the closing summary as plain text, less than 100 columns wide.

    Parameters
    ----------
    runs : list of dict
        As in ``reports/comparison.json``, each with its ``name``.
    data_source : str
    pages : list of Path
        Files worth opening.
    """
    width = max(len(run["name"]) for run in runs) + 4
    lines = [
        "",
        f"{'test images':{width}s}" + "".join(f"{title:>24s}" for title in _SHOWN.values()),
    ]
    for run in runs:
        name = f"{run['name']}{' *' if run['champion'] else ''}"
        cells = [
            f"{run['means']['model'][metric]:.3f}  (floor {_floor(run, metric):.3f})"
            for metric in _SHOWN
        ]
        lines.append(f"{name:{width}s}" + "".join(f"{cell:>24s}" for cell in cells))
    lines += [
        "",
        "* champion, chosen on validation images.  floor: the best prediction that knows no test "
        "trial.",
    ]
    if data_source == "simulated":
        lines += ["SIMULATED DATA: painted scenes, a simulated brain. These are no brain results."]
    lines += [
        "",
        "Open these files:",
        *(f"  {page}" for page in pages),
        "",
        "Compare the runs in MLflow:",
        "  make ui",
        "",
    ]
    return "\n".join(lines)


def _floor(run: dict, metric: str) -> float:
    return max(run["means"][row][metric] for row in _FLOORS if metric in run["means"][row])

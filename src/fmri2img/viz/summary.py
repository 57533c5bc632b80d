"""The last words of a run: scores at a glance, files to open, the next command."""

from pathlib import Path

from fmri2img.viz.comparison import METRIC_TITLES, ComparedRun


def terminal_summary(runs: list[ComparedRun], data_source: str, pages: list[Path]) -> str:
    """Return the closing summary as plain text, at most 100 columns wide.

    Parameters
    ----------
    runs : list of ComparedRun
    data_source : str
    pages : list of Path
        Files worth opening.
    """
    titles = list(METRIC_TITLES.values())
    lines = ["", f"{'test images':28s}" + "".join(f"{title:>19s}" for title in titles[:1] + titles[2:3] + titles[4:])]
    shown = ("pixcorr", "pattern_correlation", "two_way")
    for run in runs:
        name = f"{run.subject} {run.model}{' *' if run.is_champion else ''}"
        cells = [f"{run.means['model'][metric]:.3f} (floor {_floor(run, metric):.3f})" for metric in shown]
        lines.append(f"{name:28s}" + "".join(f"{cell:>19s}" for cell in cells))
    lines += ["", "* champion, chosen on validation images; floor: the best prediction that knows no test trial"]
    if data_source == "simulated":
        lines += ["  simulated data: these are no brain results"]
    lines += ["", "Open:", *(f"  {page}" for page in pages), "", "Compare in MLflow:  make ui", ""]
    return "\n".join(lines)


def _floor(run: ComparedRun, metric: str) -> float:
    return max(run.means[row][metric] for row in ("grey", "train_mean", "mean_latent", "shuffled") if metric in run.means[row])

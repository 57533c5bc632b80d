"""The comparison of subjects and models: one figure and one page of Markdown."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from fmri2img.evaluation.inference import p_text, too_few_resamples
from fmri2img.evaluation.metrics.catalogue import shown_in_comparison, title_of
from fmri2img.evaluation.table_rows import (
    CEILING,
    MODEL,
    REFERENCE,
    ROWS,
    SHUFFLED,
    SUBJECT_ROWS,
)
from fmri2img.viz.compared_run import ComparedRun
from fmri2img.viz.signs import BETTER, SIGNS, WORSE

_COLOURS = ("#3b6fb6", "#d97a2b", "#4a9a5b", "#a04d8f", "#7a7a7a", "#b8a12f")
_FLOOR_STYLES = {"grey": ":", "train_mean": "-.", "mean_latent": "--", "shuffled": (0, (1, 3))}


def comparison_markdown(
    runs: list[ComparedRun],
    data_source: str,
    sentences: list[str],
    figure_name: str,
    n_permutations: int,
) -> str:
    """Return the comparison as Markdown: what it says (``sentences``), then one table per subject,
    floors and ceiling beside every score. ``n_permutations`` is the number behind the p-values.
    """
    lines = ["# Comparison of encoders", ""]
    if data_source == "simulated":
        lines += [
            "> **Simulated data.** These numbers come from a simulated brain that looked at "
            "painted scenes. "
            "They test the pipeline and say nothing about real brains.",
            "",
        ]
    lines += [*(f"- {sentence}" for sentence in sentences), ""]
    lines += [f"![Scores and reconstructions]({figure_name})", ""]
    lines += [
        "Means over test images of averaged repetitions, with 95 % bootstrap intervals over "
        "images. "
        "The champion (\\*) is the best on validation images. "
        f"{BETTER} and {WORSE}: better or worse than {REFERENCE} on the same images (sign flips, "
        "p < .05 after Holm).",
        "",
    ]
    for subject in dict.fromkeys(run.subject for run in runs):
        mine = [run for run in runs if run.subject == subject]
        lines += [f"## {subject} ({mine[0].n_images} test images)", ""]
        shown = shown_metrics(mine)
        lines += [
            "| | " + " | ".join(title_of(metric) for metric in shown) + " | validation |",
            "|---|" + "---:|" * (len(shown) + 1),
        ]
        lines += [f"{_model_row(run, shown)} {run.validation:.3f} |" for run in mine]
        # Some rows depend on the model; all models of a subject share the others.
        for row in ("z_only", "c_only", "single_trial", "nearest_train", "shuffled"):
            lines += [
                f"{_floor_row(f'{ROWS[row].title}, {run.model}', run.means[row], shown)} |"
                for run in mine
                if row in run.means
            ]
        lines += [
            f"{_floor_row(ROWS[row].title, mine[0].means[row], shown)} |" for row in SUBJECT_ROWS
        ]
        lines.append("")
        for test in dict.fromkeys(test for run in mine for test in run.ood):
            lines += _other_table(subject, test, [run.on(test) for run in mine if test in run.ood])
    lines += [
        "Permutation p (predictions paired with images at random), by Holm's correction over this "
        "list: " + "; ".join(_p_text(run) for run in runs) + ".",
        "",
    ]
    n_tests = sum(len(run.p_values) for run in runs)
    if note := too_few_resamples(n_tests, n_permutations, "set evaluate.n_permutations to"):
        lines += [note, ""]
    return "\n".join(lines)


def _other_table(subject: str, test: str, runs: list[ComparedRun]) -> list[str]:
    """Return the scores on a further test set as a table."""
    shown = shown_metrics(runs)
    lines = [
        f"### {subject}: {test}, images of another kind ({runs[0].n_images})",
        "",
        "| | " + " | ".join(title_of(metric) for metric in shown) + " |",
        "|---|" + "---:|" * len(shown),
    ]
    lines += [_model_row(run, shown) for run in runs]
    lines += [
        _floor_row(f"{ROWS[SHUFFLED].title}, {run.model}", run.means[SHUFFLED], shown)
        for run in runs
    ]
    rows = [row for row in SUBJECT_ROWS if row in runs[0].means]
    lines += [_floor_row(ROWS[row].title, runs[0].means[row], shown) for row in rows]
    return [*lines, ""]


def shown_metrics(runs: list[ComparedRun]) -> list[str]:
    """Return the metrics of the comparison that at least one run has."""
    return [
        metric
        for metric in shown_in_comparison()
        if any(metric in run.means[MODEL] for run in runs)
    ]


def _model_row(run: ComparedRun, shown: list[str]) -> str:
    cells = []
    for metric in shown:
        if metric not in run.means[MODEL]:
            cells.append("–")
            continue
        sign = SIGNS.get(run.against_reference.get(metric, ""), "")
        interval = run.intervals.get(metric)
        ends = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
        cells.append(f"**{run.means[MODEL][metric]:.3f}**{sign}{ends}")
    star = " \\*" if run.is_champion else ""
    return f"| **{run.model}**{star} | " + " | ".join(cells) + " |"


def _floor_row(title: str, means: dict, shown: list[str]) -> str:
    cells = [f"{means[metric]:.3f}" if metric in means else "–" for metric in shown]
    return f"| {title} | " + " | ".join(cells) + " |"


def _p_text(run: ComparedRun) -> str:
    values = ", ".join(
        f"{title_of(metric)} {p_text(value)}" for metric, value in run.p_values.items()
    )
    return f"{run.subject} {run.model}: {values}"


def comparison_figure(
    runs: list[ComparedRun],
    truth: dict[str, np.ndarray],
    ceiling: dict[str, np.ndarray],
    data_source: str,
) -> Figure:
    """Draw scores with floors, and below them truth beside every encoder's reconstruction.

    Parameters
    ----------
    runs : list of ComparedRun
    truth, ceiling : dict of str to ndarray, shape (n, side, side, 3)
        By subject: the pictures shown, and their reconstructions by the autoencoder alone.
    data_source : str

    Returns
    -------
    Figure
    """
    subjects = list(truth)
    n_rows = sum(2 + sum(run.subject == subject for run in runs) for subject in subjects)
    n_pictures = len(next(iter(truth.values())))
    figure = plt.figure(
        figsize=(max(1.35 * n_pictures + 1.6, 1.9 * len(shown_metrics(runs))), 3.4 + 1.35 * n_rows),
        layout="constrained",
    )
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(3.4, 1.35 * n_rows)).flat
    _draw_scores(upper, runs)
    rows = []
    for subject in subjects:
        rows += [(f"{subject}\nseen", truth[subject]), ("autoencoder\nceiling", ceiling[subject])]
        rows += [
            (f"{run.model}{' *' if run.is_champion else ''}", run.pictures)
            for run in runs
            if run.subject == subject
        ]
    _draw_pictures(lower, rows)
    note = (
        "simulated data, not brain data"
        if data_source == "simulated"
        else "test images, repetitions averaged"
    )
    if any("worse" in run.against_reference.values() for run in runs):
        note += f"; {WORSE} worse than {REFERENCE}"
    figure.suptitle(f"Encoders compared ({note})", fontsize=12, fontweight="bold")
    return figure


def _draw_scores(figure: SubFigure, runs: list[ComparedRun]) -> None:
    shown = shown_metrics(runs)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    subjects = list(dict.fromkeys(run.subject for run in runs))
    models = list(dict.fromkeys(run.model for run in runs))
    width = 0.8 / len(models)
    for axis, metric in zip(axes, shown, strict=True):
        for run in (run for run in runs if metric in run.means[MODEL]):
            x = (
                subjects.index(run.subject)
                + (models.index(run.model) - (len(models) - 1) / 2) * width
            )
            value, (low, high) = run.means[MODEL][metric], run.intervals[metric]
            colour = _COLOURS[models.index(run.model) % len(_COLOURS)]
            axis.bar(x, value, 0.9 * width, color=colour, label=run.model)
            axis.errorbar(
                x,
                value,
                [[max(0, value - low)], [max(0, high - value)]],
                color="black",
                capsize=2,
                linewidth=1,
            )
            if run.against_reference.get(metric) == "worse":
                axis.annotate(
                    WORSE,
                    (x, high),
                    (0, 3),
                    textcoords="offset points",
                    ha="center",
                    color="#b3261e",
                    fontsize=8,
                )
        _draw_floors(axis, runs, subjects, metric)
        axis.set_title(title_of(metric).replace("Net-Lite0 ", "Net-Lite0\n"), fontsize=9)
        axis.set_xticks(range(len(subjects)), subjects, fontsize=8)
        axis.tick_params(axis="y", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(
        unique.values(),
        unique.keys(),
        loc="outside lower center",
        ncols=8,
        fontsize=8,
        frameon=False,
    )


def _draw_floors(axis: Axes, runs: list[ComparedRun], subjects: list[str], metric: str) -> None:
    for position, subject in enumerate(subjects):
        means = next(run.means for run in runs if run.subject == subject)
        span = (position - 0.45, position + 0.45)
        for floor, style in _FLOOR_STYLES.items():
            if metric in means[floor]:
                axis.plot(
                    span,
                    [means[floor][metric]] * 2,
                    linestyle=style,
                    color="#444444",
                    linewidth=1.2,
                    label=ROWS[floor].title,
                )
        axis.plot(
            span,
            [means[CEILING][metric]] * 2,
            color="#b03030",
            linewidth=1.2,
            label=ROWS[CEILING].title,
        )


def _draw_pictures(figure: SubFigure, rows: list[tuple[str, np.ndarray]]) -> None:
    grid = figure.subplots(
        len(rows), len(rows[0][1]), squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02}
    )
    for axes, (title, pictures) in zip(grid, rows, strict=True):
        for axis, picture in zip(axes, pictures, strict=True):
            axis.imshow(picture)
            axis.set_axis_off()
        axes[0].text(
            -0.08, 0.5, title, transform=axes[0].transAxes, ha="right", va="center", fontsize=9
        )

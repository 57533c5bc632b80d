"""The tables that `quality` writes, from the results that there are. SIMULATED DATA."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from measuring import put_section, sized, table
from quality_jobs import (
    ABLATIONS,
    CEILING,
    FEW,
    GROUPS,
    N_DECODED,
    RIDGE_SIZE,
    SEEDS,
    SIZES,
    SUBJECTS,
    Job,
    Size,
    jobs_of_worlds,
)
from worlds import N_TEST, N_VOXELS, TEST_REPETITIONS, fresh

from fmri2img.datasets.simulation.worlds import WORLDS
from fmri2img.evaluation.inference import bootstrap_intervals, holm, sign_flip_p

METRICS = {"pattern": "latent r", "pixcorr": "PixCorr", "two_way": "2-way"}
ROWS = (
    "mean latent",
    "shuffled",
    "shuffled, bayes",
    "ridge",
    "basic_ae",
    "low_level",
    "bayes_independent",
)
OURS = (*ABLATIONS, "bayes", "bayes_population", "adapt", "blend")
# Each pair in a table of gains: what gains, over what.
PAIRS = (
    *(("bayes", other) for other in ROWS[3:]),
    ("bayes_population", "bayes"),
    *(("bayes", other) for other in ABLATIONS),
    *(("blend", other) for other in ("low_level", "bayes")),
)
OF_ADAPT = tuple(("adapt", other) for other in ("ridge", "bayes"))
# The same in each world, by group of jobs.
IN_WORLDS = {
    "worlds": (("bayes", "ridge"), ("bayes", "bayes_independent")),
    "few_in_worlds": (
        *(("bayes", "ridge"), ("bayes", "bayes_independent")),
        ("bayes_population", "bayes"),
    ),
}
N_BOOTSTRAP, N_FLIPS = sized((10_000, 50_000), (200, 1000))
LEVEL = 0.05
AGAINST_MANY = FEW[-3:]  # trials of `bayes` that are held against many of ridge

Scores = dict[str, dict[str, np.ndarray]]


def write_tables(work: Path, kinds: list[str]) -> None:
    """Write every table of which there are results; without kinds that of the worlds alone."""
    for group, section in (("worlds", "worlds"), ("few_in_worlds", "worlds few")):
        jobs = [job for job in jobs_of_worlds() if job.group == group]
        if all(_path(work, job).exists() for job in jobs):
            put_section(section, world_table(work, group))
    if not kinds:
        return
    others = Results(work, [fresh(kind) for kind in kinds])
    if others.cells:
        put_section("quality fresh", gain_table(others, PAIRS))
    results = Results(work, kinds)
    if results.cells:
        put_section("quality", score_table(results))
        put_section("quality gains", gain_table(results, PAIRS))
        put_section("quality adapt", gain_table(results, OF_ADAPT))
    if rows := few_rows(results):
        put_section("quality few", few_table(rows))


def _path(work: Path, job: Job) -> Path:
    return work / f"{job.name}.json"


def _load(work: Path, job: Job) -> Scores:
    """Return the scores of each image by model and metric."""
    stored = json.loads(_path(work, job).read_text(encoding="utf-8"))["scores"]
    return {
        model: {metric: np.array(values) for metric, values in of_model.items()}
        for model, of_model in stored.items()
    }


@dataclass(frozen=True)
class Cell:
    """What was trained how: kind of pictures, size, model."""

    kind: str
    size: Size
    model: str


class Results:
    """Scores of the standard world, by cell, subject and seed, of seeds run for all subjects.

    Attributes
    ----------
    cells : dict of Cell to dict of int to list of dict
        By seed, the scores of each subject by metric.
    """

    def __init__(self, work: Path, kinds: list[str]) -> None:
        self.cells: dict[Cell, dict[int, list[dict[str, np.ndarray]]]] = {}
        for kind, size, group, seed in product(kinds, (*SIZES, RIDGE_SIZE, CEILING), GROUPS, SEEDS):
            jobs = [Job(kind, subject, seed, size, group) for subject in SUBJECTS]
            if "worlds" in group or not all(_path(work, job).exists() for job in jobs):
                continue
            loaded = [_load(work, job) for job in jobs]
            for model in loaded[0]:
                cell = self.cells.setdefault(Cell(kind, size, model), {})
                cell[seed] = [scores[model] for scores in loaded]

    def seeds(self, *cells: Cell) -> list[int]:
        """Return the seeds that all of these cells have."""
        return [seed for seed in SEEDS if all(seed in self.cells.get(cell, {}) for cell in cells)]

    def scores(self, cell: Cell, metric: str, seeds: list[int]) -> np.ndarray:
        """Return the mean over seeds, shape (n_subjects, n_images)."""
        return np.mean(
            [[scores[metric] for scores in self.cells[cell][seed]] for seed in seeds], axis=0
        )

    def differences(self, ours: Cell, theirs: Cell, metric: str) -> np.ndarray:
        """Return ours minus theirs, over the seeds that both have: (n_subjects, n_images)."""
        seeds = self.seeds(ours, theirs)
        return self.scores(ours, metric, seeds) - self.scores(theirs, metric, seeds)


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = bootstrap_intervals(values[None], N_BOOTSTRAP, np.random.default_rng(0))[0]
    return float(low), float(high)


def _p(values: np.ndarray) -> float:
    return sign_flip_p(values, N_FLIPS, np.random.default_rng(0))


def score_table(results: Results) -> str:
    """Return the scores by kind of pictures, size and model: means over subjects and seeds, with
    intervals over test images.
    """
    rows = []
    kinds = sorted({cell.kind for cell in results.cells}, reverse=True)
    for kind, size, model in product(kinds, (*SIZES, RIDGE_SIZE, CEILING), (*ROWS, *OURS)):
        cell = Cell(kind, size, model)
        if not (seeds := results.seeds(cell)):
            continue
        if size == RIDGE_SIZE and model != "ridge":
            continue
        cells = []
        for metric in METRICS:
            values = results.scores(cell, metric, seeds).mean(axis=0)
            low, high = _interval(values)
            cells.append(f"{values.mean():z.3f} [{low:z.3f}, {high:z.3f}]")
        name = f"**{model}**" if model in ("bayes", "bayes_population") else model
        is_ceiling = size == CEILING and not model.startswith("shuffled")
        note = " (the ceiling of the data)" if is_ceiling else ""
        rows.append([kind, str(size), f"{name}{note}", str(len(seeds)), *cells])
    about = (
        f"SIMULATED DATA. Subjects {', '.join(map(str, SUBJECTS))}, {N_VOXELS} voxels or about as "
        f"many, {N_TEST} test images of {TEST_REPETITIONS} repetitions, of which {N_DECODED} were "
        "decoded. A seed sets brain, noise and pictures shown. Means over subjects and seeds, 95 % "
        "BCa intervals over test images.\n\n"
    )
    heads = ["pictures", "scanned", "encoder", "seeds", *METRICS.values()]
    return about + table(heads, rows)


@dataclass(frozen=True)
class Gain:
    """What one encoder gains over another in one metric.

    Attributes
    ----------
    by_subject : ndarray, shape (n_subjects,)
    interval : (float, float)
        Of their mean, over images.
    effect : float
        Mean over the SD over images, of differences averaged over subjects (Cohen's d of pairs).
    ps : list of float
        Of each subject, by sign flips over images.
    """

    by_subject: np.ndarray
    interval: tuple[float, float]
    effect: float
    ps: list[float]

    @classmethod
    def of(cls, differences: np.ndarray) -> "Gain":
        """Take it from differences of shape (n_subjects, n_images)."""
        together = differences.mean(axis=0)
        effect = float(together.mean() / together.std(ddof=1)) if together.std() > 0 else 0.0
        ps = [_p(row) for row in differences]
        return cls(differences.mean(axis=1), _interval(together), effect, ps)

    def text(self, adjusted: list[float]) -> str:
        """Return it for a table, with the number of subjects where it counts."""
        counts = np.array(adjusted) < LEVEL
        better = int((counts & (self.by_subject > 0)).sum())
        worse = int((counts & (self.by_subject < 0)).sum())
        ties = len(adjusted) - better - worse
        verdict = f"{better} better"
        verdict += f", {ties} {'tie' if ties == 1 else 'ties'}" if ties else ""
        verdict += f", **{worse} worse**" if worse else ""
        low, high = self.interval
        return (
            f"{self.by_subject.mean():+z.3f} [{low:+z.3f}, {high:+z.3f}], d {self.effect:.1f}: "
            f"{verdict}"
        )


def gain_table(results: Results, pairs: Iterable[tuple[str, str]]) -> str:
    """Return where an encoder wins, ties and loses against another, with sizes of effects."""
    gains = dict(_gains(results, pairs))
    ps = {f"{key}/{subject}": p for key, gain in gains.items() for subject, p in enumerate(gain.ps)}
    adjusted = holm(ps)
    rows: dict[str, list[str]] = {}
    for key, gain in gains.items():
        kind, size, ours, theirs, _ = key.split("/")
        of_key = [adjusted[f"{key}/{subject}"] for subject in range(len(gain.ps))]
        row = rows.setdefault(f"{kind}/{size}/{ours}/{theirs}", [kind, size, ours, theirs])
        row.append(gain.text(of_key))
    about = (
        "What the first encoder gains over the second: mean over the subjects with its paired 95 % "
        "BCa interval over test images, Cohen's d over images, and on how many subjects it is "
        f"better, tied or worse: p < {LEVEL} by sign flips over images, after Holm's correction "
        f"over the {len(ps)} tests of this table.\n\n"
    )
    return about + table(
        ["pictures", "scanned", "", "against", *METRICS.values()], [*rows.values()]
    )


def _gains(results: Results, pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Gain]]:
    kinds = sorted({cell.kind for cell in results.cells}, reverse=True)
    for kind, (ours, theirs), size in product(kinds, pairs, SIZES):
        one, other = Cell(kind, size, ours), Cell(kind, size, theirs)
        if not results.seeds(one, other):
            continue
        for metric in METRICS:
            gain = Gain.of(results.differences(one, other, metric))
            yield f"{kind}/{size}/{ours}/{theirs}/{metric}", gain


def few_rows(results: Results) -> list[list[str]]:
    """Return what `bayes` with few trials gains over ridge with many, by subject and on average
    over them.
    """
    rows = []
    kinds = sorted({cell.kind for cell in results.cells}, reverse=True)
    for kind, metric, trials in product(kinds, METRICS, AGAINST_MANY):
        few, many = Cell(kind, Size(trials=trials), "bayes"), Cell(kind, RIDGE_SIZE, "ridge")
        if not results.seeds(few, many):
            continue
        cells, differences = [], results.differences(few, many, metric)
        for of_subject in (*differences, differences.mean(axis=0)):
            low, high = _interval(of_subject)
            cells.append(f"{of_subject.mean():+z.3f} [{low:+z.3f}, {high:+z.3f}]")
        rows.append([kind, METRICS[metric], str(Size(trials=trials)), *cells])
    return rows


def few_table(rows: list[list[str]]) -> str:
    """Return the table of `few_rows`."""
    about = (
        f"`bayes` with few trials minus `ridge` with {RIDGE_SIZE}, the same brains, with paired 95 "
        "% BCa intervals over test images.\n\n"
    )
    subjects = [f"subject {subject}" for subject in SUBJECTS]
    return about + table(["pictures", "metric", "`bayes` with", *subjects, "their mean"], rows)


def world_table(work: Path, group: str) -> str:
    """Return the table that compares the encoders of a group in each world, on the mean of the
    subjects; a difference counts after Holm's correction over all worlds, pairs and metrics.
    """
    jobs = [job for job in jobs_of_worlds() if job.group == group]
    scores = {
        world: _mean([_load(work, job) for job in jobs if job.world == world])
        for world in dict.fromkeys(job.world for job in jobs)
    }
    pairs = list(product(IN_WORLDS[group], METRICS))
    gains = {
        (world, *pair, metric): of_world[pair[0]][metric] - of_world[pair[1]][metric]
        for world, of_world in scores.items()
        for pair, metric in pairs
    }
    adjusted = holm({"/".join(key): _p(gain) for key, gain in gains.items()})
    rows = []
    for world, of_world in scores.items():
        cells = []
        for pair, metric in pairs:
            key = (world, *pair, metric)
            (low, high), mean = _interval(gains[key]), gains[key].mean()
            verdict = " **worse**" if mean < 0 else ""
            verdict = " tie" if adjusted["/".join(key)] >= LEVEL else verdict
            cells.append(f"{mean:+z.3f} [{low:+z.3f}, {high:+z.3f}]{verdict}")
        models = ("shuffled", *GROUPS[group])
        means = [f"{of_world[model]['pattern'].mean():z.3f}" for model in models]
        rows.append([f"`{world}`", WORLDS[world].title, *means, *cells])
    about = (
        f"SIMULATED DATA. {_whose(jobs)}, one seed, {_scanned(jobs[0])} of scenes: latent r of "
        f"{N_TEST} test images, and what one encoder gains over another, with 95 % intervals over "
        f"them ({N_DECODED} of them for PixCorr). A tie is a difference that does not reach "
        f"p < {LEVEL} after Holm's correction over the {len(gains)} tests of this table (sign "
        "flips over images).\n\n"
    )
    heads = [f"{ours} minus {theirs}: {METRICS[metric]}" for (ours, theirs), metric in pairs]
    return about + table(["world", "", "shuffled", *GROUPS[group], *heads], rows)


def _mean(scores: list[Scores]) -> Scores:
    """Return the mean over subjects of each image's scores."""
    return {
        model: {
            metric: np.mean([of_subject[model][metric] for of_subject in scores], axis=0)
            for metric in of_model
        }
        for model, of_model in scores[0].items()
    }


def _whose(jobs: list[Job]) -> str:
    subjects = list(dict.fromkeys(job.subject for job in jobs))
    if len(subjects) == 1:
        return f"Subject {subjects[0]}"
    return f"Mean of subjects {', '.join(map(str, subjects))}"


def _scanned(job: Job) -> str:
    return str(job.size) if job.size.trials else f"{job.size} (one where the world says so)"

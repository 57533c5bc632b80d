"""Whether `fmri2img check-alignment` names what is wrong: every simulated world as it is, and with
each mistake planted; then its time and memory at the size of a whole subject.

    python benchmarks/alignment.py --work FOLDER

Pictures in the work folder are kept. SIMULATED DATA.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from measuring import peak_rss_mb, put_section, run_measured, say, sized, table
from worlds import JUDGED, Pool, Recorded, load_pool, record

from fmri2img.containers.ncsnr import zscore_sessions
from fmri2img.datasets.simulation.worlds import WORLDS
from fmri2img.evaluation.alignment import (
    CLEAR,
    Features,
    Finding,
    check_alignment,
)
from fmri2img.evaluation.shown_trials import GIVEN, ShownTrials
from fmri2img.features.halves import half_features

SESSIONS, OTHER = sized((4, 2), (2, 2))
REAL_TRIALS, REAL_PICTURES, REAL_VOXELS = sized((27_000, 9_000, 2_000), (200, 60, 10))
Plant = Callable[[Recorded, np.random.Generator], Recorded]


def main() -> None:
    """Plant each mistake in each world, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures")
    parser.add_argument("--real", action="store_true", help="only the whole subject, as JSON")
    options = parser.parse_args()
    if options.real:
        say(real_size())
        return
    pool = load_pool("scenes", None, options.work)
    features, mirrored = (
        Features(*half_features(np.split(pictures, range(256, len(pictures), 256))))
        for pictures in (pool.pictures, np.ascontiguousarray(pool.pictures[:, :, ::-1]))
    )
    rows = [row_of(name, pool, features, mirrored) for name in JUDGED]
    command = [sys.executable, __file__, "--work", str(options.work), "--real"]
    real = json.loads(run_measured(command).output)
    put_section(
        "alignment",
        f"{table(['world', 'match', *NAMED], rows)}\n"
        f"A whole subject ({REAL_TRIALS:,} trials, {REAL_PICTURES:,} pictures, {REAL_VOXELS:,} "
        f"voxels): {real['seconds']:.0f} s, {real['peak_mb'] / 1e3:.1f} GB.\n",
    )


def shifted(by: int) -> Plant:
    """Give every trial the picture of another one of its session."""

    def plant(recorded: Recorded, _: np.random.Generator) -> Recorded:
        moved = recorded.pictures.copy()
        for one in np.unique(recorded.session):
            rows = recorded.session == one
            moved[rows] = np.roll(recorded.pictures[rows], -by)
        return replace(recorded, pictures=moved)

    return plant


def next_run(recorded: Recorded, _: np.random.Generator) -> Recorded:
    """Give every run the pictures of the next."""
    moved = recorded.pictures.copy()
    for one in np.unique(recorded.session):
        runs = [
            np.flatnonzero((recorded.session == one) & (recorded.run == run))
            for run in np.unique(recorded.run)
        ]
        for here, there in pairwise(runs):
            n = min(len(here), len(there))
            moved[here[:n]] = recorded.pictures[there[:n]]
    return replace(recorded, pictures=moved)


def exchanged(recorded: Recorded, _: np.random.Generator) -> Recorded:
    """Exchange the tables of the first two sessions."""
    moved = recorded.pictures.copy()
    one, two = (np.flatnonzero(recorded.session == number) for number in (1, 2))
    moved[one], moved[two] = recorded.pictures[two], recorded.pictures[one]
    return replace(recorded, pictures=moved)


def mirrored_volumes(recorded: Recorded, _: np.random.Generator) -> Recorded:
    """Exchange left and right of the volumes."""
    return replace(recorded, is_left=~recorded.is_left)


def shuffled(recorded: Recorded, rng: np.random.Generator) -> Recorded:
    """Give every trial any picture."""
    return replace(recorded, pictures=rng.permutation(recorded.pictures))


def other_subject(recorded: Recorded, other: Recorded) -> Recorded:
    """Put another subject's betas into the place of the subject's own."""
    return replace(other, pictures=recorded.pictures, is_test=recorded.is_test)


def row_of(name: str, pool: Pool, features: Features, mirrored: Features) -> list[str]:
    """Return a row of the table: whether each mistake was named."""
    recorded, other = (
        record(pool, subject=one, seed=1, sessions=SESSIONS, name=name) for one in (1, OTHER)
    )
    findings = {
        mistake: judge(plant(recorded, np.random.default_rng(3)), features, other)
        for mistake, plant in PLANTED.items()
        if plant is not exchanged or recorded.session.max() > 1
    }
    findings["pictures mirrored"] = judge(recorded, mirrored, other)
    findings["another subject"] = judge(other_subject(recorded, other), features, other)
    return [
        WORLDS[name].title,
        f"{findings['as it is'].match(GIVEN).mean:.2f}",
        *(cell(mistake, findings) for mistake in NAMED),
    ]


def cell(mistake: str, findings: dict[str, Finding]) -> str:
    """Say whether a mistake was named."""
    if mistake not in findings:
        return "–"
    expected, finding, given = NAMED[mistake], findings[mistake], findings["as it is"]
    if (expected in finding.fault) if expected else not finding.fault:
        return "fits" if not expected else "named"
    if expected == NAMED["left and right"] and abs(given.side) < CLEAR and not finding.fault:
        return "not told"
    return f"**{finding.fault or 'fits'}**"


def judge(recorded: Recorded, features: Features, other: Recorded) -> Finding:
    """Check one subject, with the table of another one at hand."""
    responses = np.nan_to_num(zscore_sessions(recorded.betas, recorded.session))
    shown = ShownTrials(
        responses,
        np.where(recorded.is_test, -1, recorded.pictures),
        recorded.session,
        recorded.run,
        recorded.is_left,
    )
    table_of_other = np.where(other.is_test, -1, other.pictures)
    return check_alignment(shown, features, {"the other subject": table_of_other})


def real_size() -> dict[str, float]:
    """Check made-up responses of the size of a whole subject."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (REAL_PICTURES, 128, 128, 3), dtype=np.uint8)
    start = time.perf_counter()
    features = Features(*half_features(np.split(pictures, range(256, len(pictures), 256))))
    shown = ShownTrials(
        rng.normal(size=(REAL_TRIALS, REAL_VOXELS)).astype(np.float32),
        np.resize(rng.permutation(REAL_PICTURES), REAL_TRIALS),
        np.arange(REAL_TRIALS) * 36 // REAL_TRIALS,
        np.arange(REAL_TRIALS) * 36 * 12 // REAL_TRIALS % 12,
        np.arange(REAL_VOXELS) % 2 == 0,
    )
    weights = rng.normal(size=(features.values.shape[1], REAL_VOXELS)).astype(np.float32)
    signal = features.values[shown.pictures] @ weights
    shown.responses[:] += signal / signal.std()
    finding = check_alignment(shown, features, {})
    took = time.perf_counter() - start
    return {"seconds": took, "peak_mb": peak_rss_mb(), "fits": float(not finding.fault)}


PLANTED: dict[str, Plant] = {
    "as it is": lambda recorded, _: recorded,
    "one trial late": shifted(-1),
    "one trial early": shifted(1),
    "one run early": next_run,
    "sessions exchanged": exchanged,
    "left and right": mirrored_volumes,
    "shuffled": shuffled,
}
_SIDES = "left and right are exchanged"
# What the finding has to say.
NAMED = {
    "as it is": "",
    "one trial late": "of the next trial",
    "one trial early": "of the trial before",
    "one run early": "of the run before",
    "sessions exchanged": "sessions 1 and 2 are exchanged",
    "another subject": "of the other subject",
    "pictures mirrored": _SIDES,
    "left and right": _SIDES,
    "shuffled": "nothing fits",
}
if __name__ == "__main__":
    main()

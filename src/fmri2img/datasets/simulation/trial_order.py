"""A simulated experimental design with NSD's rules: who sees which image when, and what they
press.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fmri2img.datasets.nsd.design import (
    N_IMAGES,
    N_SUBJECTS,
    RUNS_PER_SESSION,
    SESSIONS_HELD,
    TRIALS_PER_SESSION,
    ExperimentDesign,
    repetitions,
)

N_SESSIONS, N_SLOTS = 40, 75
N_SHARED, N_PER_SUBJECT = 1_000, 10_000
# Slots 1-3 and 72-75 are always blank (Allen et al. 2022, "Trial and run design"); indices from 0
# here.
_FIRST_SLOT, _LAST_SLOT = 3, 70
# Centres of an image's showings on the circle of all trials: 60 % near a common centre, the rest
# anywhere.
_CONCENTRATION, _NEAR_SHARE = 729.0, 0.6
# Subject, session and run whose button records were lost (P:nsdsetup.m of the data paper's code).
_RUNS_WITHOUT_BUTTONS = ((6, 19, 10), (4, 23, 3))


@dataclass(frozen=True)
class SimulatedDesign:
    """The design and the slots in which stimuli appear.

    Attributes
    ----------
    experiment : ExperimentDesign
    stimulus_slots : ndarray, shape (40, 12, 75), bool
        Session, run, 4-s slot; the same for all subjects.
    """

    experiment: ExperimentDesign
    stimulus_slots: np.ndarray


def draw_design(seed: int) -> SimulatedDesign:
    """Draw a complete design: 40 sessions, 8 subjects, 73 000 images.

    Parameters
    ----------
    seed : int

    Returns
    -------
    SimulatedDesign
    """
    rng = np.random.default_rng([seed, 30_000])
    chosen = rng.permutation(N_IMAGES)
    shared = np.sort(chosen[:N_SHARED])
    n_own = N_PER_SUBJECT - N_SHARED
    unique = chosen[N_SHARED : N_SHARED + N_SUBJECTS * n_own].reshape(N_SUBJECTS, n_own)
    images = np.hstack([np.tile(shared, (N_SUBJECTS, 1)), unique])
    experiment = ExperimentDesign(_draw_master_order(rng), images, shared)
    slots = np.stack(
        [[_draw_run(rng, run) for run in range(1, RUNS_PER_SESSION + 1)] for _ in range(N_SESSIONS)]
    )
    return SimulatedDesign(experiment, slots)


def _draw_master_order(rng: np.random.Generator) -> np.ndarray:
    """Place three showings of each of 10 000 images on a circle and cut it (Allen et al. 2022,
    Methods).
    """
    centres = rng.uniform(-np.pi, np.pi, N_PER_SUBJECT)[:, None]
    near = rng.vonmises(np.broadcast_to(centres, (N_PER_SUBJECT, 3)), _CONCENTRATION)
    anywhere = rng.uniform(-np.pi, np.pi, (N_PER_SUBJECT, 3))
    angles = np.where(rng.random((N_PER_SUBJECT, 3)) < _NEAR_SHARE, near, anywhere)
    owners = np.repeat(np.arange(N_PER_SUBJECT), 3)
    return owners[np.argsort(angles.ravel(), kind="stable")]


def _draw_run(rng: np.random.Generator, run: int) -> np.ndarray:
    """Draw the stimulus slots of one run: 63 in odd runs, 62 in even ones, in stretches of 9 to
    14.
    """
    n_stretches, n_stimuli = 6, 63
    while True:
        stretches = rng.integers(9, 15, n_stretches)
        if stretches.sum() == n_stimuli:
            break
    slots = np.zeros(N_SLOTS, dtype=bool)
    slots[_FIRST_SLOT : _LAST_SLOT + 1] = True
    blanks = _FIRST_SLOT + np.cumsum(stretches[:-1] + 1) - 1
    slots[blanks] = False
    if run % 2 == 0:
        slots[_LAST_SLOT] = False
    return slots


def sessions_of(subject_number: int, sessions: list[int]) -> list[int]:
    """Return the sessions among ``sessions`` that the subject did."""
    return [session for session in sessions if session <= SESSIONS_HELD[subject_number - 1]]


def shown_images(design: ExperimentDesign, subject_number: int, sessions: list[int]) -> np.ndarray:
    """Return the 0-based 73k ids of all trials in some sessions, in time order, shape (750 *
    n_sessions,).
    """
    shown = [design.trial_image_ids(subject_number, session) for session in sessions]
    return np.concatenate(shown) if shown else np.zeros(0, dtype=np.int64)


def responses_table(
    design: SimulatedDesign, subject_number: int, sessions: list[int], seed: int
) -> pd.DataFrame:
    """Draw the behaviour of one subject, NSD's 19 columns, one row per trial.

    Memory columns count earlier trials of the plan from session 1 on, also of sessions that are not
    named.

    Parameters
    ----------
    design : SimulatedDesign
    subject_number : int
        1 to 8.
    sessions : list of int
        Session numbers, from 1.
    seed : int

    Returns
    -------
    DataFrame
        73k and 10k ids 1-based.
    """
    rng = np.random.default_rng([seed, 19, subject_number])
    last = max(sessions)
    order = design.experiment.master_order[: last * TRIALS_PER_SESSION]
    table = pd.DataFrame(
        _trial_positions(design, last), columns=["SESSION", "RUN", "TRIAL", "SLOT"]
    )
    table.insert(0, "SUBJECT", subject_number)
    table["73KID"] = design.experiment.subject_images[subject_number - 1, order] + 1
    table["10KID"] = order + 1
    day = 7 * (table["SESSION"] - 1) + 0.6  # a weekly scan in the afternoon
    table["TIME"] = day + (330 * (table["RUN"] - 1) + 4 * table.pop("SLOT")) / 86_400
    _add_behaviour(table, rng)
    return table[table["SESSION"].isin(sessions)].reset_index(drop=True)


def _trial_positions(design: SimulatedDesign, last_session: int) -> np.ndarray:
    """Return session, run, trial in run (from 1) and slot (from 0) of each trial, shape
    (n_trials, 4).
    """
    session, run, slot = np.nonzero(design.stimulus_slots[:last_session])
    first_of_run = np.r_[True, (np.diff(run) != 0) | (np.diff(session) != 0)]
    run_start = np.maximum.accumulate(np.where(first_of_run, np.arange(len(run)), 0))
    return np.stack([session + 1, run + 1, np.arange(len(run)) - run_start + 1, slot], axis=1)


def _add_behaviour(table: pd.DataFrame, rng: np.random.Generator) -> None:
    """Add columns on earlier showings, and presses of a subject who is right four times in five."""
    n_trials = len(table)
    ids = table["73KID"].to_numpy()
    position = pd.Series(np.arange(n_trials))
    showing = repetitions(ids)
    is_old = showing > 0
    in_session = position.groupby([ids, table["SESSION"].to_numpy()]).cumcount() > 0
    since_recent = position - position.groupby(ids).shift(1) - 1
    since_first = position - position.groupby(ids).transform("first") - 1
    pressed = rng.random(n_trials) > 0.01
    correct = rng.random(n_trials) < 0.8
    button = np.where(is_old == correct, 2, 1)
    reaction = np.clip(rng.lognormal(6.75, 0.3, n_trials), 250, 3_900)
    nan_unless_pressed = {
        "ISCORRECT": correct,
        "RT": reaction,
        "CHANGEMIND": rng.random(n_trials) < 0.03,
        "ISCORRECTCURRENT": (button == 2) == in_session,
        "BUTTON": button,
    }
    columns = {
        name: np.where(pressed, values, np.nan) for name, values in nan_unless_pressed.items()
    }
    table["ISOLD"] = is_old.astype(int)
    for name in ("ISCORRECT", "RT", "CHANGEMIND"):
        table[name] = columns[name]
    table["MEMORYRECENT"] = since_recent
    table["MEMORYFIRST"] = np.where(showing == 2, since_first, np.nan)
    table["ISOLDCURRENT"] = in_session.astype(int)
    table["ISCORRECTCURRENT"] = columns["ISCORRECTCURRENT"]
    table["TOTAL1"], table["TOTAL2"] = (
        (pressed & (button == number)).astype(float) for number in (1, 2)
    )
    table["BUTTON"] = columns["BUTTON"]
    run = table[["SUBJECT", "SESSION", "RUN"]].apply(tuple, axis=1)
    table["MISSINGDATA"] = run.isin(_RUNS_WITHOUT_BUTTONS).astype(int)
    table.loc[table["MISSINGDATA"] == 1, [*columns, "TOTAL1", "TOTAL2"]] = np.nan


def stim_info_table(design: ExperimentDesign, seed: int) -> pd.DataFrame:
    """Make the table of all 73 000 images, 40 columns, index = 0-based 73k id.

    Trial numbers run from 1 to 30 000 over the full plan, not only over recorded sessions.
    """
    rng = np.random.default_rng([seed, 41])
    image_ids = np.arange(N_IMAGES)
    shared = np.isin(image_ids, design.shared_image_ids)
    # 640 x 480 pictures lose an eighth on either side: 480 x 480 remain.
    crops = np.where(rng.random(N_IMAGES) < 0.7, "(0, 0, 0.125, 0.125)", "(0.125, 0.125, 0, 0)")
    columns = {
        "cocoId": 9_000_000 + rng.permutation(N_IMAGES),
        "cocoSplit": np.where(rng.random(N_IMAGES) < 0.95, "train2017", "val2017"),
        "cropBox": crops,
        "loss": rng.gamma(1.0, 0.1, N_IMAGES).round(6),
        "nsdId": image_ids,
        "flagged": rng.random(N_IMAGES) < 0.005,
        "BOLD5000": rng.random(N_IMAGES) < 0.03,
        "shared1000": shared,
    }
    trial_numbers = _trial_numbers(design.master_order)
    shown = {f"subject{s}": np.zeros(N_IMAGES, dtype=int) for s in range(1, N_SUBJECTS + 1)}
    repeated = {}
    for subject in range(1, N_SUBJECTS + 1):
        rows = design.subject_images[subject - 1]
        shown[f"subject{subject}"][rows] = 1
        for repetition in range(3):
            values = np.zeros(N_IMAGES, dtype=int)
            values[rows] = trial_numbers[:, repetition]
            repeated[f"subject{subject}_rep{repetition}"] = values
    return pd.DataFrame({**columns, **shown, **repeated})


def _trial_numbers(master_order: np.ndarray) -> np.ndarray:
    """Return the 1-based trials of each 10k id, shape (10000, 3), ascending."""
    return np.argsort(master_order, kind="stable").reshape(N_PER_SUBJECT, 3) + 1

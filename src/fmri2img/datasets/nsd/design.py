"""Which image was shown when: the experimental design and the responses table.

NSD counts 73k ids, 10k ids, sessions, runs and trials from 1. This module turns ids into 0-based
``image_ids``; session, run and trial numbers keep NSD's count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io

from fmri2img.containers.units import PERCENT, Units
from fmri2img.project.config import SplitKind
from fmri2img.project.exceptions import FormatError, MismatchError
from fmri2img.project.files import check_file

TRIALS_PER_SESSION = 750
RUNS_PER_SESSION = 12
# A slot is 4 s: an image for 3 s and a gap of 1 s. Volumes per slot and seconds per volume in each
# space (NSD manual, time-series data).
VOLUMES_PER_SLOT = {"func1pt8mm": 3, "func1mm": 4}
TR_SECONDS = {"func1pt8mm": 4 / 3, "func1mm": 1.0}
N_IMAGES = 73_000
N_SUBJECTS = 8
N_REPETITIONS = 3  # how often an image is shown
SPLITS: tuple[SplitKind, ...] = ("shared", "random")
# Largest number in each variable of the design.
_LARGEST = {"masterordering": 10_000, "subjectim": N_IMAGES, "sharedix": N_IMAGES}
_TRIALS_A_RUN = 63  # at most
# Stored units of one percent signal change (NSD manual, "Functional data").
UNITS = Units(PERCENT, 300.0)
# Sessions held by each subject, subj01 to subj08 (NSD manual, technical notes).
SESSIONS_HELD = (40, 40, 32, 30, 40, 32, 40, 30)


@dataclass(frozen=True)
class ExperimentDesign:
    """NSD's master order of trials.

    Attributes
    ----------
    master_order : ndarray, shape (30000,), int64
        0-based 10k id of each trial, the same for all subjects.
    subject_images : ndarray, shape (8, 10000), int64
        0-based 73k id of each 10k id.
    shared_image_ids : ndarray, shape (1000,), int64
        0-based 73k ids of the images shown to everybody, sorted.
    """

    master_order: np.ndarray
    subject_images: np.ndarray
    shared_image_ids: np.ndarray

    def trial_image_ids(self, subject_number: int, session: int) -> np.ndarray:
        """Return the 0-based 73k id of each of a session's 750 trials, shape (750,)."""
        first = TRIALS_PER_SESSION * (session - 1)
        return self.subject_images[
            subject_number - 1, self.master_order[first : first + TRIALS_PER_SESSION]
        ]


def read_design(path: Path, *, remedy: str) -> ExperimentDesign:
    """Read ``nsd_expdesign.mat``.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If a variable is missing, has another shape, or holds what NSD's design never does.
    """
    shapes = {
        "masterordering": (1, 30_000),
        "subjectim": (N_SUBJECTS, 10_000),
        "sharedix": (1, 1_000),
    }
    order, images, shared = read_numbers(path, shapes, _LARGEST, remedy=remedy)
    design = ExperimentDesign(order[0], images, shared[0])
    if fault := _design_fault(design):
        raise FormatError(f"{path}: variable {fault}; run: {remedy}")
    return design


def read_numbers(
    path: Path, shapes: Mapping[str, tuple[int, ...]], largest: Mapping[str, int], *, remedy: str
) -> list[np.ndarray]:
    """Read variables of a MATLAB 5 file that hold numbers counted from 1.

    Parameters
    ----------
    path : Path
    shapes : mapping of str to tuple of int
        Expected shape of each variable.
    largest : mapping of str to int
        Largest number in each.
    remedy : str
        The command that fetches the file.

    Returns
    -------
    list of ndarray, int64
        The variables, counted from 0.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If a variable is missing, has another shape, or holds anything else.
    """
    check_file(path, remedy)
    try:
        variables = scipy.io.loadmat(path, variable_names=list(shapes))
    except Exception as error:  # damaged bytes can make scipy raise any error
        raise FormatError(
            f"{path}: not a readable MATLAB 5 file ({error}); run: {remedy}"
        ) from error
    for name, shape in shapes.items():
        got = variables[name].shape if name in variables else "nothing"
        if got != shape:
            raise FormatError(
                f"{path}: variable {name} should have shape {shape}, got {got}; run: {remedy}"
            )
    for name in shapes:
        if fault := _not_whole(variables[name], largest[name]):
            raise FormatError(f"{path}: variable {name}: {fault}; run: {remedy}")
    # The file holds small integer types: cast before any arithmetic.
    return [variables[name].astype(np.int64) - 1 for name in shapes]


def _not_whole(values: np.ndarray, largest: int) -> str:
    """Return what keeps values from being numbers from 1 to ``largest``; empty if nothing does."""
    if values.dtype.kind not in "iuf":
        return f"holds {values.dtype}, expected numbers"
    wrong = ~((values >= 1) & (values <= largest) & (values == np.floor(values)))  # NaN, too
    if not wrong.any():
        return ""
    place = tuple(int(index) + 1 for index in np.argwhere(wrong)[0])
    return f"{values[wrong][0]} at {place} (from 1), expected whole numbers from 1 to {largest}"


def _design_fault(design: ExperimentDesign) -> str:
    """Return which variable contradicts NSD's design, and how; empty if none does."""
    times = np.bincount(design.master_order, minlength=_LARGEST["masterordering"])
    if len(wrong := np.flatnonzero(times != N_REPETITIONS)):
        return (
            f"masterordering: shows 10KID {wrong[0] + 1} {times[wrong[0]]} times, expected "
            f"{N_REPETITIONS}"
        )
    shared = design.shared_image_ids
    ids, counts = np.unique(shared, return_counts=True)
    if len(ids) < len(shared):
        return (
            f"sharedix: holds 73KID {ids[counts > 1][0] + 1} twice, expected {len(shared)} images"
        )
    if len(places := np.argwhere(design.subject_images[:, : len(shared)] != shared)):
        row, column = places[0]
        return (
            f"subjectim: 73KID {design.subject_images[row, column] + 1} at ({row + 1}, "
            f"{column + 1}), expected {shared[column] + 1}: its first columns are sharedix"
        )
    others = design.subject_images[:, len(shared) :]
    ids, counts = np.unique(np.append(others, shared), return_counts=True)
    if (counts > 1).any():
        return (
            f"subjectim: 73KID {ids[counts > 1][0] + 1} stands in two places, expected images of "
            "one subject each besides the shared ones"
        )
    return ""


def read_responses(path: Path, sessions: list[int], *, remedy: str) -> pd.DataFrame:
    """Read the trials of some sessions from ``responses.tsv``.

    Parameters
    ----------
    path : Path
    sessions : list of int
        Session numbers, from 1.
    remedy : str
        The command that fetches the file.

    Returns
    -------
    DataFrame
        One row per trial in time order, with columns ``session``, ``run``, ``trial`` (from 1) and
        ``image_id`` (0-based).

    Raises
    ------
    MismatchError
        If a session is absent or does not have 750 trials.
    """
    check_file(path, remedy)
    try:
        table = pd.read_csv(path, sep="\t", usecols=["SESSION", "RUN", "TRIAL", "73KID"])
    except ValueError as error:
        raise FormatError(
            f"{path}: {error}; expected NSD's 19 columns separated by tabs"
        ) from error
    if fault := _not_whole(table[["SESSION"]].to_numpy(), 10**6):
        raise FormatError(f"{path}: column SESSION: {fault}; run: {remedy}")
    counts = table["SESSION"].value_counts()
    for session in sessions:
        if counts.get(session, 0) != TRIALS_PER_SESSION:
            raise MismatchError(
                f"{path}: session {session} has {counts.get(session, 0)} trials, expected "
                f"{TRIALS_PER_SESSION}, in a table of "
                f"{len(counts)} sessions; name only sessions that this subject did in params.yaml"
            )
    chosen = table[table["SESSION"].isin(sessions)]
    if chosen.isna().any(axis=None):
        raise FormatError(
            f"{path}: {int(chosen.isna().any(axis=1).sum())} trials lack a number, run or 73KID; "
            f"run: {remedy}"
        )
    for column, largest in (("RUN", 10**6), ("TRIAL", _TRIALS_A_RUN), ("73KID", N_IMAGES)):
        if fault := _not_whole(chosen[[column]].to_numpy(), largest):
            raise FormatError(f"{path}: column {column}: {fault}; run: {remedy}")
    chosen = chosen.astype(np.int64)
    if set(chosen["RUN"]) != set(range(1, RUNS_PER_SESSION + 1)):
        raise FormatError(
            f"{path}: expected runs 1 to {RUNS_PER_SESSION}, got {sorted(set(chosen['RUN']))}; "
            f"run: {remedy}"
        )
    steps = chosen.groupby("SESSION")[["RUN", "TRIAL"]].diff()
    late = (steps["RUN"] > 0) | ((steps["RUN"] == 0) & (steps["TRIAL"] > 0)) | steps["RUN"].isna()
    if not late.all():
        row = chosen[~late].iloc[0]
        raise FormatError(
            f"{path}: columns RUN and TRIAL: session {row['SESSION']}, run {row['RUN']}, trial "
            f"{row['TRIAL']} does not come after the row before, expected the order of the "
            f"experiment, each trial once; run: {remedy}"
        )
    chosen["image_id"] = chosen.pop("73KID") - 1
    return chosen.rename(columns=str.lower).reset_index(drop=True)


def rest_runs_shift(subject_number: int, session: int) -> int:
    """Return by how much run numbers in file names exceed NSD runs: 1 in sessions with
    resting-state runs, else 0.
    """
    last = 38 if subject_number in (1, 5) else 30
    return 1 if 21 <= session <= last else 0


def repetitions(image_ids: np.ndarray) -> np.ndarray:
    """Count, for each trial in time order, how often its image was shown before (0, 1 or 2),
    shape (n_trials,).
    """
    return pd.Series(image_ids).groupby(image_ids).cumcount().to_numpy()

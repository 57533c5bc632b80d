"""What trials showed: as the tables say, and under other assumptions."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

GIVEN, SHUFFLED, OTHER_SESSION = "as given", "shuffled", "of the other session"


@dataclass(frozen=True)
class ShownTrials:
    """Responses, and the pictures that the tables name.

    Attributes
    ----------
    responses : ndarray, shape (n_trials, n_voxels), float32
        In time order, z-scored within sessions; 0 where nothing was measured.
    pictures : ndarray, shape (n_trials,), int64
        Row of each trial's picture among the features; -1: a test image.
    session, run : ndarray, shape (n_trials,), int
    is_left : ndarray, shape (n_voxels,), bool, or None
        Whether a voxel lies in the left hemisphere; None: not known.
    """

    responses: np.ndarray
    pictures: np.ndarray
    session: np.ndarray
    run: np.ndarray
    is_left: np.ndarray | None

    @cached_property
    def sessions(self) -> list[int]:
        """Numbers of the sessions."""
        return [int(number) for number in np.unique(self.session)]

    def usable(self, pictures: np.ndarray) -> np.ndarray:
        """Return which trials may be used, shape (n_trials,), bool: neither they nor the assumed
        pictures, rows of shape (n_trials,), are for tests.
        """
        usable: np.ndarray = (self.pictures >= 0) & (pictures >= 0)
        return usable

    def exchanged(self, session: int, other: int) -> np.ndarray:
        """Return the pictures with the tables of two sessions exchanged, shape (n_trials,); -1 in
        all other sessions.
        """
        pictures = np.full(len(self.pictures), -1)
        for one, two in ((session, other), (other, session)):
            to, source = (np.flatnonzero(self.session == number) for number in (one, two))
            n = min(len(to), len(source))
            pictures[to[:n]] = self.pictures[source[:n]]
        return pictures


def assumed_tables(
    shown: ShownTrials, others: dict[str, np.ndarray], rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield assumptions about what was shown: a name, and the row of each trial's picture.

    Parameters
    ----------
    shown : ShownTrials
    others : dict of str to ndarray, shape (n_trials,)
        Tables of other subjects at the same places, by name.
    rng : Generator

    Yields
    ------
    name : str
    pictures : ndarray, shape (n_trials,), int64
        -1: none.
    """
    yield GIVEN, shown.pictures
    yield "of the next trial", _moved(shown, 1)
    yield "of the trial before", _moved(shown, -1)
    yield "of the next run", _moved_runs(shown, 1)
    yield "of the run before", _moved_runs(shown, -1)
    for name, pictures in others.items():
        yield f"of {name}", pictures
    if len(shown.sessions) == 2:  # with more, the others show which are exchanged
        yield OTHER_SESSION, shown.exchanged(*shown.sessions)
    shuffled = shown.pictures.copy()
    for session in shown.sessions:
        rows = np.flatnonzero(shown.session == session)
        shuffled[rows] = shuffled[rng.permutation(rows)]
    yield SHUFFLED, shuffled


def _moved(shown: ShownTrials, by: int) -> np.ndarray:
    """Return the picture of the trial that came so many later in the same session."""
    pictures = np.full(len(shown.pictures), -1)
    for session in shown.sessions:
        rows = np.flatnonzero(shown.session == session)
        to, source = (rows[:-by], rows[by:]) if by > 0 else (rows[-by:], rows[:by])
        pictures[to] = shown.pictures[source]
    return pictures


def _moved_runs(shown: ShownTrials, by: int) -> np.ndarray:
    """Return the picture at the same place of the run that came so many later."""
    pictures = np.full(len(shown.pictures), -1)
    for session in shown.sessions:
        runs = np.unique(shown.run[shown.session == session])
        for place, run in enumerate(runs):
            if 0 <= place + by < len(runs):
                to, source = (
                    np.flatnonzero((shown.session == session) & (shown.run == one))
                    for one in (run, runs[place + by])
                )
                n = min(len(to), len(source))
                pictures[to[:n]] = shown.pictures[source[:n]]
    return pictures

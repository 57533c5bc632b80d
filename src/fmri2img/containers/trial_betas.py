"""Betas trial by trial, and the facts of their voxels."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from fmri2img.containers.declared_arrays import Array
from fmri2img.containers.stored import Stored
from fmri2img.containers.voxels import OVER_VOXELS, VOXEL_FACTS, Voxels


@dataclass(frozen=True)
class TrialBetas(Voxels, Stored):
    """Betas of one subject, trial by trial in time order; holds everything that later stages need
    from the raw files except pictures.

    Attributes
    ----------
    betas : ndarray, shape (n_trials, n_voxels), int16 or float32
        In stored `units`.
    image_ids : ndarray, shape (n_trials,), int64 or str
    is_shared : ndarray, shape (n_trials,), bool
        Whether the image is one of those that the dataset sets apart for tests.
    session, run, trial : ndarray, shape (n_trials,), int16
        The dataset's counts, from 1.
    repetition : ndarray, shape (n_trials,), int8
        How often the image was shown before, from 0, counted over the sessions that were read.
    """

    arrays: ClassVar[dict[str, Array]] = Voxels.arrays | {
        "betas": Array("beta", ("trials", "voxels")),
        "image_ids": Array("id", ("trials",)),
        "is_shared": Array("bool", ("trials",)),
        "session": Array("int16", ("trials",), "sorted"),
        "run": Array("int16", ("trials",)),
        "trial": Array("int16", ("trials",)),
        "repetition": Array("int8", ("trials",)),
    }

    needed_provenance: ClassVar[dict[str, type]] = VOXEL_FACTS

    betas: np.ndarray
    image_ids: np.ndarray
    is_shared: np.ndarray
    session: np.ndarray
    run: np.ndarray
    trial: np.ndarray
    repetition: np.ndarray

    def __post_init__(self) -> None:
        self._check_lengths(
            trials=["betas", "image_ids", "is_shared", "session", "run", "trial", "repetition"],
            voxels=OVER_VOXELS,
            sessions=["sessions", "valid", "saturated"],
        )

    def contradiction(self) -> str:
        """Describe trials that share session, run and trial number, that contradict one another
        about an image, or whose session is unknown, and impossible voxels.
        """
        if not len(self.image_ids):
            return "image_ids: no trial"
        places = np.stack([self.session, self.run, self.trial], axis=1)
        if len(np.unique(places, axis=0)) < len(places):
            return "session, run, trial: two trials have the same numbers"
        order = np.lexsort(places.T[::-1])  # whatever the order in the file
        showings = pd.Series(self.image_ids[order])
        groups = showings.groupby(showings)
        if len(wrong := np.flatnonzero(groups.cumcount() != self.repetition[order])):
            trial = order[wrong[0]]
            return (
                f"repetition: {self.repetition[trial]} in trial {trial} (from 0), expected "
                f"{groups.cumcount()[wrong[0]]}, how often image {self.image_ids[trial]} was shown "
                "before"
            )
        kinds = pd.Series(self.is_shared[order]).groupby(showings).nunique()
        if (kinds > 1).any():
            image = kinds.index[kinds > 1][0]
            return f"is_shared: image {image} is shared in some trials and not in others"
        return self.unknown_session("session", self.session) or self.voxel_fault()

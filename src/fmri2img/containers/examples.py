"""Pictures and the trials in which they were shown."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fmri2img.containers.declared_arrays import Array
from fmri2img.containers.ids import find_rows
from fmri2img.containers.stored import Stored
from fmri2img.containers.units import Units
from fmri2img.containers.voxels import OVER_VOXELS, VOXEL_FACTS, Voxels


@dataclass(frozen=True)
class Examples(Voxels, Stored):
    """Pictures and the trials in which they were seen.

    Attributes
    ----------
    image_ids : ndarray, shape (n_images,), int64 or str
        Ascending.
    images : ndarray, shape (n_images, side, side, 3), uint8
    is_shared : ndarray, shape (n_images,), bool
    betas : ndarray, shape (n_trials, n_voxels), int16 or float32
        In stored `units`; sorted by image, then by time.
    trial_image_ids : ndarray, shape (n_trials,), int64 or str
        Ascending.
    trial_session : ndarray, shape (n_trials,), int16
    """

    arrays: ClassVar[dict[str, Array]] = Voxels.arrays | {
        "image_ids": Array("id", ("images",), "ascending"),
        "images": Array("uint8", ("images", "side", "side", 3)),
        "is_shared": Array("bool", ("images",)),
        "betas": Array("beta", ("trials", "voxels")),
        "trial_image_ids": Array("id", ("trials",), "sorted"),
        "trial_session": Array("int16", ("trials",)),
    }

    needed_provenance: ClassVar[dict[str, type]] = VOXEL_FACTS

    image_ids: np.ndarray
    images: np.ndarray
    is_shared: np.ndarray
    betas: np.ndarray
    trial_image_ids: np.ndarray
    trial_session: np.ndarray

    def __post_init__(self) -> None:
        self._check_lengths(
            images=["image_ids", "images", "is_shared"],
            trials=["betas", "trial_image_ids", "trial_session"],
            voxels=OVER_VOXELS,
        )

    def contradiction(self) -> str:
        """Describe trials that showed unknown images or belong to unknown sessions, images that no
        trial showed, and impossible voxels.
        """
        if not np.isin(self.trial_image_ids, self.image_ids).all():
            return "trial_image_ids: a trial showed an image that is not among image_ids"
        never = self.image_ids[~np.isin(self.image_ids, self.trial_image_ids)]
        if len(never):
            return f"image_ids: no trial showed image {never[0]}"
        return self.unknown_session("trial_session", self.trial_session) or self.voxel_fault()

    def rows_of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return the position of each image, shape (n,).

        Raises
        ------
        MismatchError
            If an image is not among the examples.
        """
        return find_rows(self.image_ids, image_ids, "examples")

    def trials_of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return the rows of all trials that showed one of the images, ascending, shape (n,)."""
        return np.flatnonzero(np.isin(self.trial_image_ids, image_ids))

    def repetitions_of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return how many trials showed each image, shape (n,), int64."""
        first, last = (
            np.searchsorted(self.trial_image_ids, image_ids, side=side)
            for side in ("left", "right")
        )
        return last - first

    def in_units(self, trials: np.ndarray) -> np.ndarray:
        """Return betas of some trials in the dataset's unit, NaN where invalid, shape (n,
        n_voxels), float32.
        """
        session_rows = np.searchsorted(self.sessions, self.trial_session[trials])
        return Units.of(self.provenance).from_stored(self.betas[trials], self.valid[session_rows])

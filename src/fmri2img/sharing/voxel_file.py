"""Use a voxel file on its own: open it, select voxels and trials, average repetitions; nothing
else of the project is needed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fmri2img.containers.ncsnr import noise_ceiling
from fmri2img.containers.repetitions import average_repetitions
from fmri2img.containers.splits import Split, SplitName
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.units import Units
from fmri2img.project.exceptions import MismatchError

SIMULATED = "SIMULATED DATA, not results about real brains."


def open_voxels(path: str | Path) -> "VoxelFile":
    """Open ``data/voxels/<subject>.h5``; betas stay on disk until they are asked for.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    VoxelFile
        With all voxels of the file.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If it is not a voxel file of this version.
    """
    path = Path(path)
    trials = TrialBetas.open(
        path, remedy=f"fmri2img pull (or dvc repro extract_betas@{path.stem})", on_disk=["betas"]
    )
    return VoxelFile(trials, np.arange(trials.n_voxels))


@dataclass(frozen=True, repr=False)
class VoxelFile:
    """Some voxels of one subject, and all trials.

    Attributes
    ----------
    trials : TrialBetas
        The whole file; image ids are the dataset's.
    columns : ndarray, shape (n_voxels,)
        Which of the file's voxels these are.
    """

    trials: TrialBetas
    columns: np.ndarray

    @property
    def n_voxels(self) -> int:
        """Number of selected voxels."""
        return len(self.columns)

    @property
    def is_simulated(self) -> bool:
        """Whether the data are simulated."""
        return bool(self.trials.provenance["data_source"] == "simulated")

    @property
    def units(self) -> Units:
        """The unit of betas, and how they are stored."""
        return Units.of(self.trials.provenance)

    @property
    def terms(self) -> str:
        """Who may have the data, in a sentence; empty if anybody may."""
        return SIMULATED if self.is_simulated else str(self.trials.provenance["terms"])

    @property
    def roi_names(self) -> np.ndarray:
        """Region of each voxel, shape (n_voxels,), str."""
        return np.asarray(self.trials.roi_names)[self.columns]

    @property
    def voxel_ijk(self) -> np.ndarray:
        """0-based position of each voxel in the functional volume, shape (n_voxels, 3)."""
        return self.trials.voxel_ijk[self.columns]

    @property
    def ncsnr(self) -> np.ndarray:
        """Noise-ceiling signal-to-noise ratio as the dataset ships it, test trials included, shape
        (n_voxels,).
        """
        return self.trials.ncsnr[self.columns]

    @property
    def image_ids(self) -> np.ndarray:
        """Ids of the images shown, ascending, shape (n_images,)."""
        return np.unique(self.trials.image_ids)

    @property
    def shared_image_ids(self) -> np.ndarray:
        """Ids of the images shown that the dataset sets apart for tests, ascending, shape (n,)."""
        return np.unique(self.trials.image_ids[self.trials.is_shared])

    def select(self, rois: Sequence[str]) -> "VoxelFile":
        """Keep the voxels of some regions.

        Parameters
        ----------
        rois : sequence of str
            Such as ``["V1v", "V1d"]``.

        Returns
        -------
        VoxelFile
            The same trials, with fewer voxels.

        Raises
        ------
        MismatchError
            If a region has no voxel here.
        """
        names, rois = self.roi_names, [rois] if isinstance(rois, str) else list(rois)
        if absent := [roi for roi in rois if roi not in names] or ([] if rois else ["none named"]):
            raise MismatchError(
                f"no voxel of region {absent[0]!r} in this file; choose from: "
                f"{', '.join(sorted(set(names)))}"
            )
        return replace(self, columns=self.columns[np.isin(names, rois)])

    def trials_of(self, image_ids: np.ndarray) -> np.ndarray:
        """Return the rows of all trials that showed one of the images.

        Parameters
        ----------
        image_ids : ndarray, shape (n_images,)

        Returns
        -------
        ndarray, shape (n_trials,), int64
            In time order.
        """
        return np.flatnonzero(np.isin(self.trials.image_ids, image_ids))

    def images_of(self, split: str | Path, part: SplitName) -> np.ndarray:
        """Return the images of one part of a split that were shown here.

        Parameters
        ----------
        split : str or Path
            A file of ``data/splits``.
        part : str
            ``train``, ``validation`` or ``test``.

        Returns
        -------
        ndarray, shape (n_images,)
            Ids, ascending.
        """
        return np.intersect1d(
            Split.open(Path(split), remedy="fmri2img pull").ids(part), self.image_ids
        )

    def in_units(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Read betas in the dataset's unit (`units`).

        Parameters
        ----------
        rows : ndarray of int, optional
            Trials, from `trials_of`; all by default.

        Returns
        -------
        ndarray, shape (n_trials, n_voxels), float32
            NaN where a voxel has no data in a session.
        """
        rows = np.arange(len(self.trials.image_ids)) if rows is None else np.asarray(rows)
        session_rows = np.searchsorted(self.trials.sessions, self.trials.session[rows])
        return self.units.from_stored(
            self.stored(rows), self.trials.valid[session_rows][:, self.columns]
        )

    def stored(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Read betas as they are stored.

        Parameters
        ----------
        rows : ndarray of int, optional
            Trials, from `trials_of`; all by default.

        Returns
        -------
        ndarray, shape (n_trials, n_voxels), int16 or float32
            In the stored form of `units`; 0 or NaN where a voxel has no data.
        """
        betas: Any = self.trials.betas
        first, last = int(self.columns.min()), int(self.columns.max()) + 1
        if rows is None:
            return betas[:, first:last][:, self.columns - first]
        wanted_betas = np.empty((len(rows), self.n_voxels), dtype=betas.dtype)
        for session in np.unique(
            self.trials.session[rows]
        ):  # one block of the file each: other sessions are not decompressed
            asked = self.trials.session[rows] == session
            start, end = np.searchsorted(self.trials.session, (session, session + 1))
            wanted_betas[asked] = betas[start:end, first:last][rows[asked] - start][
                :, self.columns - first
            ]
        return wanted_betas

    def average(self, image_ids: np.ndarray) -> np.ndarray:
        """Average the repetitions of each image, without missing ones.

        Parameters
        ----------
        image_ids : ndarray, shape (n_images,)
            Any order, each once.

        Returns
        -------
        ndarray, shape (n_images, n_voxels), float32
            In the dataset's unit, in the order of ``image_ids``.
        """
        wanted = np.asarray(image_ids)
        if len(unseen := np.setdiff1d(wanted, self.image_ids)):
            raise MismatchError(
                f"image {unseen[0]} was not shown in these sessions; choose from image_ids"
            )
        rows = self.trials_of(wanted)
        rows = rows[np.argsort(self.trials.image_ids[rows], kind="stable")]
        ascending = np.sort(wanted)
        averaged = average_repetitions(self.in_units(rows), self.trials.image_ids[rows], ascending)
        return averaged[np.searchsorted(ascending, wanted)]

    def n_repetitions(self, image_ids: np.ndarray) -> np.ndarray:
        """Return how often each image was shown in these sessions.

        Parameters
        ----------
        image_ids : ndarray, shape (n_images,)

        Returns
        -------
        ndarray, shape (n_images,), int64
            0 for an image that was not shown.
        """
        shown, counts = np.unique(self.trials.image_ids, return_counts=True)
        positions = np.searchsorted(shown, image_ids).clip(max=len(shown) - 1)
        return np.where(shown[positions] == image_ids, counts[positions], 0)

    def noise_ceiling(self, n_repetitions: int | np.ndarray) -> np.ndarray:
        """Return the percent of each voxel's variance that any model of the image could explain.

        Parameters
        ----------
        n_repetitions : int or ndarray, shape (n_images,)
            Trials averaged for each image, from the method `n_repetitions`.

        Returns
        -------
        ndarray, shape (n_voxels,)
            NaN where the dataset ships no ncsnr.
        """
        return noise_ceiling(self.ncsnr, n_repetitions)

    def __repr__(self) -> str:
        """Say in a few lines what the file holds."""
        about, counts = self.trials.provenance, Counter(self.roi_names.tolist())
        regions = ", ".join(f"{name} {count}" for name, count in counts.items())
        n_sessions = len(self.trials.sessions)
        lines = [
            f"{about['subject']}: {self.n_voxels} voxels, {len(self.trials.image_ids)} trials, "
            f"{n_sessions} sessions, "
            f"{len(self.image_ids)} images ({len(self.shared_image_ids)} shared)",
            f"  {about['func_space']}, {about['beta_version']}, median ncsnr "
            f"{np.nanmedian(self.ncsnr):.3f}"
            if np.isfinite(self.ncsnr).any()
            else f"  {about['func_space']}, {about['beta_version']}, no ncsnr",
            f"  regions: {regions}",
        ]
        if self.is_simulated:
            lines.append("  SIMULATED DATA: not results about real brains")
        return "\n".join(lines)

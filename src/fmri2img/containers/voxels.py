"""Facts about each voxel."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fmri2img.containers.declared_arrays import Array
from fmri2img.project.exceptions import FormatError
from fmri2img.project.files_0_1 import with_facts

# Entries of the provenance without which betas mean nothing.
VOXEL_FACTS: dict[str, type] = {"subject": str, "roi_names": dict, "units": dict}
OVER_VOXELS = ["voxel_ijk", "roi_labels", "ncsnr", "training_ncsnr", "in_brain"]


@dataclass(frozen=True)
class Voxels:
    """Facts about each voxel; part of the files of betas and of examples.

    Attributes
    ----------
    voxel_ijk : ndarray, shape (n_voxels, 3), int16
        0-based position in the functional volume.
    roi_labels : ndarray, shape (n_voxels,), int16
    ncsnr : ndarray, shape (n_voxels,), float32
        As shipped with the dataset, over all its trials, test images included: for description,
        not for selection. NaN where none is shipped.
    training_ncsnr : ndarray, shape (n_voxels,), float32
        Estimated here from the trials of images that are not shared; NaN if not requested.
    in_brain : ndarray, shape (n_voxels,), bool
        Whether the voxel is inside the dataset's brain mask.
    sessions : ndarray, shape (n_sessions,), int16
        Session numbers, from 1.
    valid : ndarray, shape (n_sessions, n_voxels), bool
        Whether the voxel has data in the session.
    saturated : ndarray, shape (n_sessions, n_voxels), int16
        Number of trials whose beta is at the limit of the stored range.
    affine : ndarray, shape (4, 4)
    provenance : dict
        ``subject``, ``data_source``, ``region`` (ROI, where it was drawn, mapping, MD5 of the label
        volume), ``roi_names`` (label to name), ``func_space``, ``beta_version``, ``responses``
        (betas or timeseries), ``voxel_mm``, ``grid``, ``selection``, ``units`` (`units.Units`),
        ``n_repetitions`` (how many times an image is shown at most), ``splits``, ``title`` and
        ``terms`` of the dataset, ``code_version`` and ``receipts``
        (MD5 of each receipt, as in ``dvc.lock``, and one SHA-256 over its records).
    """

    arrays: ClassVar[dict[str, Array]] = {
        "voxel_ijk": Array("int16", ("voxels", 3)),
        "roi_labels": Array("int16", ("voxels",)),
        "ncsnr": Array("float32", ("voxels",)),
        "training_ncsnr": Array("float32", ("voxels",)),
        "in_brain": Array("bool", ("voxels",)),
        "sessions": Array("int16", ("sessions",), "ascending"),
        "valid": Array("bool", ("sessions", "voxels")),
        "saturated": Array("int16", ("sessions", "voxels")),
        "affine": Array("float64", (4, 4), is_finite=True),
    }

    voxel_ijk: np.ndarray
    roi_labels: np.ndarray
    ncsnr: np.ndarray
    training_ncsnr: np.ndarray
    in_brain: np.ndarray
    sessions: np.ndarray
    valid: np.ndarray
    saturated: np.ndarray
    affine: np.ndarray
    provenance: dict

    @classmethod
    def complete(cls, provenance: dict[str, Any]) -> dict[str, Any]:
        """Return a file's provenance with the facts that version 0.1 left out."""
        return with_facts(provenance)

    @property
    def n_repetitions(self) -> int:
        """How many times an image is shown at most."""
        return int(self.provenance["n_repetitions"])

    def voxel_fault(self) -> str:
        """Describe voxels that there cannot be: a place twice or outside of the grid, a label
        without a name, an ncsnr below 0, no data at all; empty if there are none.
        """
        if self.valid.size and not self.valid.any():
            return "valid: no voxel has data in any session"
        if len(np.unique(self.voxel_ijk, axis=0)) < len(self.voxel_ijk):
            return "voxel_ijk: two voxels have the same place"
        grid = self.provenance.get("grid", [np.iinfo(np.int16).max] * 3)
        if not isinstance(grid, list) or [type(length) for length in grid] != [int] * 3:
            return f"provenance: grid: {grid!r:.60}, expected three whole numbers"
        if (self.voxel_ijk < 0).any() or (self.voxel_ijk >= np.asarray(grid)).any():
            return f"voxel_ijk: a voxel lies outside of the grid of {grid}"
        names = self.provenance.get("roi_names")
        labels = np.unique(self.roi_labels)
        if names is not None and (unnamed := [one for one in labels if str(one) not in names]):
            return f"roi_labels: label {unnamed[0]} has no name among roi_names"
        for name in ("ncsnr", "training_ncsnr"):
            if (getattr(self, name) < 0).any():
                return f"{name}: {np.nanmin(getattr(self, name))}, expected 0 or more, or NaN"
        return ""

    def unknown_session(self, name: str, of_trials: np.ndarray) -> str:
        """Name a session of trials, shape (n_trials,), that ``sessions`` does not list; empty if
        there is none.
        """
        unknown = of_trials[~np.isin(of_trials, self.sessions)]
        return f"{name}: session {unknown[0]} is not among sessions" if len(unknown) else ""

    @property
    def grid(self) -> tuple[int, int, int]:
        """Shape (x, y, z) of the volumes that the voxels are of.

        Raises
        ------
        FormatError
            If the file does not say it.
        """
        if "grid" not in self.provenance:
            raise FormatError(
                "provenance: there is no grid; make the file again: dvc repro --force "
                "extract_betas create_examples"
            )
        x, y, z = self.provenance["grid"]
        return x, y, z

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return len(self.roi_labels)

    @property
    def roi_names(self) -> list[str]:
        """Name of each voxel's region, shape (n_voxels,)."""
        return [self.provenance["roi_names"][str(label)] for label in self.roi_labels]

"""A subject's anatomy, as far as maps of voxels need it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fmri2img.containers.declared_arrays import Array
from fmri2img.containers.stored import Stored

# fsaverage5, the coarse template surface: vertices of a hemisphere.
N_VERTICES = 10_242
HEMISPHERES = ("left", "right")


@dataclass(frozen=True)
class Anatomy(Stored):
    """What lies below the voxels of a subject, and where they lie on a template's surface.

    Attributes
    ----------
    underlay : ndarray, shape (x, y, z), float32
        A volume on the grid of the voxels to draw maps over; of no size if there is none.
    left, right : ndarray, shape (n_depths, n_vertices, 3), float32
        Where vertices of fsaverage5 lie, at several depths of the cortex: 1-based coordinates into
        the grid of the voxels, which may lie outside of it; no depths if it is not known.
    provenance : dict
        ``subject``, ``data_source``; ``underlay``: what it shows, empty if there is none;
        ``receipts``: of the files read.
    """

    arrays: ClassVar[dict[str, Array]] = {
        "underlay": Array("float32", ("x", "y", "z")),
        "left": Array("float32", ("left depths", N_VERTICES, 3)),
        "right": Array("float32", ("right depths", N_VERTICES, 3)),
    }
    needed_provenance: ClassVar[dict[str, type]] = {
        "subject": str,
        "data_source": str,
        "underlay": str,
    }

    underlay: np.ndarray
    left: np.ndarray
    right: np.ndarray
    provenance: dict

    @classmethod
    def nothing(cls, subject: str, data_source: str) -> "Anatomy":
        """Return the anatomy of somebody of whom nothing is known."""
        nowhere = np.zeros((0, N_VERTICES, 3), np.float32)
        about = {"subject": subject, "data_source": data_source, "underlay": ""}
        return cls(np.zeros((0, 0, 0), np.float32), nowhere, nowhere, about)

    def at_vertices(self, volume: np.ndarray, side: str) -> np.ndarray:
        """Return a volume's values at a hemisphere's vertices: the mean over depths of the voxels
        that they lie in.

        Parameters
        ----------
        volume : ndarray, shape (x, y, z), float32
            NaN where there is no value.
        side : str
            ``left`` or ``right``.

        Returns
        -------
        ndarray, shape (n_vertices,), float32
            NaN where no depth has a value.
        """
        places: np.ndarray = getattr(self, side)
        is_inside = ((places >= 1) & (places <= volume.shape)).all(axis=2)
        # Halves go up, as in MATLAB's nsd_mapdata.
        i, j, k = np.floor(places[is_inside].astype(np.float64) + 0.5).astype(np.int64).T - 1
        values = np.full(places.shape[:2], np.nan, np.float32)
        values[is_inside] = volume[i, j, k]
        is_known = np.isfinite(values)
        total = np.where(is_known, values, 0).sum(axis=0)
        means = total / is_known.sum(axis=0).clip(min=1)
        return np.where(is_known.any(axis=0), means, np.nan).astype(np.float32)

    @property
    def has_underlay(self) -> bool:
        """Whether there is a volume to draw over."""
        return bool(self.underlay.size)

    @property
    def has_surface(self) -> bool:
        """Whether both hemispheres' places on the surface are known."""
        return len(self.left) > 0 and len(self.right) > 0

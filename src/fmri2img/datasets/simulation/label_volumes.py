"""The simulated cortex as label volumes, and the regions below it."""

import numpy as np

from fmri2img.datasets.nsd.mapping import map_winner_take_all
from fmri2img.datasets.nsd.rois import LABEL_NAMES
from fmri2img.datasets.nsd.volumes import slab_centre_affine
from fmri2img.datasets.simulation.cortex import (
    ANAT_VOXEL_MM,
    Cortex,
    grid_mm,
    label_points,
    locate,
)

THALAMUS_NAMES = {1: "LGN", 2: "pulvinar"}  # of the simulation; NSD's table has others
ATLASES_ON_FSAVERAGE = ("nsdgeneral", "streams")
# NSD's ROI collections that the simulated cortex has, and those below the cortex.
CORTICAL_ROIS = (
    "prf-visualrois",
    "prf-eccrois",
    "nsdgeneral",
    "streams",
    "floc-faces",
    "floc-bodies",
    "floc-places",
    "floc-words",
)
SIMULATED_ROIS = (*CORTICAL_ROIS, "MTL", "thalamus")
# Regions that some of NSD's subjects lack.
_ABSENT = {
    1: ("mTL-bodies", "mTL-faces"),
    2: ("mTL-bodies", "mTL-faces", "FBA-1"),
    3: ("mTL-bodies", "mTL-faces", "mTL-words"),
    4: ("aTL-faces",),
    6: ("mTL-faces",),
    7: ("FBA-1", "mTL-bodies"),
}
# Centre, in half the brain's lengths, radius and number of labels of regions below the cortex, in
# the right hemisphere; labels are shells around the centre.
_BELOW_CORTEX = {
    "MTL": ((0.3, -0.05, -0.35), 0.22, 10),
    "thalamus": ((0.12, -0.05, 0.02), 0.14, len(THALAMUS_NAMES)),
}


def anat_labels(cortex: Cortex) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Sample every ROI on the anatomical grid, both hemispheres.

    Returns
    -------
    labels : dict of str to ndarray, shape (x, y, z), int16
        Label volume of each ROI, by name.
    is_left : ndarray, shape (x, y, z), bool
    """
    shape = cortex.anat_shape
    labels = {roi: np.empty(shape, dtype=np.int16) for roi in SIMULATED_ROIS}
    is_left = np.empty(shape, dtype=bool)
    plane = grid_mm((1, *shape[1:]), ANAT_VOXEL_MM).reshape(-1, 3)
    x_mm = np.arange(shape[0]) * ANAT_VOXEL_MM + slab_centre_affine(shape, ANAT_VOXEL_MM)[0, 3]
    for index, x in enumerate(x_mm):  # plane by plane: the real volume has 33 million voxels
        position = np.column_stack([np.full(len(plane), x), plane[:, 1:]])
        points = locate(cortex, position)
        is_left[index] = points.is_left.reshape(shape[1:])
        for roi, volume in labels.items():
            of_points = (
                label_below_cortex(cortex, position, roi)
                if roi in _BELOW_CORTEX
                else label_points(points, roi)
            )
            volume[index] = of_points.reshape(shape[1:])
    for roi, volume in labels.items():
        volume[np.isin(volume, _absent_labels(cortex.subject_number, roi))] = 0
    return labels, is_left


def label_below_cortex(cortex: Cortex, position_mm: np.ndarray, roi: str) -> np.ndarray:
    """Label anatomical points, shape (n_points, 3), by a region below the cortex, shape
    (n_points,), int16: -1 outside.
    """
    centre, radius, n_labels = _BELOW_CORTEX[roi]
    scaled = position_mm / cortex.semi_axes
    scaled[:, 0] = np.abs(scaled[:, 0])
    distance = np.linalg.norm(scaled - centre, axis=1)
    labels = 1 + (distance / radius * n_labels).astype(np.int16)
    labels[distance >= radius] = -1
    return labels


def _absent_labels(subject_number: int, roi: str) -> list[int]:
    """Return the labels of an ROI that a subject lacks."""
    names = LABEL_NAMES.get(roi, {})
    return [label for label, name in names.items() if name in _ABSENT.get(subject_number, ())]


def split_hemispheres(labels: np.ndarray, is_left: np.ndarray) -> dict[str, np.ndarray]:
    """Return the combined volume, shape (x, y, z), and one for each hemisphere, -1 outside its own
    half.
    """
    return {"": labels, "lh.": np.where(is_left, labels, -1), "rh.": np.where(is_left, -1, labels)}


def func_labels(anat: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Bring an anatomical label volume, shape (x, y, z), to functional space as NSD does: winner
    takes all, -1 outside.
    """
    return map_winner_take_all(anat, coordinates, bad_value=-1)

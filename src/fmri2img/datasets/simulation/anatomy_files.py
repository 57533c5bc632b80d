"""A simulated subject's anatomy: the mean of its functional volumes, and its own cortical surface
between the voxels' grid and fsaverage, in the form of NSD's files (`datasets.nsd.anatomy_reader`).

The subject's surface is fsaverage5 itself, blown up to the ribbon of the simulated cortex and with
its vertices in another order.
"""

import gzip
from pathlib import Path, PurePosixPath

import nibabel as nib
import numpy as np
from scipy.spatial import cKDTree

from fmri2img.containers.anatomy import N_VERTICES
from fmri2img.datasets.marks import MARK
from fmri2img.datasets.nsd.paths import DEPTHS, on_disk
from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.datasets.simulation.cortex import Cortex, func_to_anat_mm, ribbon_mm
from fmri2img.datasets.simulation.simulated_brain import SimulatedBrain
from fmri2img.datasets.template_surface import vertex_directions
from fmri2img.project.files import write_bytes

_N_TEMPLATE = 163_842  # vertices of a hemisphere of fsaverage
_DEPTHS_MM = dict(zip(DEPTHS, (-0.9, 0.0, 0.9), strict=True))
_UNUSED = 100  # a place in MGH's header that holds nothing
_SIDES = {"lh": "left", "rh": "right"}
# Mean signal of cortex, of other tissue and around the head.
_CORTEX, _INSIDE, _OUTSIDE, _NOISE = 1100.0, 800.0, 60.0, 40.0


def write_anatomy(subject: SimulatedBrain) -> list[PurePosixPath]:
    """Write a subject's files; return their paths relative to the root."""
    root, files, cortex = subject.root, subject.files, subject.cortex
    rng = np.random.default_rng([subject.simulation.seed, 163, subject.number])
    written = [files.underlay("mean")]
    labels = subject.label_volumes[1]["nsdgeneral"]
    mean = np.where(subject.brain_mask, np.where(labels >= 0, _CORTEX, _INSIDE), _OUTSIDE)
    mean = mean + _NOISE * rng.standard_normal(mean.shape)
    voxel_mm = cortex.func_voxel_mm
    path = on_disk(root, written[0])
    write_volume(path, mean.astype(np.float32), voxel_mm, description=MARK)
    grid_mm = func_to_anat_mm(cortex)
    for side, name in _SIDES.items():
        order = rng.permutation(N_VERTICES)  # of the subject's own vertices among the template's
        directions = vertex_directions(name)[order]
        for depth, millimetres in _DEPTHS_MM.items():
            written.append(files.to_depth(side, depth))
            points = ribbon_mm(cortex, directions, millimetres)
            _write_surface(on_disk(root, written[-1]), _into_grid(cortex, grid_mm, points))
        written.append(files.to_template(side))
        nearest = np.argsort(order)[np.arange(_N_TEMPLATE) % N_VERTICES] + 1
        _write_surface(on_disk(root, written[-1]), nearest[:, None])
    return written


def _into_grid(cortex: Cortex, grid_mm: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
    """Return 1-based decimal coordinates (n, 3) of anatomical points in the functional grid: from
    the nearest voxel, as the warp is nearly rigid between neighbours.
    """
    centres = grid_mm.reshape(-1, 3)
    _, nearest = cKDTree(centres).query(points_mm)
    ijk = np.stack(np.unravel_index(nearest, grid_mm.shape[:3]), axis=1)
    rest = (points_mm - centres[nearest]) @ cortex.rotation / cortex.func_voxel_mm
    return ijk + rest + 1


def _write_surface(path: Path, values: np.ndarray) -> None:
    """Write numbers of each vertex, shape (n_vertices, n_columns), as MGZ."""
    shape = (len(values), 1, 1) if values.shape[1] == 1 else (len(values), 1, 1, values.shape[1])
    image = nib.MGHImage(values.astype(np.float32).reshape(shape), np.eye(4))
    content = bytearray(image.to_bytes())
    content[_UNUSED : _UNUSED + len(MARK)] = MARK.encode()
    # No time stamp: the same settings give the same bytes.
    write_bytes(path, gzip.compress(bytes(content), mtime=0))

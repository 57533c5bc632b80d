"""NSD's volumes below the voxels, and its way from the voxels' grid to fsaverage.

As ``nsd_mapdata`` goes from a functional volume to fsaverage: values at three depths of a subject's
own cortex (``func-to-layerB1`` to ``layerB3``, 1-based coordinates of each of its vertices), each
then taken at the vertex that fsaverage names (``white-to-fsaverage``, 1-based). fsaverage5 is the
first 10 242 vertices of fsaverage.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

from fmri2img.containers.anatomy import N_VERTICES, Anatomy
from fmri2img.datasets.nsd.paths import DEPTHS, SubjectFiles
from fmri2img.datasets.nsd.volumes import read_array, read_volume
from fmri2img.project.config import CollectAnatomyParams
from fmri2img.project.exceptions import FormatError, MismatchError
from fmri2img.project.files import check_file
from fmri2img.project.nsd_params import NsdParams
from fmri2img.provenance.receipts import RawFiles, Receipt

_SIDES = {"left": "lh", "right": "rh"}
_UNDERLAYS = {"mean": "mean of the functional volumes", "T1": "T1-weighted volume"}


def read_anatomy(
    raw: RawFiles,
    subject: str,
    nsd: NsdParams,
    params: CollectAnatomyParams,
    shape: tuple[int, int, int],
) -> Anatomy:
    """Read what the tree has of the anatomy that is asked for.

    Parameters
    ----------
    raw : RawFiles
        The subject's files of `datasets.fetching.subset`.
    subject : str
    nsd : NsdParams
    params : CollectAnatomyParams
    shape : tuple of int
        Grid (x, y, z) of the voxels.

    Raises
    ------
    FormatError
        If a file is damaged or of another form.
    MismatchError
        If the volume lies on another grid.
    """
    files = SubjectFiles(subject, nsd.func_space)
    nothing = Anatomy.nothing(subject, Receipt.common_source(raw.receipt))
    underlay, shown = nothing.underlay, ""
    if params.underlay != "none" and raw.lists(files.underlay(params.underlay)):
        underlay = _read_underlay(raw, files, params.underlay, shape)
        shown = _UNDERLAYS[params.underlay]
    sides = {
        side: _read_side(raw, files, prefix) if params.surface else np.zeros_like(nothing.left)
        for side, prefix in _SIDES.items()
    }
    receipts = {raw.name: {"md5": raw.receipt.md5(), "sha256_of_records": raw.receipt.digest()}}
    about = {**nothing.provenance, "underlay": shown, "receipts": receipts}
    return Anatomy(underlay, **sides, provenance=about)


def _read_underlay(
    raw: RawFiles, files: SubjectFiles, name: str, shape: tuple[int, int, int]
) -> np.ndarray:
    path = raw.locate(files.underlay(name))
    image = read_volume(path, remedy=raw.remedy)
    if image.shape != shape:
        raise MismatchError(
            f"{path}: grid {image.shape}, expected that of the voxels, {shape}; check the subject "
            f"and space, or set collect_anatomy.underlay to none; run: {raw.remedy}"
        )
    values = read_array(path, image, remedy=raw.remedy).astype(np.float32)
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def _read_side(raw: RawFiles, files: SubjectFiles, side: str) -> np.ndarray:
    """Return coordinates (n_depths, n_vertices, 3) of a hemisphere; no depths if a file is not in
    the tree.
    """
    depths = [files.to_depth(side, depth) for depth in DEPTHS]
    template = files.to_template(side)
    if not all(raw.lists(path) for path in (*depths, template)):
        return np.zeros((0, N_VERTICES, 3), np.float32)
    nearest = read_surface(raw.locate(template), 1, remedy=raw.remedy)[:N_VERTICES, 0]
    vertices = np.round(np.nan_to_num(nearest)).astype(np.int64) - 1
    layers = []
    for path in depths:
        coordinates = read_surface(raw.locate(path), 3, remedy=raw.remedy)
        if len(vertices) < N_VERTICES or vertices.min() < 0 or vertices.max() >= len(coordinates):
            raise MismatchError(
                f"{template}: names vertices {vertices.min() + 1} to {vertices.max() + 1} of "
                f"{len(vertices)}, expected {N_VERTICES} or more, of the {len(coordinates)} in "
                f"{path}; both files must be of one subject; run: {raw.remedy}"
            )
        layers.append(coordinates[vertices])
    return np.stack(layers)


def read_surface(path: Path, n_columns: int, *, remedy: str) -> np.ndarray:
    """Read numbers of each vertex from an MGZ file.

    Parameters
    ----------
    path : Path
    n_columns : int
        Numbers of a vertex.
    remedy : str
        The command that fetches the file.

    Returns
    -------
    ndarray, shape (n_vertices, n_columns), float32

    Raises
    ------
    FormatError
        If the file is damaged or of another form.
    """
    check_file(path, remedy)
    try:
        # Read whole, so that its checksum is compared.
        values = np.asarray(nib.MGHImage.from_bytes(igzip.decompress(path.read_bytes())).dataobj)
    except Exception as error:  # nibabel lets through what gzip, zlib and numpy raise
        raise FormatError(f"{path}: damaged, or no MGZ file ({error}); run: {remedy}") from error
    if not values.size or values.shape[0] * n_columns != values.size:
        raise FormatError(
            f"{path}: shape {values.shape}, expected {n_columns} numbers for each vertex; run: "
            f"{remedy}"
        )
    return values.reshape(values.shape[0], n_columns).astype(np.float32)

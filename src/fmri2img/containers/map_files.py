"""Maps of voxels as files that other programs open: NIfTI volumes, and GIFTI for surfaces."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from fmri2img.project.files import write_bytes

_LONGEST = 79  # characters of a NIfTI file's description


def write_map(path: Path, volume: np.ndarray, affine: np.ndarray, title: str) -> None:
    """Write a volume.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz``.
    volume : ndarray, shape (x, y, z), int16 or float32
    affine : ndarray, shape (4, 4)
        Voxel indices to millimetres.
    title : str
        What it shows, with unit.
    """
    image = nib.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = title.encode("ascii", "replace")[:_LONGEST]
    # No time stamp: the same data give the same bytes.
    write_bytes(path, gzip.compress(image.to_bytes(), mtime=0))


def write_surface_map(path: Path, values: np.ndarray, title: str, side: str) -> None:
    """Write numbers of each vertex, shape (n_vertices,), NaN where there are none.

    Parameters
    ----------
    path : Path
        Ends in ``.shape.gii``.
    values : ndarray, shape (n_vertices,), float32
    title : str
        What they are, with unit.
    side : str
        ``left`` or ``right``.
    """
    structure = f"Cortex{side.capitalize()}"
    array = nib.gifti.GiftiDataArray(
        values.astype(np.float32),
        intent="NIFTI_INTENT_SHAPE",
        datatype="NIFTI_TYPE_FLOAT32",
        meta=nib.gifti.GiftiMetaData({"Name": title}),
    )
    about = nib.gifti.GiftiMetaData({"AnatomicalStructurePrimary": structure, "Name": title})
    write_bytes(path, nib.gifti.GiftiImage(darrays=[array], meta=about).to_bytes())

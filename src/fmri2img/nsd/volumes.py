"""NIfTI volumes as NSD writes them: reading, the slab-centre affine and the MATLAB header."""

import io
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip
from nibabel.filebasedimages import ImageFileError

from fmri2img.exceptions import FormatError, MismatchError, MissingDataError
from fmri2img.files import write_bytes

# NSD's own headers have pixdim[0] = 0, on which nibabel would remark at every file.
logging.getLogger("nibabel.global").setLevel(logging.ERROR)


def slab_centre_affine(shape: tuple[int, ...], voxel_size: float) -> np.ndarray:
    """Return NSD's affine: diagonal, world origin at the exact centre of the slab.

    Parameters
    ----------
    shape : tuple of int
        Grid (x, y, z), further axes ignored.
    voxel_size : float
        Millimetres.

    Returns
    -------
    ndarray, shape (4, 4)
    """
    affine = np.diag([voxel_size, voxel_size, voxel_size, 1.0])
    affine[:3, 3] = -(np.asarray(shape[:3]) - 1) / 2 * voxel_size
    return affine


def read_volume(path: Path, *, remedy: str) -> nib.Nifti1Image:
    """Open a NIfTI file; its data stay on disk until ``np.asarray(image.dataobj)``.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If it is not NIfTI.
    """
    if not path.exists():
        raise MissingDataError(f"{path} not found; run: {remedy}")
    try:
        image = nib.load(path)
    except ImageFileError as error:
        raise FormatError(f"{path}: not a NIfTI file ({error}); run: {remedy}") from error
    if not isinstance(image, nib.Nifti1Image):
        raise FormatError(f"{path}: expected NIfTI-1, got {type(image).__name__}; run: {remedy}")
    return image


def check_same_grid(path: Path, image: nib.Nifti1Image, shape: tuple[int, ...], affine: np.ndarray, other: str) -> None:
    """Refuse a volume that does not lie on an expected grid.

    Raises
    ------
    MismatchError
        If the shape differs or the affine differs by more than float32 precision.
    """
    if image.shape[:3] != tuple(shape[:3]):
        raise MismatchError(
            f"{path}: grid {image.shape[:3]} does not match {other}, expected {tuple(shape[:3])}; check the subject and space"
        )
    if not np.allclose(image.affine, affine, atol=1e-3):
        raise MismatchError(
            f"{path}: affine translation {image.affine[:3, 3].round(2).tolist()} does not match {other}, "
            f"expected {affine[:3, 3].round(2).tolist()}; check the space"
        )


def nsd_header(shape: tuple[int, ...], dtype: np.dtype, voxel_size: float, *, tr: float, lowest: float, highest: float) -> bytes:
    """Return the 352 bytes that NSD's tools put before the data.

    Parameters
    ----------
    shape : tuple of int
        (x, y, z) or (x, y, z, n).
    dtype : dtype
        int16, float32 or float64.
    voxel_size : float
        Millimetres.
    tr : float
        Value of pixdim[4], which NSD fills even in three dimensions.
    lowest, highest : float
        Range of the data.

    Returns
    -------
    bytes
        A NIfTI-1 header with slope 0 ("no scaling"), sform code 1, and four zero bytes.
    """
    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(np.dtype(dtype).newbyteorder("<"))
    header.set_data_shape(shape)
    header["pixdim"] = [0, voxel_size, voxel_size, voxel_size, tr, 1, 1, 1]
    header["scl_slope"], header["scl_inter"] = 0, 0
    header["sform_code"], header["qform_code"] = 1, 0
    header["srow_x"], header["srow_y"], header["srow_z"] = slab_centre_affine(shape, voxel_size)[:3]
    header["aux_file"] = b"none"
    header["glmin"], header["glmax"] = round(lowest), round(highest)
    header["vox_offset"] = 352
    return header.binaryblock + b"\0\0\0\0"


def write_volume(path: Path, data: np.ndarray, voxel_size: float, *, tr: float = 1.0) -> None:
    """Write a gzipped NIfTI file with the header that NSD's own tools write.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz``.
    data : ndarray, shape (x, y, z) or (x, y, z, n)
        int16, float32 or float64.
    voxel_size : float
        Millimetres.
    tr : float
        Value of pixdim[4].
    """
    finite = data[np.isfinite(data)]
    lowest, highest = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    content = nsd_header(data.shape, data.dtype, voxel_size, tr=tr, lowest=lowest, highest=highest)
    content += data.astype(data.dtype.newbyteorder("<"), copy=False).tobytes(order="F")
    buffer = io.BytesIO()
    # A fixed time stamp and no file name: the same data give the same bytes.
    with igzip.IGzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=1) as file:
        file.write(content)
    write_bytes(path, buffer.getvalue())

"""NIfTI volumes as NSD writes them: reading, the slab-centre affine and the MATLAB header."""

import io
import logging
import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from fmri2img.project.exceptions import FormatError, MismatchError
from fmri2img.project.files import check_file, write_bytes

# NSD's own headers have pixdim[0] = 0, about which nibabel would warn for every file.
logging.getLogger("nibabel.global").setLevel(logging.ERROR)
# Errors on reading a truncated or damaged .gz: end too early, wrong checksum, broken stream.
_BROKEN_GZIP: Any = (EOFError, zlib.error, igzip.BadGzipFile, isal_zlib.error)
# Errors on reading a header; numbers in it that are NaN or far too large are among them.
_BAD_HEADER = (ImageFileError, HeaderDataError, WrapStructError, ValueError, OverflowError)
_MOST_PACKED = 1040  # deflate packs no tighter
_SAME_SPACE = "use an ROI of the same subject and functional space"
_HEADER_BYTES = 348
_LARGEST_OFFSET = 1 << 20
_READ_AHEAD_BYTES = 1 << 20


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
    check_file(path, remedy)
    try:
        image = nib.load(path)
    except (*_BAD_HEADER, *_BROKEN_GZIP) as error:
        raise FormatError(f"{path}: not a NIfTI file ({error}); run: {remedy}") from error
    if not isinstance(image, nib.Nifti1Image):
        raise FormatError(f"{path}: expected NIfTI-1, got {type(image).__name__}; run: {remedy}")
    return image


def read_array(path: Path, image: nib.Nifti1Image, *, remedy: str) -> np.ndarray:
    """Return a volume's data, shape as in the header, dtype as stored.

    Raises
    ------
    FormatError
        If the file ends too early, is damaged, or claims more than it can hold.
    """
    needed, held = math.prod(image.shape) * image.get_data_dtype().itemsize, path.stat().st_size
    if needed > held * _MOST_PACKED:
        raise FormatError(
            f"{path}: damaged or cut off ({held} bytes for a volume of {image.shape}); run: "
            f"{remedy}"
        )
    try:
        if path.suffix != ".gz":
            return np.asarray(image.dataobj)
        with igzip.open(path, "rb") as file:  # nibabel itself would use zlib
            values = np.asarray(
                nib.Nifti1Image.from_file_map({"image": FileHolder(fileobj=file)}).dataobj
            )
            file.read(1)  # the checksum is compared only at the end of the file
            return values
    except (OSError, ValueError, *_BROKEN_GZIP) as error:
        raise FormatError(f"{path}: damaged or cut off ({error}); run: {remedy}") from error


def stream_voxels(path: Path, mask: np.ndarray, *, remedy: str) -> Iterator[np.ndarray]:
    """Yield the voxels of a mask, volume by volume, from a compressed file of int16 volumes.

    Only one volume is in memory, and the file's checksum is verified after the last one.

    Parameters
    ----------
    path : Path
        ``.nii.gz``.
    mask : ndarray, shape (x, y, z), bool
    remedy : str
        The command that fetches the file.

    Yields
    ------
    ndarray, shape (n_voxels,), int16
        Voxels in C order over (x, y, z).

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If it is not a NIfTI file of int16 volumes, ends too early or is damaged.
    MismatchError
        If its grid is not the mask's.
    """
    for _, voxels in _stream(path, mask, _check_int16, remedy=remedy):
        yield voxels.astype(np.int16, copy=False)


def stream_values(path: Path, mask: np.ndarray, *, remedy: str) -> Iterator[np.ndarray]:
    """Yield the values of a mask's voxels, volume by volume, whatever number type the file has;
    otherwise as `stream_voxels`.

    Yields
    ------
    ndarray, shape (n_voxels,), float32
        Scaled as the header says.
    """
    for header, voxels in _stream(path, mask, _check_numbers, remedy=remedy):
        slope, intercept = _scaling(header)
        values: np.ndarray = voxels
        if (slope, intercept) != (1, 0):
            values = voxels.astype(np.float64) * slope + intercept
        yield values.astype(np.float32, copy=False)


def _check_int16(header: nib.Nifti1Header) -> str:
    dtype, (slope, intercept) = header.get_data_dtype(), _scaling(header)
    if dtype.newbyteorder("=") != np.int16 or len(header.get_data_shape()) != 4:
        return f"int16 volumes of shape (x, y, z, n), got {dtype} {header.get_data_shape()}"
    if (slope, intercept) != (1, 0):
        return f"unscaled integers, got slope {slope} and intercept {intercept}"
    return ""


def _check_numbers(header: nib.Nifti1Header) -> str:
    dtype, shape = header.get_data_dtype(), header.get_data_shape()
    if dtype.kind not in "iuf" or len(shape) != 4:
        return f"volumes of numbers of shape (x, y, z, n), got {dtype} {shape}"
    return ""


def _stream(
    path: Path, mask: np.ndarray, check: Callable[[nib.Nifti1Header], str], *, remedy: str
) -> Iterator[tuple[nib.Nifti1Header, np.ndarray]]:
    """Yield the header and the voxels of a mask as stored, volume by volume."""
    check_file(path, remedy)
    try:
        with igzip.open(path, "rb") as packed, io.BufferedReader(packed, _READ_AHEAD_BYTES) as file:
            header = _read_stream_header(file, path, mask, check, remedy)
            volume = np.empty(mask.size, dtype=header.get_data_dtype())
            # x runs fastest in the file.
            positions = np.ravel_multi_index(np.nonzero(mask), mask.shape, order="F")
            for index in range(header.get_data_shape()[3]):
                if (got := file.readinto(volume.data.cast("B"))) != volume.nbytes:
                    raise EOFError(f"volume {index + 1} has {got} of {volume.nbytes} bytes")
                yield header, volume[positions]
            file.read(1)  # the checksum is compared only at the end of the file
    except _BROKEN_GZIP as error:
        raise FormatError(f"{path}: damaged or cut off ({error}); run: {remedy}") from error


def _scaling(header: nib.Nifti1Header) -> tuple[float, float]:
    """Return slope and intercept as nibabel reads them: a slope of 0 or NaN is none."""
    slope, intercept = (float(header[name]) for name in ("scl_slope", "scl_inter"))
    return (1.0, 0.0) if slope == 0 or math.isnan(slope) else (slope, intercept)


def read_header(path: Path, *, remedy: str) -> nib.Nifti1Header:
    """Read only a volume's header.

    Raises
    ------
    MissingDataError, FormatError
        As `read_volume`.
    """
    header: nib.Nifti1Header = read_volume(path, remedy=remedy).header
    return header


def _read_stream_header(
    file: io.BufferedReader,
    path: Path,
    mask: np.ndarray,
    check: Callable[[nib.Nifti1Header], str],
    remedy: str,
) -> nib.Nifti1Header:
    start = file.read(_HEADER_BYTES)
    try:
        header = nib.Nifti1Header(start)
        offset = int(header.get_data_offset())
    except _BAD_HEADER as error:
        raise FormatError(f"{path}: not a NIfTI file ({error}); run: {remedy}") from error
    if not _HEADER_BYTES <= offset <= _LARGEST_OFFSET:
        raise FormatError(
            f"{path}: its header says that data begin at byte {offset}, expected 352; run: {remedy}"
        )
    if fault := check(header):
        raise FormatError(f"{path}: expected {fault}; run: {remedy}")
    shape = header.get_data_shape()
    if shape[:3] != mask.shape:
        raise MismatchError(
            f"{path}: grid {shape[:3]} does not match the ROI grid {mask.shape}; {_SAME_SPACE}"
        )
    file.read(offset - _HEADER_BYTES)
    return header


def check_same_grid(
    path: Path, image: nib.Nifti1Image, shape: tuple[int, ...], affine: np.ndarray, other: str
) -> None:
    """Refuse a volume that does not lie on an expected grid.

    Raises
    ------
    MismatchError
        If the shape differs or the affine differs by more than float32 precision.
    """
    if image.shape[:3] != tuple(shape[:3]):
        raise MismatchError(
            f"{path}: grid {image.shape[:3]} does not match {other}, expected {tuple(shape[:3])}; "
            "check the subject and space"
        )
    if not np.allclose(image.affine, affine, atol=1e-3):
        raise MismatchError(
            f"{path}: affine translation {image.affine[:3, 3].round(2).tolist()} does not match "
            f"{other}, "
            f"expected {affine[:3, 3].round(2).tolist()}; check the space"
        )


def nsd_header(
    shape: tuple[int, ...],
    dtype: np.dtype,
    voxel_size: float,
    *,
    tr: float,
    lowest: float,
    highest: float,
    description: str = "",
    affine: np.ndarray | None = None,
) -> bytes:
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
    description : str
        The field ``descrip``, up to 79 characters.
    affine : ndarray, shape (4, 4), optional
        NSD's own by default, with the world's origin in the centre of the slab.

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
    rows = (slab_centre_affine(shape, voxel_size) if affine is None else affine)[:3]
    header["srow_x"], header["srow_y"], header["srow_z"] = rows
    header["aux_file"], header["descrip"] = b"none", description.encode()
    header["glmin"], header["glmax"] = round(lowest), round(highest)
    header["vox_offset"] = 352
    return header.binaryblock + b"\0\0\0\0"


def write_volume(
    path: Path,
    data: np.ndarray,
    voxel_size: float,
    *,
    tr: float = 1.0,
    description: str = "",
    affine: np.ndarray | None = None,
) -> None:
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
    description : str
        The field ``descrip``, up to 79 characters.
    affine : ndarray, shape (4, 4), optional
        NSD's own by default.
    """
    finite = data[np.isfinite(data)]
    lowest, highest = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    content = nsd_header(
        data.shape,
        data.dtype,
        voxel_size,
        tr=tr,
        lowest=lowest,
        highest=highest,
        description=description,
        affine=affine,
    )
    content += data.astype(data.dtype.newbyteorder("<"), copy=False).tobytes(order="F")
    buffer = io.BytesIO()
    # A fixed time stamp and no file name: the same data give the same bytes.
    with igzip.IGzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=1) as file:
        file.write(content)
    write_bytes(path, buffer.getvalue())

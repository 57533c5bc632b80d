"""Arrays in HDF5 files that need not fit into memory: written block by block, joined from
pieces, read on demand.
"""

import io
import tokenize
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fmri2img.project.exceptions import FormatError

# On betas, level 1 comes within 1 % of level 4 and is a quarter faster; shuffling separates the
# noisy low bytes from the rest.
# What NumPy raises on files that are no plain arrays: their headers are Python, which it parses.
NOT_AN_ARRAY = (ValueError, OSError, EOFError, SyntaxError, tokenize.TokenError)
# Bytes that one byte of a compressed file may stand for: the format's limit is 1032.
_MOST_A_BYTE = 1100
_MOST_FILTERS = 3  # gzip, shuffle, checksum
_SMALL_CLAIM = 1 << 26  # bytes that do no harm, as of arrays that were never written
_COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
_CHUNK_BYTES = 1 << 20
# A chunk of betas holds a session's 750 trials, so that a session or a group of voxels can be read
# without the others.
_MATRIX_CHUNK = (750, 128)
_PLAIN_BELOW = 10_000  # values; smaller arrays are stored as they are


class _WritableFile(io.RawIOBase):
    """A new file that keeps write errors from HDF5, which crashes on closing a file that it cannot
    write, and remembers the error.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self.refusal: OSError | None = None

    def write(self, content: Any) -> int:
        left = memoryview(content).cast("B")
        n_bytes = len(left)
        while left and self.refusal is None:
            try:
                left = left[self._file.write(left) :]
            except OSError as error:
                self.refusal = error
        return n_bytes

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer) or 0

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.refusal = error
            return size or 0

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


@contextmanager
def writing(path: Path) -> Iterator[h5py.File]:
    """Open a new HDF5 file.

    Raises
    ------
    OSError
        If a write failed; has the error number and the path, and is raised when the file is closed
        at the latest.
    """
    with _WritableFile(path) as target:
        try:
            with h5py.File(target, "w") as file:
                yield file
        finally:
            if target.refusal is not None:
                raise OSError(
                    target.refusal.errno, target.refusal.strerror, str(path)
                ) from target.refusal


def chunk_shape(shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, ...] | None:
    """Return the chunk shape of an array; None if it is small and stored in one piece."""
    if int(np.prod(shape)) < _PLAIN_BELOW:
        return None
    if len(shape) == 2:
        return (min(shape[0], _MATRIX_CHUNK[0]), min(shape[1], _MATRIX_CHUNK[1]))
    row_bytes = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
    return (max(1, min(shape[0], _CHUNK_BYTES // row_bytes)), *shape[1:])


def create_array(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype
) -> h5py.Dataset:
    """Add an empty array to an open file."""
    chunks = chunk_shape(shape, dtype)
    return file.create_dataset(
        name, shape, dtype, **({"chunks": chunks, **_COMPRESSION} if chunks else {})
    )


@dataclass(frozen=True)
class StoredArray:
    """An array that stays in its file; indexing reads from it.

    Attributes
    ----------
    path : Path
    name : str
    shape : tuple of int
    dtype : dtype
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        with h5py.File(self.path, "r", locking=False) as file:
            return file[self.name][index]


@dataclass(frozen=True)
class StreamedArray:
    """An array to be written, block by block.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    blocks : callable
        Returns an iterator of (index, values): the position of each block, and the block.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterator[tuple[Any, np.ndarray]]]

    def __len__(self) -> int:
        return self.shape[0]


@dataclass(frozen=True)
class JoinedArray:
    """An array to be written that concatenates the rows of the same-named arrays of several files.

    Compressed chunks are copied without decompression.

    Attributes
    ----------
    paths : tuple of Path
    name : str
    shape : tuple of int
    dtype : dtype
    """

    paths: tuple[Path, ...]
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def read_columns(self, which: slice) -> np.ndarray:
        """Read some columns of all rows, shape (n_rows, n)."""
        parts = []
        for path in self.paths:
            with h5py.File(path, "r", locking=False) as file:
                parts.append(file[self.name][:, which])
        return np.concatenate(parts)

    def __len__(self) -> int:
        return self.shape[0]


def array_fault(file: h5py.File, name: str, *, may_be_virtual: bool = False) -> str:
    """Return why a name of an HDF5 file is no array that lies in the file itself; empty if it is.

    A file from elsewhere may hold links to other files of the reader, or arrays whose values are
    read from them.

    Parameters
    ----------
    file : File
    name : str
    may_be_virtual : bool
        Whether it may combine arrays of files in the same folder.
    """
    link = file.get(name, getlink=True)
    if link is None and name in list(file):
        return f"{name} is a link that leads nowhere, expected an array"
    if link is None:
        return f"no array {name} among {', '.join(file) or 'none'}"
    if not isinstance(link, h5py.HardLink):
        return f"{name} is a link to {getattr(link, 'filename', '')}{link.path}, expected an array"
    array = file[name]
    if not isinstance(array, h5py.Dataset) or array.shape is None:
        return f"{name} is a {type(array).__name__.lower()} without a shape, expected an array"
    if fault := _claim_fault(array):
        return f"{name} {fault}"
    if array.external:
        return f"{name} keeps its values in {array.external[0][0]}, expected them in the file"
    sources = (
        {source.file_name for source in array.virtual_sources()} if array.is_virtual else set()
    )
    sources -= {"."}  # HDF5's name for the file itself
    if sources and not may_be_virtual:
        return f"{name} takes its values from {min(sources)}, expected them in the file"
    if elsewhere := [source for source in sources if Path(source).name != source]:
        return f"{name} takes its values from {min(elsewhere)}, expected files of its own folder"
    return _part_fault(file, array) if sources else ""


def _part_fault(file: h5py.File, array: h5py.Dataset) -> str:
    """Return why an array that is combined from others is not all in files beside its own, as if
    one of them is a link; empty if it is. Files that are not there count as empty.
    """
    parts = {(source.file_name, source.dset_name) for source in array.virtual_sources()}
    for name, inside in sorted(parts):
        path = Path(file.filename).with_name(name)
        if name != "." and path.exists():
            with h5py.File(path, "r", locking=False) as part:
                if fault := array_fault(part, inside.removeprefix("/")):
                    return f"{array.name.removeprefix('/')}: in {name}: {fault}"
    return ""


def _claim_fault(array: h5py.Dataset) -> str:
    """Return why an array is larger than what its file can hold of it; empty if it is not."""
    held, filters = array.id.get_storage_size(), array.id.get_create_plist().get_nfilters()
    is_known = array.compression in (None, "gzip") and filters <= _MOST_FILTERS
    if array.external or array.nbytes <= _SMALL_CLAIM or (held and not is_known):
        return ""
    if array.is_virtual:
        return "" if array.virtual_sources() else "takes its values from nowhere"
    if array.nbytes > (_MOST_A_BYTE * held if array.chunks else held):
        return f"claims {array.nbytes} bytes, and the file holds {held}, expected all of them"
    return ""


AnyArray = np.ndarray | StoredArray | StreamedArray | JoinedArray


def write_array(file: h5py.File, name: str, values: AnyArray) -> None:
    """Add an array of any kind to an open file."""
    if isinstance(values, JoinedArray):
        _join(file, name, values)
        return
    if isinstance(values, np.ndarray) and values.dtype.kind == "U":
        file.create_dataset(name, data=values.astype(object), dtype=h5py.string_dtype())
        return
    target = create_array(file, name, values.shape, values.dtype)
    if isinstance(values, StreamedArray):
        for index, block in values.blocks():
            target[index] = block
    elif target.size:
        target[()] = values[()]


def _join(file: h5py.File, name: str, values: JoinedArray) -> None:
    target = create_array(file, name, values.shape, values.dtype)
    first = 0
    for path in values.paths:
        with h5py.File(path, "r", locking=False) as piece:
            source = piece[name]
            n_rows = len(source)
            if (
                target.chunks is None
                or source.chunks != target.chunks
                or first % target.chunks[0]
                or n_rows % target.chunks[0]
            ):
                target[first : first + n_rows] = source[()]
            else:
                for offset in _chunk_offsets(source.shape, source.chunks):
                    mask, content = source.id.read_direct_chunk(offset)
                    target.id.write_direct_chunk((first + offset[0], *offset[1:]), content, mask)
            first += n_rows


def _chunk_offsets(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    counts = [-(-extent // step) for extent, step in zip(shape, chunks, strict=True)]
    for index in np.ndindex(*counts):
        yield tuple(int(position) * step for position, step in zip(index, chunks, strict=True))


def read_arrays(path: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """Read arrays by name from any HDF5 file, of any shape.

    Raises
    ------
    FormatError
        If it is not an HDF5 file, lacks an array, or takes it from another file.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            for name in names:
                if fault := array_fault(file, name):
                    raise FormatError(f"{path}: {fault}; write it under that name")
            return [file[name][()] for name in names]
    except FormatError:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{path}: neither a folder nor a readable HDF5 file ({error}); name one of them"
        ) from error

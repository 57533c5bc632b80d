"""Betas in volumes: a file for each session, or one for all, as GLMsingle and others write them."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
import pandas as pd

from fmri2img.containers.storage import NOT_AN_ARRAY, array_fault
from fmri2img.datasets.nsd.volumes import (
    check_same_grid,
    read_header,
    read_volume,
    stream_values,
)
from fmri2img.datasets.protocol import Region, Resources
from fmri2img.datasets.session_faults import without_coverage
from fmri2img.project.exceptions import FormatError, MismatchError
from fmri2img.provenance.receipts import RawFiles

TRIALS = "trials.csv"
_NIFTI, _HDF5, _NUMPY = (".nii.gz", ".nii"), (".hdf5", ".h5", ".mat"), (".npy",)
SUFFIXES = (*_NIFTI, *_HDF5, *_NUMPY)
# Arrays of HDF5 files, and whether trials are their first axis: NSD's own, GLMsingle's in MATLAB
# (modelmd, whose axes HDF5 has in reverse), and GLMsingle's in Python.
_TRIALS_FIRST = {"betas": True, "modelmd": True, "betasmd": False}
_TRIALS_AT_ONCE = 16
_SESSION = re.compile(r"ses(?:sion)?[-_]?(\d+)", re.IGNORECASE)
_PICKLED = (
    "it holds a pickled dictionary, which GLMsingle writes unless wanthdf5 is 1, and pickles are "
    "not loaded; write its array where you trust the file: "
    "h5py.File('betas.hdf5', 'w')['betasmd'] = "
    "numpy.load(..., allow_pickle=True).item()['betasmd'], and move the .npy away"
)


def beta_files(folder: Path) -> list[PurePosixPath]:
    """Return a subject's files of betas, relative to its folder: one for all sessions, or those
    in ``betas/``, by name.

    Raises
    ------
    FormatError
        If betas are there in more than one form.
    """
    whole = [PurePosixPath(f"betas{suffix}") for suffix in SUFFIXES]
    here = [file for file in whole if (folder / file).is_file()]
    inside = (folder / "betas").glob("[!.]*") if (folder / "betas").is_dir() else ()
    names = sorted(path.name for path in inside if path.name.endswith(SUFFIXES))
    files = [*here, *(PurePosixPath("betas") / name for name in names)]
    if here and len(files) > 1:
        raise FormatError(
            f"{folder}: betas are there twice, as {files[0]} and {files[1]}; keep one of them"
        )
    return files


def files_of_sessions(
    files: Sequence[PurePosixPath], sessions: Sequence[int]
) -> dict[int, PurePosixPath]:
    """Return the file of each session; all have the same one if there is one beside ``betas/``.

    Parameters
    ----------
    files : sequence of PurePosixPath
        As `beta_files` finds them.
    sessions : sequence of int
        Of the table of trials, ascending.

    Raises
    ------
    MismatchError
        If they do not belong together: by their numbers, if names have them.
    """
    if len(files) == 1 and files[0].name.startswith("betas."):
        return dict.fromkeys(sessions, files[0])
    folder = files[0].parent if files else PurePosixPath("betas")
    if len(files) != len(sessions):
        raise MismatchError(
            f"{folder}: {len(files)} files, expected {len(sessions)}, one for each session of "
            f"{TRIALS}; complete the folder, or correct the table"
        )
    numbers = [_session_number(file.name) for file in files]
    if None in numbers:
        return dict(zip(sessions, sorted(files, key=_natural), strict=True))
    numbered = dict(zip(numbers, files, strict=True))
    if absent := sorted({*sessions} - numbered.keys()):
        raise MismatchError(
            f"{folder}: no file of session {absent[0]} of {TRIALS}, only of "
            f"{', '.join(map(str, sorted(filter(None, numbered))))}; name the files by session, or "
            "correct the table"
        )
    return {session: numbered[session] for session in sessions}


def _session_number(name: str) -> int | None:
    """Return the session that a file's name has: after "ses", or its only number."""
    numbers = _SESSION.findall(name) or re.findall(r"\d+", name.partition(".")[0])
    return int(numbers[0]) if len(numbers) == 1 else None


def _natural(file: PurePosixPath) -> list[tuple[int, str]]:
    """Sort 2 before 10."""
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]


@dataclass(frozen=True)
class SessionBetas:
    """One session's betas.

    Attributes
    ----------
    path : Path
    first : int
        Volume of its first trial in the file, from 0.
    n_trials : int
    n_volumes : int
        Volumes that the file must hold.
    affine : tuple of tuple of float
        Where the regions' voxels lie; NIfTI files must agree.
    sha256, remedy : str
    """

    path: Path
    first: int
    n_trials: int
    n_volumes: int
    affine: tuple[tuple[float, ...], ...]
    sha256: str
    remedy: str

    @property
    def name(self) -> str:
        """What errors call it."""
        return str(self.path)

    def identity(self) -> str:
        """Return a text that stands for every byte and setting that decides the result."""
        place = f"{self.first} {self.n_trials} {self.n_volumes} {self.affine}"
        return f"{self.sha256} {self.path.suffix} {place}"

    def read(self, mask: np.ndarray) -> np.ndarray:
        """Return betas of a mask's voxels in C order, shape (n_trials, n_voxels), float32; NaN:
        missing.
        """
        if self.path.name.endswith(".nii.gz"):
            betas = self._read_packed(mask)
        else:
            with self._opened() as (array, trials_first):
                self._check_shape(array.shape, mask, trials_first=trials_first)
                read = _trials_first if trials_first else _trials_last
                betas = read(array, mask, slice(self.first, self.first + self.n_trials))
        return without_coverage(betas)  # a voxel that is 0 in every trial is not valid

    def _read_packed(self, mask: np.ndarray) -> np.ndarray:
        shape = read_header(self.path, remedy=self.remedy).get_data_shape()
        self._check_shape(shape, mask, trials_first=False)
        self._check_place(mask)
        betas = np.empty((self.n_trials, int(mask.sum())), np.float32)
        for number, values in enumerate(stream_values(self.path, mask, remedy=self.remedy)):
            if self.first <= number < self.first + self.n_trials:
                betas[number - self.first] = values
        return betas

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, bool]]:
        """Open the array on disk; yields it, and whether trials are its first axis."""
        if self.path.suffix == ".nii":
            yield from self._opened_nifti()
        elif self.path.suffix == ".npy":
            yield _mapped(self.path), False
        else:
            yield from self._opened_hdf5()

    def _opened_nifti(self) -> Iterator[tuple[Any, bool]]:
        image = read_volume(self.path, remedy=self.remedy)
        self._check_place(np.empty(image.shape[:3], bool))
        if image.get_data_dtype().kind not in "iuf":
            raise FormatError(
                f"{self.path}: volumes of {image.get_data_dtype()}, expected numbers; write the "
                "file anew"
            )
        try:
            yield image.dataobj, False
        except (OSError, ValueError) as error:
            raise FormatError(
                f"{self.path}: damaged or cut off ({error}); run: {self.remedy}"
            ) from error

    def _opened_hdf5(self) -> Iterator[tuple[Any, bool]]:
        with _hdf5(self.path) as file:
            names = [name for name in _TRIALS_FIRST if name in file]
            if len(names) != 1:
                raise FormatError(
                    f"{self.path}: got {', '.join(file) or 'no arrays'}, expected one of "
                    f"{', '.join(_TRIALS_FIRST)}; write betas (trials, z, y, x), or keep the array "
                    "of GLMsingle"
                )
            if fault := array_fault(file, names[0]):
                raise FormatError(f"{self.path}: {fault}; write the file anew")
            if file[names[0]].dtype.kind not in "iuf":
                raise FormatError(
                    f"{self.path}: {names[0]} is {file[names[0]].dtype}, expected numbers; write "
                    "the file anew"
                )
            yield file[names[0]], _TRIALS_FIRST[names[0]]

    def _check_place(self, mask: np.ndarray) -> None:
        image = read_volume(self.path, remedy=self.remedy)
        check_same_grid(self.path, image, mask.shape, np.array(self.affine), "the regions")

    def _check_shape(self, shape: tuple[int, ...], mask: np.ndarray, *, trials_first: bool) -> None:
        grid, n_volumes = (shape[:0:-1], shape[0]) if trials_first else (shape[:-1], shape[-1])
        if len(shape) != 4 or grid != mask.shape:
            raise MismatchError(
                f"{self.path}: got an array of {shape}, expected four axes, of them the grid "
                f"{mask.shape} of the regions; write volumes on that grid, or betas.npy (trials, "
                "voxels) with voxels.csv"
            )
        if n_volumes != self.n_volumes:
            raise MismatchError(
                f"{self.path}: got {n_volumes} volumes, expected {self.n_volumes}, the trials of "
                "trials.csv; correct the table, or write the betas anew"
            )


@contextmanager
def _hdf5(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        remedy = "save it with -v7.3" if path.suffix == ".mat" else "write the file anew"
        raise FormatError(f"{path}: not a readable HDF5 file ({error}); {remedy}") from error


def _mapped(path: Path) -> np.ndarray:
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except NOT_AN_ARRAY as error:
        if "pickle" in str(error).lower() or "python objects" in str(error).lower():
            raise FormatError(f"{path}: {_PICKLED}") from error
        raise FormatError(f"{path}: not an array ({error}); write it with numpy.save") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise FormatError(f"{path}: expected one array of numbers; write it with numpy.save")
    return array


def _trials_first(array: Any, mask: np.ndarray, rows: slice) -> np.ndarray:
    """Read voxels of (trials, z, y, x), some trials at a time."""
    betas = np.empty((rows.stop - rows.start, int(mask.sum())), np.float32)
    for start in range(rows.start, rows.stop, _TRIALS_AT_ONCE):
        stop = min(start + _TRIALS_AT_ONCE, rows.stop)
        block = np.asarray(array[start:stop]).transpose(0, 3, 2, 1)
        betas[start - rows.start : stop - rows.start] = block[:, mask]
    return betas


def _trials_last(array: Any, mask: np.ndarray, rows: slice) -> np.ndarray:
    """Read voxels of (x, y, z, trials), a plane at a time: trials run fastest in most files."""
    slabs = [
        np.asarray(array[x, :, :, rows], dtype=np.float32)[mask[x]]
        for x in np.flatnonzero(mask.any(axis=(1, 2)))
    ]
    return np.ascontiguousarray(np.concatenate(slabs).T)


def sessions_in_volumes(
    raw: RawFiles, region: Region, chosen: Collection[int], resources: Resources
) -> list[SessionBetas]:
    """Return where the betas of each chosen session are.

    Raises
    ------
    MismatchError
        If the files are not those of the sessions in the table of trials.
    """
    folder = PurePosixPath(raw.name)
    table = pd.read_csv(raw.locate(folder / TRIALS), usecols=["session"])
    n_trials = table["session"].value_counts(sort=False)  # in the order of the table
    whole = [file for file in raw.folder(folder) if file.name.startswith("betas.")]
    try:
        files = files_of_sessions(whole or raw.folder(folder / "betas"), list(n_trials.index))
    except MismatchError as error:
        raise MismatchError(f"{raw.root}: {error}, then run: {raw.remedy}") from error
    first = n_trials.cumsum() - n_trials
    affine = tuple(tuple(row) for row in region.affine.tolist())
    sha256 = {record.path: record.sha256 for record in raw.receipt.files}
    sources = []
    for session, file in files.items():
        if session in chosen:
            sources.append(
                SessionBetas(
                    raw.locate_all([file], watch=resources.watch)[0].absolute(),
                    int(first[session]) if whole else 0,
                    int(n_trials[session]),
                    int(n_trials.sum() if whole else n_trials[session]),
                    affine,
                    sha256[str(file)],
                    raw.remedy,
                )
            )
    return sources

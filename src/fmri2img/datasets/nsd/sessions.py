"""Sessions in parallel: each is read in its own process, which writes a piece to disk as soon as
it is done.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

import h5py
import numpy as np
import pandas as pd

from fmri2img.containers.storage import JoinedArray, write_array, writing
from fmri2img.datasets.nsd.betas import read_session_betas
from fmri2img.datasets.nsd.design import (
    RUNS_PER_SESSION,
    TR_SECONDS,
    TRIALS_PER_SESSION,
    rest_runs_shift,
)
from fmri2img.datasets.nsd.paths import SubjectFiles, subject_number
from fmri2img.datasets.nsd.timeseries import RunFiles, read_session_responses
from fmri2img.datasets.session_faults import session_fault
from fmri2img.project.config import MachineParams, NsdParams, SessionLimits, TimeseriesParams
from fmri2img.project.exceptions import FormatError
from fmri2img.project.files import replacing
from fmri2img.project.parallel import run_jobs
from fmri2img.provenance.receipts import RawFiles, Watch
from fmri2img.provenance.stage_fingerprints import code_digest

Progress = Callable[..., Iterable]
_SATURATED = (-32_768, 32_767)


@dataclass(frozen=True)
class Pieces:
    """One file per session, with ``betas`` (750, n_voxels), and ``valid`` and ``saturated``
    (n_voxels,).

    Attributes
    ----------
    paths : tuple of Path
        One file for each session, in the order of sessions.
    """

    paths: tuple[Path, ...]

    @property
    def betas(self) -> Any:
        """All sessions' betas one after another, still on disk: a `storage.JoinedArray`, shape
        (n_trials, n_voxels), int16.
        """
        with h5py.File(self.paths[0], "r", locking=False) as file:
            shape, dtype = file["betas"].shape, file["betas"].dtype
        return JoinedArray(
            self.paths, "betas", (TRIALS_PER_SESSION * len(self.paths), shape[1]), dtype
        )

    def columns(self, voxels: slice) -> np.ndarray:
        """Read all trials of some voxels, shape (n_trials, n), int16."""
        return np.concatenate([_read(path, "betas", (slice(None), voxels)) for path in self.paths])

    def stack(self, name: str) -> np.ndarray:
        """Read ``valid`` or ``saturated``, shape (n_sessions, n_voxels)."""
        return np.stack([_read(path, name, ()) for path in self.paths])

    def narrow(self, kept: np.ndarray, machine: MachineParams) -> Self:
        """Write pieces with some of the voxels; the full pieces stay, for another selection.

        Parameters
        ----------
        kept : ndarray, shape (n_voxels,), bool
        machine : MachineParams
        """
        which = hashlib.sha256(np.packbits(kept).tobytes()).hexdigest()[:8]
        narrow = tuple(path.with_name(f"{path.stem}-{which}.h5") for path in self.paths)
        for _ in run_jobs(
            _narrow_piece,
            [(path, kept, target) for path, target in zip(self.paths, narrow, strict=True)],
            machine,
        ):
            pass
        return type(self)(narrow)


def _read(path: Path, name: str, index: Any) -> np.ndarray:
    with h5py.File(path, "r", locking=False) as file:
        return file[name][index]


@dataclass(frozen=True)
class BetasSource:
    """One session's betas file."""

    path: Path
    sha256: str
    remedy: str

    def read(self, mask: np.ndarray) -> np.ndarray:
        """Return stored units, shape (750, n_voxels), int16."""
        return read_session_betas(self.path, mask, remedy=self.remedy)

    @property
    def name(self) -> str:
        """What errors call it."""
        return str(self.path)

    @property
    def volumes(self) -> list[Path]:
        """NIfTI files, which say where their grid lies."""
        return [] if self.path.suffix == ".hdf5" else [self.path]

    def identity(self) -> str:
        """Return a text that stands for every byte and setting that decides the result."""
        return self.sha256


@dataclass(frozen=True)
class TimeseriesSource:
    """One session's runs, and how a response is read from them."""

    runs: list[RunFiles]
    params: TimeseriesParams
    tr_seconds: float
    sha256: tuple[str, ...]
    remedy: str

    def read(self, mask: np.ndarray) -> np.ndarray:
        """Return stored units, shape (750, n_voxels), int16."""
        return read_session_responses(
            self.runs, mask, self.params, self.tr_seconds, remedy=self.remedy
        )

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"runs from {self.runs[0].volumes}"

    @property
    def volumes(self) -> list[Path]:
        """NIfTI files, which say where their grid lies."""
        return [run.volumes for run in self.runs]

    def identity(self) -> str:
        """Return a text that stands for every byte and setting that decides the result."""
        return json.dumps([self.sha256, self.params.model_dump(), self.tr_seconds])


Source = BetasSource | TimeseriesSource


def locate_sessions(
    raw: RawFiles,
    sessions: list[int],
    trials: pd.DataFrame,
    nsd: NsdParams,
    params: TimeseriesParams,
    *,
    watch: Watch,
) -> list[Source]:
    """Locate every session's files, checked against the receipt.

    Parameters
    ----------
    raw : RawFiles
    sessions : list of int
        Session numbers, from 1.
    trials : DataFrame
        From `design.read_responses`.
    nsd : NsdParams
    params : TimeseriesParams
        Windows of responses from time series.
    watch : callable
        Opens a progress bar, in bytes, for files that have to be hashed.

    Returns
    -------
    list of BetasSource or TimeseriesSource
        With absolute paths: a job may run in another folder, on another machine.
    """
    files = SubjectFiles(raw.name, nsd.func_space)
    sha256 = {record.path: record.sha256 for record in raw.receipt.files}
    if nsd.responses == "betas":
        names = [files.betas(nsd.beta_version, session, nsd.beta_format) for session in sessions]
        paths = [path.absolute() for path in raw.locate_all(names, watch=watch)]
        return [
            BetasSource(path, sha256[str(name)], raw.remedy)
            for path, name in zip(paths, names, strict=True)
        ]
    sources: list[Source] = []
    shown = trials.groupby(["session", "run"])["image_id"]
    for session in sessions:
        shift = rest_runs_shift(subject_number(raw.name), session)
        run_numbers = range(1, RUNS_PER_SESSION + 1)
        names = [name for run in run_numbers for name in _run_names(files, session, run + shift)]
        paths = [path.absolute() for path in raw.locate_all(names, watch=watch)]
        runs = [
            RunFiles(volumes, onsets, shown.get_group((session, run)).to_numpy())
            for run, volumes, onsets in zip(run_numbers, paths[::2], paths[1::2], strict=True)
        ]
        hashes = tuple(sha256[str(name)] for name in names)
        sources.append(
            TimeseriesSource(runs, params, TR_SECONDS[nsd.func_space], hashes, raw.remedy)
        )
    return sources


def _run_names(
    files: SubjectFiles, session: int, file_run: int
) -> tuple[PurePosixPath, PurePosixPath]:
    return files.timeseries(session, file_run), files.design(session, file_run)


def read_sessions(
    sources: list[Source],
    mask: np.ndarray,
    workspace: Path,
    machine: MachineParams,
    *,
    progress: Progress,
) -> Pieces:
    """Read each session that has no piece yet.

    Parameters
    ----------
    sources : list of BetasSource or TimeseriesSource
    mask : ndarray, shape (x, y, z), bool
    workspace : Path
        Folder of the pieces; their names identify the bytes and voxels they were made from.
    machine : MachineParams
    progress : callable
    """
    workspace = workspace.absolute()
    voxels = hashlib.sha256(
        np.packbits(mask).tobytes() + repr(mask.shape).encode() + _code()
    ).hexdigest()
    pieces = [
        workspace / f"{hashlib.sha256((voxels + source.identity()).encode()).hexdigest()[:16]}.h5"
        for source in sources
    ]
    waiting = [
        (source, mask, piece, machine.session_limits)
        for source, piece in zip(sources, pieces, strict=True)
        if not piece.exists()
    ]
    done = len(pieces) - len(waiting)
    for _ in progress(
        run_jobs(_make_piece, waiting, machine), total=len(pieces), initial=done, desc="sessions"
    ):
        pass
    return Pieces(tuple(pieces))


def _code() -> bytes:
    """Identify the code that makes a piece: pieces from before a change of its meaning are not
    used.
    """
    return code_digest("fmri2img.datasets.nsd.extraction.extract_betas").encode()


def _make_piece(source: Source, mask: np.ndarray, piece: Path, limits: SessionLimits) -> None:
    """Read one session and write it to disk; runs in its own process."""
    betas = source.read(mask)
    if fault := session_fault(betas, limits):
        raise FormatError(
            f"{source.name}: {fault}; it is empty, cut or damaged; run: {source.remedy}"
        )
    with replacing(piece) as partial, writing(partial) as file:
        write_array(file, "betas", betas)
        # int16 cannot hold NaN: a voxel without data in a session is 0 in all its trials.
        write_array(file, "valid", (betas != 0).any(axis=0))
        write_array(
            file,
            "saturated",
            sum((betas == limit).sum(axis=0, dtype=np.int16) for limit in _SATURATED),
        )


def _narrow_piece(piece: Path, kept: np.ndarray, target: Path) -> None:
    with (
        h5py.File(piece, "r", locking=False) as source,
        replacing(target) as partial,
        writing(partial) as file,
    ):
        for name in ("betas", "valid", "saturated"):
            write_array(file, name, source[name][()][..., kept])

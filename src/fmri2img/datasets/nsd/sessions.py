"""What holds the responses of each session, betas or time series."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from fmri2img.datasets.nsd.betas import read_session_betas
from fmri2img.datasets.nsd.design import (
    RUNS_PER_SESSION,
    TR_SECONDS,
    rest_runs_shift,
)
from fmri2img.datasets.nsd.paths import SubjectFiles, subject_number
from fmri2img.datasets.nsd.timeseries import RunFiles, read_session_responses
from fmri2img.datasets.pieces import Pieces, read_pieces
from fmri2img.project.config import MachineParams, TimeseriesParams
from fmri2img.project.nsd_params import NsdParams
from fmri2img.provenance.receipts import RawFiles, Watch
from fmri2img.provenance.stage_fingerprints import code_digest

Progress = Callable[..., Iterable]


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
        Folder of the pieces.
    machine : MachineParams
    progress : callable
    """
    return read_pieces(sources, mask, workspace, machine, code=_code(), progress=progress)


def _code() -> bytes:
    """Identify the code that makes a piece: pieces from before a change of its meaning are not
    used.
    """
    return code_digest("fmri2img.datasets.nsd.extraction.extract_betas").encode()

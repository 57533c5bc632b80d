"""Sessions in parallel: each is read in its own process, which writes a piece to disk as soon as
it is done.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import h5py
import numpy as np

from fmri2img.containers.storage import JoinedArray, write_array, writing
from fmri2img.datasets.session_faults import session_fault
from fmri2img.project.config import MachineParams, SessionLimits
from fmri2img.project.exceptions import FormatError
from fmri2img.project.files import replacing
from fmri2img.project.parallel import run_jobs

Progress = Callable[..., Iterable]
_SATURATED = (-32_768, 32_767)
_VOXELS_AT_ONCE = 512  # voxels whose trials are all in memory while ncsnr is estimated


class Source(Protocol):
    """What holds one session's responses; it travels to another process."""

    @property
    def remedy(self) -> str:
        """The command that brings its files."""

    @property
    def name(self) -> str:
        """What errors call it."""

    def read(self, mask: np.ndarray) -> np.ndarray:
        """Return responses of a mask's voxels, shape (n_trials, n_voxels), int16 or float32."""

    def identity(self) -> str:
        """Return a text that stands for every byte and setting that decides the result."""


@dataclass(frozen=True)
class Pieces:
    """One file per session, with ``betas`` (n_trials, n_voxels), and ``valid`` and ``saturated``
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
        (n_trials, n_voxels), int16 or float32.
        """
        shapes = []
        for path in self.paths:
            with h5py.File(path, "r", locking=False) as file:
                shapes.append(file["betas"].shape)
                dtype = file["betas"].dtype
        n_trials = sum(shape[0] for shape in shapes)
        return JoinedArray(self.paths, "betas", (n_trials, shapes[0][1]), dtype)

    def stack(self, name: str) -> np.ndarray:
        """Read ``valid`` or ``saturated``, shape (n_sessions, n_voxels)."""
        return np.stack([_read(path, name, ()) for path in self.paths])

    def ncsnr(
        self,
        sessions: np.ndarray,
        image_ids: np.ndarray,
        is_training: np.ndarray,
        *,
        estimate: Callable[..., np.ndarray],
        progress: Progress,
    ) -> np.ndarray:
        """Estimate ncsnr from the trials that are for training, a group of voxels at a time.

        Parameters
        ----------
        sessions, image_ids, is_training : ndarray, shape (n_trials,)
        estimate : callable
            ncsnr from betas, sessions and image ids.
        progress : callable

        Returns
        -------
        ndarray, shape (n_voxels,), float32
        """
        estimates = []
        for first in progress(range(0, self.betas.shape[1], _VOXELS_AT_ONCE), desc="ncsnr"):
            betas = self.betas.read_columns(slice(first, first + _VOXELS_AT_ONCE))
            estimates.append(
                estimate(betas[is_training], sessions[is_training], image_ids[is_training])
            )
        return np.concatenate(estimates)

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


def read_pieces(
    sources: Sequence[Source],
    mask: np.ndarray,
    workspace: Path,
    machine: MachineParams,
    *,
    code: bytes,
    progress: Progress,
) -> Pieces:
    """Read each session that has no piece yet.

    Parameters
    ----------
    sources : sequence of Source
    mask : ndarray, shape (x, y, z), bool
    workspace : Path
        Folder of the pieces; their names identify the bytes, voxels and code they were made from.
    machine : MachineParams
    code : bytes
        Stands for the code that reads a session.
    progress : callable
    """
    workspace = workspace.absolute()
    voxels = hashlib.sha256(
        np.packbits(mask).tobytes() + repr(mask.shape).encode() + code
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
        write_array(file, "valid", ((betas != 0) & np.isfinite(betas)).any(axis=0))
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

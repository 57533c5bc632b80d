"""What a dataset declares, and what it does for the pipeline.

A dataset is one file of this folder, ``<name>_dataset.py``, that defines ``Settings``, its section
``datasets.<name>`` of ``params.yaml``, and ``Reader``, a class that has what `Dataset` lists. It
brings raw files within reach, turns them into regions and betas, and hands out pictures. Nothing
below the voxel file knows which dataset it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from fmri2img.config import (
    ConvertRoiParams,
    ExtractBetasParams,
    FetchCaptionsParams,
    MachineParams,
    Params,
    SplitKind,
)
from fmri2img.containers import TrialBetas, Units
from fmri2img.nsd.extraction import Region, Resources
from fmri2img.provenance.receipts import Ledger, RawFiles, Receipt, Watch

Ids = Literal["numbers", "texts"]
Missing = Literal["masked", "refused"]


@dataclass(frozen=True)
class Facts:
    """What a dataset says of itself; `contract` holds every file against it.

    Attributes
    ----------
    title : str
        As tables and notes call it.
    subjects : tuple of str
        Whom it has.
    picture_side : int
        Height and width of its pictures, in pixels.
    n_repetitions : int
        How often an image is shown at most.
    units : Units
        Of stored betas.
    ids : str
        ``numbers`` or ``texts``: how images are named.
    missing : str
        ``masked``: betas that are not there are left out; ``refused``: there are none.
    splits : tuple of str
        Kinds of splits that it allows: ``shared`` needs images that are set apart for tests.
    terms : str
        Who may have the data, in a sentence; empty: anybody.
    """

    title: str
    subjects: tuple[str, ...]
    picture_side: int
    n_repetitions: int
    units: Units
    ids: Ids
    missing: Missing
    splits: tuple[SplitKind, ...]
    terms: str


@dataclass(frozen=True)
class Setting:
    """Where a dataset is read, and for whom.

    Attributes
    ----------
    machine : MachineParams
    subjects : tuple of str
        The project's.
    own_rois : Path
        Folder of the user's regions, ``<subject>/<name>.nii.gz``.
    """

    machine: MachineParams
    subjects: tuple[str, ...]
    own_rois: Path

    @property
    def root(self) -> Path:
        """Folder of the raw files."""
        return self.machine.raw_folder


@dataclass(frozen=True)
class LabelVolume:
    """A subject's regions.

    Attributes
    ----------
    labels : ndarray, shape (x, y, z), int16
        -1 or 0: no label; 1..N.
    voxel_mm : float
    table : dict
        ``names`` (label to name), ``roi``, ``drawn_in``, ``mapping``.
    """

    labels: np.ndarray
    voxel_mm: float
    table: dict


@dataclass(frozen=True)
class Captions:
    """Captions of pictures.

    Attributes
    ----------
    texts : dict of int or str to list of str
        By image id.
    sha256 : dict of str to str
        Of the files that they were read from, by name.
    """

    texts: dict[int | str, list[str]]
    sha256: dict[str, str]


class Dataset(Protocol):
    """A dataset with a project's settings.

    ``name`` is a subject, or ``shared`` for the files that all subjects have in common.
    """

    @property
    def facts(self) -> Facts:
        """What it declares."""

    @property
    def picture_side(self) -> int:
        """The same as among the facts: stages that read pictures alone ask for nothing else."""

    def is_here(self) -> bool:
        """Whether its raw files, or some, are on this machine."""

    def fetch_files(self, name: str, ledger: Ledger, *, watch: Watch) -> Receipt:
        """Bring raw files within reach; returns the list of them."""

    def preview_fetch(self, name: str) -> list[str]:
        """Say in lines what `fetch_files` would download."""

    def read_regions(self, raw: RawFiles, params: ConvertRoiParams) -> LabelVolume:
        """Return a subject's regions on the grid of its betas."""

    def read_betas(
        self,
        raw: RawFiles,
        shared: RawFiles,
        region: Region,
        params: ExtractBetasParams,
        resources: Resources,
    ) -> TrialBetas:
        """Return the betas of a region's voxels, trial by trial."""

    def iterate_pictures(self, shared: RawFiles, image_ids: np.ndarray) -> Iterator[np.ndarray]:
        """Yield pictures one by one, shape (side, side, 3), uint8."""

    def collect_captions(
        self, shared: RawFiles, image_ids: np.ndarray, params: FetchCaptionsParams
    ) -> Captions:
        """Return the captions of pictures, ids of shape (n,)."""


class Reader(Protocol):
    """Makes a `Dataset`: the class that a dataset's file calls ``Reader``."""

    def __call__(self, settings: Params, setting: Setting) -> Dataset:
        """Take a project's settings."""

"""What a dataset declares, and what it does for the pipeline.

A dataset is one file in this folder, ``<name>_dataset.py``. It defines ``Settings``, its section
``datasets.<name>`` of ``params.yaml``, and ``Reader``, a class that implements `Dataset`: it makes
raw files available, turns them into regions and betas, and reads pictures. Nothing downstream of
the voxel file depends on the dataset.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np

import fmri2img.datasets
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.units import Units
from fmri2img.project.config import (
    PARAMS_PATH,
    ConvertRoiParams,
    ExtractBetasParams,
    FetchCaptionsParams,
    MachineParams,
    Params,
    ProjectParams,
    SplitKind,
)
from fmri2img.project.exceptions import ConfigError
from fmri2img.project.params_file import check_section, near
from fmri2img.project.places import own_rois
from fmri2img.provenance.receipts import Ledger, RawFiles, Receipt, Watch, unwatched

_END = "_dataset"
Ids = Literal["numbers", "texts"]
Missing = Literal["masked", "refused"]
Progress = Callable[..., Iterable]


@dataclass(frozen=True)
class Facts:
    """What a dataset declares about itself; `contract` checks every file against it.

    Attributes
    ----------
    title : str
        Name in tables and notes.
    subjects : tuple of str
        Names of the dataset's subjects.
    picture_side : int
        Height and width of its pictures, in pixels.
    n_repetitions : int
        How many times an image is shown at most.
    units : Units
        Units of stored betas.
    ids : str
        ``numbers`` or ``texts``: how images are named.
    missing : str
        ``masked``: missing betas are left out; ``refused``: missing betas are an error.
    splits : tuple of str
        Kinds of splits that it allows; ``shared`` needs images that are set apart for tests.
    terms : str
        Who may have the data, in a sentence; empty: anybody.
    ood : tuple of str
        Further test sets of images of another kind (out of distribution) that it offers
        (`offers.OffersOod`).
    has_anatomy : bool
        Whether it offers volumes and surfaces below the voxels (`offers.OffersAnatomy`).
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
    ood: tuple[str, ...] = ()
    has_anatomy: bool = False


@dataclass(frozen=True)
class Setting:
    """Where a dataset is read, and for which subjects.

    Attributes
    ----------
    machine : MachineParams
    subjects : tuple of str
        Subjects of the project.
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
        -1 or 0: no label; 1..N: a region.
    voxel_mm : float
    table : dict
        ``names`` (label to name), ``roi``, ``drawn_in``, ``mapping``.
    affine : ndarray, shape (4, 4), or None
        Where the voxels lie; None: the world's origin is in the centre of the slab, as in NSD.
    """

    labels: np.ndarray
    voxel_mm: float
    table: dict
    affine: np.ndarray | None = None


@dataclass(frozen=True)
class Region:
    """The voxels to read.

    Attributes
    ----------
    labels : ndarray, shape (x, y, z), int16
    affine : ndarray, shape (4, 4)
    names : dict of int to str
    mask : ndarray, shape (x, y, z), bool
    about : dict
        ROI, where it was drawn, how it was mapped, and the MD5 of the label volume.
    """

    labels: np.ndarray
    affine: np.ndarray
    names: dict[int, str]
    mask: np.ndarray
    about: dict


@dataclass(frozen=True)
class Resources:
    """Where an extraction runs, and how it shows its progress.

    Attributes
    ----------
    machine : MachineParams
        Number of processes, or the Dask cluster.
    workspace : Path
        Folder for the pieces; the result refers to files in it until it is saved.
    progress : callable
        Wraps iterables, with ``total``.
    watch : callable
        Opens a progress bar, in bytes, for files that have to be hashed.
    """

    machine: MachineParams
    workspace: Path
    progress: Progress = lambda items, **_: items
    watch: Watch = unwatched


@dataclass(frozen=True)
class Captions:
    """Captions of pictures.

    Attributes
    ----------
    texts : dict of int or str to list of str
        Captions by image id.
    sha256 : dict of str to str
        SHA-256 of the files that they were read from, by name.
    """

    texts: dict[int | str, list[str]]
    sha256: dict[str, str]


class Dataset(Protocol):
    """A dataset with a project's settings.

    ``name`` is a subject, or ``shared`` for the files that all subjects have in common.
    """

    @property
    def facts(self) -> Facts:
        """What the dataset declares."""

    @property
    def picture_side(self) -> int:
        """Height and width of its pictures, as in the facts, for stages that only read pictures."""

    def is_here(self) -> bool:
        """Whether its raw files, or some of them, are on this machine."""

    def fetch_files(self, name: str, ledger: Ledger, *, watch: Watch) -> Receipt:
        """Make raw files available; return the receipt that lists them."""

    def preview_fetch(self, name: str) -> list[str]:
        """Return lines that say what `fetch_files` would download."""

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

    def iterate_pictures(
        self, raw: RawFiles, shared: RawFiles, image_ids: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Yield pictures that a subject saw one by one, shape (side, side, 3), uint8; they are
        among the subject's files or the shared ones.
        """

    def collect_captions(
        self, raw: RawFiles, shared: RawFiles, image_ids: np.ndarray, params: FetchCaptionsParams
    ) -> Captions:
        """Return the captions of pictures that a subject saw, ids of shape (n,)."""


class Reader(Protocol):
    """The class ``Reader`` of a dataset's file, which makes a `Dataset`."""

    def __call__(self, settings: Params, setting: Setting) -> Dataset:
        """Make the dataset from a project's settings."""


def dataset_names() -> list[str]:
    """Return the names of all datasets."""
    names = (module.name for module in pkgutil.iter_modules(fmri2img.datasets.__path__))
    return sorted(name.removesuffix(_END) for name in names if name.endswith(_END))


def open_dataset(params: ProjectParams) -> Dataset:
    """Return the project's dataset.

    Raises
    ------
    ConfigError
        If there is no dataset of that name, or its settings are wrong.
    """
    name = params.dataset
    settings = check_dataset_settings(name, params.datasets)
    dataset: Dataset = _module(name).Reader(
        settings, Setting(params.machine, tuple(params.subjects), own_rois())
    )
    return dataset


def check_ood(tests: list[str], facts: Facts) -> None:
    """Refuse a further test set that a dataset does not offer.

    Raises
    ------
    ConfigError
        If there is no such test set; the message names those that there are.
    """
    if unknown := [test for test in tests if test not in facts.ood]:
        offered = f"choose from: {', '.join(facts.ood)}" if facts.ood else "it offers none"
        raise ConfigError(
            f"{PARAMS_PATH}: ood: {facts.title} has no test set {unknown[0]!r}"
            f"{near(unknown[0], facts.ood)}; {offered}, or empty the list"
        )


def check_dataset_settings(name: str, sections: dict[str, dict[str, Any]]) -> Params:
    """Check a dataset's section of ``params.yaml`` against its own ``Settings``.

    Raises
    ------
    ConfigError
        If there is no such dataset or section, or a key is unknown, missing or of the wrong type.
    """
    if name not in (names := dataset_names()):
        raise ConfigError(
            f"{PARAMS_PATH}: dataset: there is no dataset {name!r}{near(name, names)}; choose "
            f"from: {', '.join(names)}"
        )
    if name not in sections:
        raise ConfigError(
            f"{PARAMS_PATH}: dataset: there is no section datasets.{name}; add it, or choose from: "
            f"{', '.join(sections)}"
        )
    text = PARAMS_PATH.read_text(encoding="utf-8") if PARAMS_PATH.exists() else ""
    settings: type[Params] = _module(name).Settings
    return check_section(settings, sections[name], text=text, prefix=("datasets", name))


def check_subjects(subjects: list[str], facts: Facts) -> None:
    """Refuse a subject that the dataset does not have.

    Raises
    ------
    ConfigError
        If there is no such subject; the message suggests similar names.
    """
    if unknown := [name for name in subjects if name not in facts.subjects]:
        raise ConfigError(
            f"{PARAMS_PATH}: subjects: {facts.title} has no subject {unknown[0]!r}"
            f"{near(unknown[0], facts.subjects)}; choose from: {', '.join(facts.subjects)}"
        )


def terms_of(name: str) -> str:
    """Return who may have a dataset's data, from its name in receipts; empty: anybody."""
    if name not in dataset_names():
        return "it is not known whose data these are, and so who may have them"
    terms: str = _module(name).TERMS
    return terms


def public_part(name: str) -> str:
    """Return what of a dataset everybody may have, from its name in receipts: ``everything``, the
    ``responses``, ``nothing``, or as its owner ``declared``. A dataset that does not say gives
    nothing.
    """
    part: str = (
        getattr(_module(name), "PUBLIC", "nothing") if name in dataset_names() else "nothing"
    )
    return part


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"fmri2img.datasets.{name}{_END}")

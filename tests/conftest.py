"""Fixtures: a miniature simulated experiment on disk, written once a session, and small
containers.
"""

import multiprocessing.process
import os
import shutil
import socket
import subprocess

os.environ.update(
    HF_HUB_OFFLINE="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="1",
    DVC_NO_ANALYTICS="1",
    MPLBACKEND="Agg",
)

from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import joblib
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from fmri2img.datasets import simulated_dataset
from fmri2img.datasets.marks import source_of
from fmri2img.datasets.protocol import Dataset, Setting
from fmri2img.datasets.simulation.dataset import SimulatedSubject
from fmri2img.datasets.simulation.laion_files import SmallExperiment, write_laion
from fmri2img.datasets.simulation.scenes import render_image
from fmri2img.datasets.simulation.stimuli_files import simulate_shared
from fmri2img.project.config import MachineParams
from fmri2img.project.files import read_json, write_json
from fmri2img.project.nsd_params import BucketParams, SimulatedNsdParams, SimulationParams
from fmri2img.provenance.receipts import Ledger, RawFiles, Receipt
from miniature import REPOSITORY, clone, make_miniature, make_pair

# Session 21 holds resting-state runs, session 20 does not.
SESSIONS = [20, 21]
SUBJECT = "subj02"
BUCKET = BucketParams(
    bucket="natural-scenes-dataset", region="us-east-2", endpoint_url=None, part_mib=1
)
ONE_PROCESS = MachineParams(
    raw_root="data/raw",
    n_jobs=1,
    dask_scheduler=None,
    n_connections=2,
    network_weights=None,
    launch=[],
    generation_batch="auto",
)


@dataclass(frozen=True)
class Miniature:
    """A simulated experiment of one subject with two sessions and about 70 visual voxels."""

    root: Path
    nsd: SimulatedNsdParams
    subject: SimulatedSubject
    raw: RawFiles
    shared: RawFiles

    @property
    def dataset(self) -> Dataset:
        return simulated_dataset.Reader(self.nsd, Setting(ONE_PROCESS, (SUBJECT,), Path("none")))


def _refuse(*arguments, **options):
    raise AssertionError(
        "a unit test starts no process and no server; mark it functional, or move it to "
        "tests/functional"
    )


@pytest.fixture(autouse=True)
def alone(request, monkeypatch):
    """Keep unit tests fast: what needs a process of its own, or a server, is in
    ``tests/functional``.
    """
    if "unit" in request.path.relative_to(REPOSITORY).parts and not request.node.get_closest_marker(
        "functional"
    ):
        monkeypatch.setattr(subprocess.Popen, "__init__", _refuse)
        monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", _refuse)
        monkeypatch.setattr(socket.socket, "listen", _refuse)
        with joblib.parallel_config(backend="sequential"):
            yield
    else:
        yield


# The longest first, so that no process is left alone with one at the end; the first makes the
# finished project that others clone.
_FIRST = ["test_takagi.py", "test_side_by_side.py"]
_TIERS = ["functional", "pipeline", "golden", "robustness", "unit"]


def pytest_collection_modifyitems(items):
    """Make the finished project in one process, while others run what does not need it; the many
    short files come last.
    """

    def rank(item):
        tier, name = item.path.relative_to(REPOSITORY).parts[1], item.path.name
        first = _FIRST.index(name) if tier == "pipeline" and name in _FIRST else len(_FIRST)
        return first > 0, _TIERS.index(tier), first, -item.path.stat().st_size, str(item.path)

    items.sort(key=rank)


_SECONDS = Counter()


def pytest_runtest_logreport(report):
    _SECONDS[report.nodeid.split("/")[1]] += report.duration


def pytest_terminal_summary(terminalreporter):
    """Say how long each tier took, all processes together."""
    if _SECONDS:
        terminalreporter.write_line(
            ", ".join(f"{tier} tests {seconds:.0f} s" for tier, seconds in _SECONDS.items())
            + " (all processes)"
        )


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory, request) -> Path:
    """One folder for all processes of this run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base


def made_once(folder, make):
    """Make a folder in one of several processes, while the others wait for it."""
    done = folder.with_suffix(".done")
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def picture_folder(shared_folder) -> Path:
    """Thirty small pictures: cheaper than painting a thousand scenes."""

    def paint(folder):
        folder.mkdir()
        for index in range(30):
            Image.fromarray(render_image(99, index, 85)).save(folder / f"{index:02d}.png")

    return made_once(shared_folder / "pictures", paint)


@pytest.fixture(scope="session")
def miniature(shared_folder, picture_folder) -> Miniature:
    simulation = SimulationParams(
        seed=3,
        volume_scale=0.16,
        n_visual_voxels=70,
        pictures=str(picture_folder),
        world="standard",
        deep_share=0.4,
        beta_versions=["b3"],
        beta_formats=["hdf5", "nii.gz"],
        timeseries=True,
    )
    nsd = SimulatedNsdParams(
        func_space="func1pt8mm",
        responses="betas",
        beta_version="b3",
        beta_format="hdf5",
        sessions=SESSIONS,
        rois="all",
        simulation=simulation,
    )

    def simulate(root):
        written = {
            "shared": simulate_shared(root, nsd),
            SUBJECT: SimulatedSubject(SUBJECT, nsd, root).write(),
        }
        write_json(
            root.with_suffix(".json"),
            {name: sorted(map(str, paths)) for name, paths in written.items()},
        )

    root = made_once(shared_folder / "nsd", simulate)
    written = read_json(root.with_suffix(".json"), remedy="")
    subject, shared = (
        raw_files_of(name, root, map(PurePosixPath, written[name])) for name in (SUBJECT, "shared")
    )
    return Miniature(root, nsd, SimulatedSubject(SUBJECT, nsd, root), subject, shared)


def linked(root, folder, *changing, without=()) -> Path:
    """A raw tree in another place, of links; what will be changed is copied."""

    def link_or_copy(source, target):
        take = shutil.copy2 if Path(target).relative_to(folder) in changing else os.link
        return take(source, target)

    changing = [Path(path) for path in changing]
    ignored = shutil.ignore_patterns(*without)
    return Path(shutil.copytree(root, folder, copy_function=link_or_copy, ignore=ignored))


def raw_files_of(name, root, paths) -> RawFiles:
    """The raw files of a tree with a receipt made from it as it is now; nothing is remembered
    between calls.
    """
    ledger = Ledger(None)
    receipt = Receipt.of(name, root, paths, ledger, data_source=source_of(root, paths, "nsd"))
    return RawFiles(receipt, root, Ledger(None))


@pytest.fixture(scope="session")
def small_laion(shared_folder) -> Path:
    """A small experiment in LAION-fMRI's layout; not to be changed."""
    return made_once(shared_folder / "laion", lambda root: write_laion(root, SmallExperiment()))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def tiny_diffusion(shared_folder) -> Path:
    """A Stable Diffusion in a folder, random and small; not to be changed."""
    from tiny_diffusion import write_tiny_diffusion

    return made_once(shared_folder / "tiny-diffusion", write_tiny_diffusion)


@pytest.fixture(scope="session")
def template(shared_folder) -> Path:
    """The finished miniature project with every model; not to be changed, but cloned.

    FMRI2IMG_MINIATURE names the folder of an earlier run's: work on one test need not wait for it.
    """
    if kept := os.environ.get("FMRI2IMG_MINIATURE"):
        return Path(kept) / "template"
    return made_once(shared_folder / "template", make_miniature)


@pytest.fixture(scope="session")
def pair_template(shared_folder, template) -> Path:
    """The same with two models; not to be changed, but cloned."""
    if kept := os.environ.get("FMRI2IMG_MINIATURE"):
        return Path(kept) / "pair"
    return made_once(shared_folder / "pair", lambda folder: make_pair(template, folder))


@pytest.fixture(scope="session")
def project(pair_template, tmp_path_factory) -> Path:
    """The finished project with two models, for the tests of this process; each leaves it as it
    was.
    """
    return clone(pair_template, tmp_path_factory.mktemp("project") / "project")


@pytest.fixture
def copied(pair_template, tmp_path) -> Path:
    """The finished project with two models, for one test to change."""
    return clone(pair_template, tmp_path / "project")

"""Fixtures: a miniature simulated experiment on disk, written once a session, and small containers."""

import os

os.environ.update(HF_HUB_OFFLINE="1", MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="1", DVC_NO_ANALYTICS="1", MPLBACKEND="Agg")

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmri2img.config import BucketParams, FetchNsdParams, MachineParams, NsdParams, SimulationParams
from fmri2img.receipts import Ledger, RawFiles, Receipt
from fmri2img.simulation.dataset import SimulatedSubject, simulate_shared
from fmri2img.simulation.scenes import render_image

REPOSITORY = Path(__file__).resolve().parents[1]
# Session 21 holds resting-state runs, session 20 does not.
SESSIONS = [20, 21]
SUBJECT = "subj02"
BUCKET = BucketParams(bucket="natural-scenes-dataset", region="us-east-2", endpoint_url=None, part_mib=1)
ONE_PROCESS = MachineParams(
    nsd_root="data/raw", n_jobs=1, dask_scheduler=None, n_connections=2, network_weights=None, launch=[], generation_batch="auto"
)


@dataclass(frozen=True)
class Miniature:
    """A simulated experiment of one subject with two sessions and about 70 visual voxels."""

    root: Path
    nsd: NsdParams
    fetch: FetchNsdParams
    subject: SimulatedSubject
    raw: RawFiles
    shared: RawFiles


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep together, in one of several processes, the tests of a file, and those of the project that takes minutes to make."""
    from xdist.scheduler import LoadFileScheduling

    class ByProject(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "project" if file.startswith("tests/pipeline") and not file.endswith("test_takagi.py") else file

    return ByProject(config, log)


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory) -> Path:
    """Thirty small pictures: cheaper than painting a thousand scenes."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(30):
        Image.fromarray(render_image(99, index, 85)).save(folder / f"{index:02d}.png")
    return folder


@pytest.fixture(scope="session")
def miniature(tmp_path_factory, picture_folder) -> Miniature:
    root = tmp_path_factory.mktemp("nsd")
    nsd = NsdParams(func_space="func1pt8mm", responses="betas", beta_version="b3", beta_format="hdf5", sessions=SESSIONS)
    simulation = SimulationParams(
        seed=3,
        volume_scale=0.16,
        n_visual_voxels=70,
        pictures=str(picture_folder),
        beta_versions=["b3"],
        beta_formats=["hdf5", "nii.gz"],
        timeseries=True,
    )
    fetch = FetchNsdParams(source="simulated", accept_nsd_terms=False, rois="all", s3=BUCKET, simulation=simulation)
    shared = simulate_shared(root, nsd, simulation, [SUBJECT])
    subject = SimulatedSubject(SUBJECT, nsd, fetch, root)
    files = subject.write()
    return Miniature(
        root,
        nsd,
        fetch,
        subject,
        raw_files_of(SUBJECT, root, files),
        raw_files_of("shared", root, shared),
    )


def raw_files_of(name, root, paths) -> RawFiles:
    """The raw files of a tree with a receipt made from it as it is now; nothing is remembered between calls."""
    return RawFiles(Receipt.of(name, root, paths, Ledger(None)), root, Ledger(None))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def tiny_diffusion(tmp_path_factory) -> Path:
    """A Stable Diffusion in a folder, random and small; not to be changed."""
    from tiny_diffusion import write_tiny_diffusion

    return write_tiny_diffusion(tmp_path_factory.mktemp("diffusion") / "tiny-diffusion")

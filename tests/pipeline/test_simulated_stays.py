"""Simulated files read as NSD's, without the notice beside them: all that is made from them still
says that it is simulated.
"""

import shutil

import mlflow
import pytest

from conftest import SUBJECT
from fmri2img.containers.examples import Examples
from fmri2img.project.files import read_json
from fmri2img.sharing import open_voxels
from miniature import changed_params, clone
from pipeline.projects import run

READING = ("convert_roi", "extract_betas", "create_examples")
FROM_VOXELS = ("split_examples", "collect_truth", "encode_latents", "collect_prior")
OF_ONE_MODEL = ("train", "predict", "evaluate")


@pytest.fixture
def unmarked(pair_template, tmp_path):
    """The finished miniature as someone has it who takes its raw files for NSD's own."""
    project = clone(pair_template, tmp_path / "project")
    (project / "data/raw/SIMULATED.txt").unlink()
    shutil.rmtree(project / "data/receipts")
    shutil.rmtree(project / ".verified", ignore_errors=True)
    with changed_params(project) as params:
        params["dataset"] = "nsd"
        params["datasets"]["nsd"] |= {
            "source": "local",
            "sessions": params["datasets"]["simulated"]["sessions"],
        }
    return project


def stage(project, name, *options):
    return run(project, "python", "-m", f"stages.{name}", *options)


def read_again(project):
    for name in ("shared", SUBJECT):
        stage(project, "fetch_raw", "--subject", name)
    for name in READING:
        stage(project, name, "--subject", SUBJECT)


def test_receipts_and_voxels(unmarked):
    read_again(unmarked)
    for name in ("shared", SUBJECT):
        receipt = read_json(unmarked / f"data/receipts/{name}.json", remedy="")
        assert receipt["data_source"] == "simulated"
    assert open_voxels(unmarked / f"data/voxels/{SUBJECT}.h5").is_simulated
    examples = Examples.open(unmarked / f"data/examples/{SUBJECT}.h5", remedy="")
    assert examples.provenance["data_source"] == "simulated"


@pytest.mark.slow
def test_pages_runs_and_registry(unmarked):
    read_again(unmarked)
    for name in FROM_VOXELS:
        stage(unmarked, name, "--subject", SUBJECT)
    stage(unmarked, "fit_encoding_model", "--subject", SUBJECT)
    for name in OF_ONE_MODEL:
        if name == "evaluate":
            stage(unmarked, "score_references", "--subject", SUBJECT)
        stage(unmarked, name, "--subject", SUBJECT, "--model", "ridge")
    metrics = read_json(unmarked / f"reports/metrics/{SUBJECT}/ridge.json", remedy="")
    assert metrics["about"]["data_source"] == "simulated"
    for page in ("runs", "gallery"):
        text = (unmarked / f"reports/{page}/{SUBJECT}/ridge.html").read_text()
        assert "simulated" in text.lower()
    client = mlflow.MlflowClient(f"sqlite:///{unmarked}/mlflow.db")
    versions = client.search_model_versions(f"name = 'fmri2img-ridge-{SUBJECT}'")
    assert {version.tags["data.source"] for version in versions} == {"simulated"}

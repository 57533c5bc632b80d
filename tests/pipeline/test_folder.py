"""An experiment in a folder, with image ids that are texts and four repetitions, through the whole
pipeline.
"""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from commands import dvc, fmri2img
from datasets import N_TEST, PERSON, SIDE, write_folder
from fmri2img.containers.examples import Examples
from fmri2img.containers.reconstructions import Reconstructions
from miniature import _SMALL, changed_params, clone, keep_only_fingerprints, run
from pipeline.test_pipeline import outs


def new_project(pair_template, folder):
    """A project on an experiment in a folder, before anything has run."""
    project = clone(pair_template, folder)
    write_folder(project / "data/breakfast")
    keep_only_fingerprints(project)
    with changed_params(project) as params:
        params |= {"dataset": "folder", "subjects": [PERSON], "population": [PERSON]}
        params["machine"]["raw_root"] = "data/breakfast"
        params["models"]["latents"] = ["ridge", "bayes"]
        params["train"]["bayes"] |= _SMALL["bayes"]
        params["convert_roi"] |= {"roi": "visual", "drawn_in": "func"}
        params["extract_betas"] |= {"labels": "all", "recompute_ncsnr": True}
        params["split_examples"] |= {"kind": "shared", "validation_fraction": 0.2}
        params["evaluate"]["networks"] = []
    return project


@pytest.fixture(scope="module")
def project(pair_template, tmp_path_factory):
    project = new_project(pair_template, tmp_path_factory.mktemp("folder") / "project")
    dvc(project, "repro")
    return project


def test_it_runs_to_the_comparison_and_is_up_to_date(project):
    assert dvc(project, "status").stdout.strip() == "Data and pipelines are up to date."
    document = json.loads((project / f"reports/metrics/{PERSON}/bayes.json").read_text())
    assert document["about"]["data_source"] == "folder"
    assert document["about"]["truth_pixels"] == [SIDE, SIDE]
    assert document["about"]["n_test_images"] == N_TEST
    assert max(document["repetitions"], key=int) == "4"
    page = (project / "reports/comparison.html").read_text()
    assert "Simulated data" not in page


@pytest.mark.slow  # test_side_by_side.py holds it of the simulated NSD
def test_side_by_side_stages_give_the_bytes_of_one_after_another(project, pair_template, tmp_path):
    other = new_project(pair_template, tmp_path / "project")
    result = run(other, "fmri2img", "repro")
    lines = result.stderr.splitlines()
    n_stages = len(set(run(other, "dvc", "stage", "list", "--name-only").stdout.split()))
    assert sum(line.startswith("[") for line in lines) == n_stages - 1  # the code is the same
    assert f"[{n_stages}/{n_stages}]" in result.stderr
    assert lines[-1].startswith(f"{n_stages - 1} stages ran, 1 was up to date")
    first, second = outs(project), outs(other)
    kept = ("data/", "models/", "reports/training/", "reports/validation/", "reports/metrics/")
    compared = [path for path in second if path.startswith(kept) and PERSON in path]
    assert len(compared) > 20
    assert {path: second[path] for path in compared} == {path: first[path] for path in compared}
    assert dvc(other, "status").stdout.strip() == "Data and pipelines are up to date."


def test_colours_are_decoded(project):
    rows = json.loads((project / f"reports/metrics/{PERSON}/ridge.json").read_text())["rows"]
    assert rows["model"]["pattern_correlation"]["value"] > 0.3
    found = Reconstructions.open(project / f"data/reconstructions/{PERSON}/ridge.h5", remedy="")
    assert found.image_ids[found.rows("test")].tolist() == [
        f"cup-{row:02d}" for row in range(N_TEST)
    ]


def test_units_repetitions_and_noise_ceilings_are_the_folders_own(project):
    examples = Examples.open(project / f"data/examples/{PERSON}.h5", remedy="")
    assert examples.provenance["units"] == {"name": "z-score", "per_unit": 1.0}
    assert examples.n_voxels == 22  # two have no region
    assert np.isnan(examples.in_units(np.arange(len(examples.betas)))).sum() <= 1
    # Images that are not for tests were shown twice, those for tests four times.
    assert (examples.training_ncsnr > 0.5).all()
    weights = load_file(project / f"models/{PERSON}/bayes/model.safetensors")
    assert weights["gains"].shape[0] == 4
    config = json.loads((project / f"models/{PERSON}/bayes/config.json").read_text())
    assert config["about"]["n_repetitions"] == 4


def test_its_voxels_are_exported_and_decoded_again(project, tmp_path):
    voxels = project / f"data/voxels/{PERSON}.h5"
    fmri2img(project, "export", voxels, "--to", tmp_path / "voxels.npz")
    with np.load(tmp_path / "voxels.npz") as arrays:
        assert {"betas", "image_ids"} <= set(arrays)
    folder = project / f"models/{PERSON}/ridge"
    fmri2img(
        project, "decode", tmp_path / "voxels.npz", "--model", folder, "--to", tmp_path / "made"
    )
    assert (tmp_path / "made/cup-00.png").exists()
    refused = fmri2img(
        project, "export", voxels, "--format", "takagi", "--to", tmp_path / "x", check=False
    )
    assert refused.returncode == 1
    assert "takagi is a form of NSD's data, and anna is of Colours at breakfast" in refused.stderr


def test_whose_data_they_are_is_told_before_they_are_shared(project):
    refused = fmri2img(project, "share", "--remote", "lab", check=False)
    assert refused.returncode == 1

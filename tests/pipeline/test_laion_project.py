"""A miniature in LAION-fMRI's layout through the whole pipeline, with the settings of its page."""

import json
import re
from pathlib import PurePosixPath

import numpy as np
import pytest
import yaml

from commands import dvc, fmri2img
from conftest import REPOSITORY
from fmri2img.containers.examples import Examples
from fmri2img.containers.splits import Split
from miniature import changed_params, clone, keep_only_fingerprints

SUBJECT = "sub01"


def settings_of_the_page():
    page = (REPOSITORY / "docs/laion-fmri.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return yaml.safe_load(block)


@pytest.fixture(scope="module")
def project(pair_template, small_laion, tmp_path_factory):
    project = clone(pair_template, tmp_path_factory.mktemp("laion") / "project")
    keep_only_fingerprints(project)
    settings = settings_of_the_page()
    with changed_params(project) as params:
        params["datasets"] = settings.pop("datasets")
        for name, values in settings.items():
            params[name] = params[name] | values if isinstance(values, dict) else values
        params["subjects"] = params["population"] = [SUBJECT]
        params["machine"]["raw_root"] = str(small_laion)
        params["models"]["latents"] = ["ridge"]
        params["evaluate"]["networks"] = []
        params["extract_betas"]["labels"] = "all"
    dvc(project, "repro")
    return project


def test_it_runs_to_the_comparison(project):
    assert dvc(project, "status").stdout.strip() == "Data and pipelines are up to date."
    document = json.loads((project / f"reports/metrics/{SUBJECT}/ridge.json").read_text())
    assert document["about"]["data_source"] == "simulated"
    assert document["about"]["truth_pixels"] == [1000, 1000]
    assert np.isfinite(document["rows"]["model"]["pattern_correlation"]["value"])
    assert "Simulated data" in (project / "reports/comparison.html").read_text()


def test_test_images_are_those_of_the_shipped_split(project, small_laion):
    split = Split.open(project / f"data/splits/{SUBJECT}.json", remedy="")
    shipped = json.loads((small_laion / "splits/sub-01/tau.json").read_text())["variants"][0]
    assert set(split.test) == set(shipped["test_ids"])
    assert set(split.train) | set(split.validation) == set(shipped["train_ids"])


def test_ids_that_are_texts_and_a_unit_that_is_no_percent_come_through(project, tmp_path):
    examples = Examples.open(project / f"data/examples/{SUBJECT}.h5", remedy="")
    assert examples.provenance["units"] == {"name": "GLMsingle beta", "per_unit": 1.0}
    assert examples.provenance["title"] == "LAION-fMRI"
    voxels = project / f"data/voxels/{SUBJECT}.h5"
    fmri2img(project, "export", voxels, "--to", tmp_path / "voxels.npz")
    folder = project / f"models/{SUBJECT}/ridge"
    made = tmp_path / "made"
    fmri2img(project, "decode", tmp_path / "voxels.npz", "--model", folder, "--to", made)
    names = {path.stem for path in made.glob("*.png")}
    assert {PurePosixPath(name).name for name in examples.image_ids.tolist()} <= names


def test_trials_and_pictures_belong_together(project):
    result = fmri2img(project, "check-alignment", SUBJECT)
    assert "belong together (SIMULATED DATA)" in result.stdout
    assert "each follows the opposite half of the picture" in result.stdout

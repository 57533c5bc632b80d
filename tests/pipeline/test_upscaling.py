"""A model that predicts pictures, beside two that predict latents, through the whole pipeline."""

import json

import numpy as np
import pytest
from PIL import Image

from commands import dvc, fmri2img
from fmri2img.containers.reconstructions import Reconstructions
from miniature import changed_params, clone

MODEL = "upscaling_ae"


@pytest.fixture(scope="module")
def project(pair_template, tmp_path_factory):
    project = clone(pair_template, tmp_path_factory.mktemp("pixels") / "project")
    with changed_params(project) as params:
        params["models"]["pixels"] = [MODEL]
        params["train"][MODEL] |= {
            "hidden_sizes": [32],
            "bottleneck": [16, 8, 8],
            "epochs": 1,
            "n_seeds": 2,
        }
    dvc(project, "repro")
    return project


def test_only_its_own_stages_and_the_comparison_run(project):
    assert dvc(project, "status").stdout.strip() == "Data and pipelines are up to date."
    reconstructions = Reconstructions.open(
        project / f"data/reconstructions/subj02/{MODEL}.h5", remedy=""
    )
    assert reconstructions.latents is reconstructions.partial_latents is None
    assert len(reconstructions.found_latents) == len(reconstructions.images)
    assert len(reconstructions.seed_images) == 1


def test_it_has_no_scores_in_latents_and_says_so_everywhere(project):
    document = json.loads((project / f"reports/metrics/subj02/{MODEL}.json").read_text())
    scored = set(document["rows"]["model"])
    assert {"pixcorr", "ssim", "two_way_effnet_lite0"} <= scored
    assert not [metric for metric in scored if "pattern" in metric or metric == "two_way"]
    assert document["latent"] == document["retrieval"] == {}
    assert "pattern_correlation" in document["rows"]["ridge"]  # the references have them
    assert set(document["repetitions"]["3"]) == {"n_images", "pixcorr_small"}
    assert document["brain"]["all voxels"]["model"]
    page = (project / f"reports/runs/subj02/{MODEL}.html").read_text()
    assert "Correlation across the latent" not in page
    assert "By PixCorr" in page
    lines = (project / "reports/comparison.md").read_text().splitlines()
    line = next(line for line in lines if MODEL in line and line.startswith("| **"))
    assert line.split("|")[5].strip() == "–"  # latent pattern r
    assert f"runs/subj02/{MODEL}.html" in (project / "reports/comparison.html").read_text()


def test_it_enters_the_choice_of_the_champion_by_the_latents_of_its_pictures(project):
    trained = json.loads((project / f"reports/training/subj02/{MODEL}.json").read_text())
    assert -1 < trained["validation/pattern_correlation"] < 1
    assert "training/own_validation_pattern_correlation" in trained
    comparison = json.loads((project / "reports/comparison.json").read_text())["runs"]
    assert comparison[f"subj02/{MODEL}"]["validation_pattern_correlation"] == pytest.approx(
        trained["validation/pattern_correlation"]
    )


def test_it_is_registered_and_makes_pictures_of_new_betas(project, tmp_path):
    listed = fmri2img(project, "list").stdout
    assert f"fmri2img-{MODEL}-subj02" in listed
    reconstructions = Reconstructions.open(
        project / f"data/reconstructions/subj02/{MODEL}.h5", remedy=""
    )
    fmri2img(project, "export", "data/voxels/subj02.h5", "--to", tmp_path / "subj02.npz")
    result = fmri2img(
        project,
        "decode",
        tmp_path / "subj02.npz",
        "--model",
        f"models:/fmri2img-{MODEL}-subj02/1",
        "--to",
        tmp_path / "pictures",
    )
    assert "SIMULATED DATA" in result.stderr
    first = reconstructions.image_ids[0]
    made = np.asarray(Image.open(tmp_path / f"pictures/{first:05d}.png"))
    difference = made.astype(int) - reconstructions.images[0]
    assert np.abs(difference).max() <= 1

"""Takagi & Nishimoto's model through the whole pipeline, with a Stable Diffusion of random
weights: its pictures show nothing.
"""

import json

import mlflow
import numpy as np
import pytest
import yaml

from fmri2img.containers.examples import Examples
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.splits import Split
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.evaluation.table_rows import ROWS
from miniature import N_SAMPLES, changed_params, clone, diffusion_of
from pipeline.projects import kill_when, run


@pytest.fixture(scope="module")
def project(template, tmp_path_factory):
    """The finished project with every model."""
    return clone(template, tmp_path_factory.mktemp("takagi") / "project")


def test_without_stable_diffusion_one_stage_says_so_and_the_others_run(pair_template, tmp_path):
    """A project that trained others, and then lists the model without having what it needs."""
    project = clone(pair_template, tmp_path / "project")
    with changed_params(project) as params:
        params["models"]["diffusion"].append("takagi")
        params["diffusion"]["source"] = "CompVis/stable-diffusion-v1-4"
    result = run(project, "dvc", "repro", "--keep-going", "make_targets", check=False)
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(
        "error: diffusion.source CompVis/stable-diffusion-v1-4 (revision main) is neither a local "
        "folder nor available"
    )
    # Nothing of the other models runs again, whether it can be had or not.
    ran = [line for line in result.stdout.splitlines() if line.startswith("Running stage")]
    assert {line.partition("'")[2].partition("@")[0] for line in ran} == {
        "fetch_captions",
        "make_targets",
    }
    status = yaml.safe_load(run(project, "dvc", "status", "--json").stdout)
    assert {name for name in status if "takagi" not in name} == {
        "map_voxels@subj02",
        "compare",
    }


def test_targets_are_of_all_images_and_captions_of_the_right_ones(project, template):
    targets = DiffusionTargets.open(project / "data/targets/subj02/takagi.h5", remedy="")
    examples = Examples.open(project / "data/examples/subj02.h5", remedy="")
    np.testing.assert_array_equal(targets.image_ids, examples.image_ids)
    captions = json.loads((project / "data/captions/subj02/takagi.json").read_text())
    assert captions["data_source"] == "simulated"
    assert targets.provenance["n_captions"] == 5 * len(targets.image_ids)
    from fmri2img.pretrained.diffusion import open_diffusion

    text = open_diffusion(str(diffusion_of(template)), "main").load_text()
    image_id = targets.image_ids[40]
    expected = text.embed(captions["captions"][f"{image_id:05d}"]).mean(0).numpy()
    np.testing.assert_allclose(targets.text_embeddings[40], expected, atol=2e-3, rtol=1e-3)
    np.testing.assert_allclose(
        targets.empty_text, text.embed([""])[0].numpy(), atol=2e-3, rtol=1e-3
    )
    assert not (project / "data/targets/subj02/ridge.h5").exists()


def test_c_is_decoded_from_ventral_voxels_better_than_chance(project):
    halves = json.loads((project / "reports/metrics/subj02/takagi.json").read_text())["halves"]
    assert halves["c"]["two_way_low"] > 0.5
    assert halves["c"]["two_way_p"] == 0.01
    assert halves["c"]["pattern_correlation_low"] > max(
        0, halves["c"]["pattern_correlation_shuffled"]
    )
    training = json.loads((project / "reports/training/subj02/takagi.json").read_text())
    assert {f"training/{half}_r2_{grid}" for half in "zc" for grid in ("published", "wide")} <= set(
        training
    )
    assert training["training/c_r2_wide"] > max(0.01, training["training/c_r2_published"])


def test_reconstructions_hold_samples_variants_and_what_was_decoded(project):
    found = Reconstructions.open(project / "data/reconstructions/subj02/takagi.h5", remedy="")
    test = Split.open(project / "data/splits/subj02.json", remedy="").test
    np.testing.assert_array_equal(found.image_ids[found.rows("test")], test)
    assert found.samples.shape == (len(test), N_SAMPLES, 512, 512, 3)
    assert (found.samples[0][0] != found.samples[0][1]).any()
    assert found.variant_images.shape == (2, len(test), 128, 128, 3)
    assert found.z_latents.shape == (len(test), 4, 40, 40)
    assert found.text_embeddings.shape == (len(test), 77, 768)
    assert not (project / ".checkpoints/generated").exists() or not list(
        (project / ".checkpoints/generated").rglob("*.png")
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "path", "parts"),
    [
        ("make_targets", "data/targets/subj02/takagi.h5", ".checkpoints/targets"),
        ("predict", "data/reconstructions/subj02/takagi.h5", ".checkpoints/generated"),
    ],
)
def test_a_killed_stage_leaves_no_half_file_and_goes_on_to_the_same_bytes(
    project, stage, path, parts
):
    made, folder, command = (
        project / path,
        project / parts,
        ("python", "-m", f"stages.{stage}", "--subject", "subj02", "--model", "takagi"),
    )

    def parts_there():
        return [
            part
            for part in folder.rglob("*.*")
            if part.suffix in (".png", ".npy") and not part.name.startswith(".partial")
        ]

    expected = made.read_bytes()
    made.unlink()
    try:
        assert kill_when(lambda: len(parts_there()) > 2, project, *command)
        times = {part: part.stat().st_mtime_ns for part in parts_there()}
        assert kill_when(lambda: len(parts_there()) > len(times) + 2, project, *command)
        assert {part: part.stat().st_mtime_ns for part in times} == times
        assert not made.exists()
        run(project, *command)
        assert made.read_bytes() == expected
    finally:
        made.write_bytes(expected)
    assert not parts_there()


def test_scores_pages_and_comparison_know_the_model(project):
    document = json.loads((project / "reports/metrics/subj02/takagi.json").read_text())
    assert set(document["rows"]) == set(ROWS)
    assert "error_over_stated" not in document["latent"]  # it states none
    assert document["about"]["reconstructions_per_image"] == N_SAMPLES
    assert document["identification_by_samples"]["effnet_lite0"]["shuffled"] > 0
    gallery = (project / "reports/gallery/subj02/takagi.html").read_text()
    assert "from z alone" in gallery
    assert "from c alone" in gallery
    assert "Simulated data" in gallery
    page = (project / "reports/runs/subj02/takagi.html").read_text()
    assert "The two halves" in page
    assert f"Identification by all {N_SAMPLES} reconstructions" in page
    assert "takagi" in (project / "reports/comparison.md").read_text()
    ridge = json.loads((project / "reports/metrics/subj02/ridge.json").read_text())
    assert ridge["halves"] == ridge["identification_by_samples"] == {}


def test_the_registered_encoder_is_two_ridges_and_names_its_stable_diffusion(project, template):
    diffusion = diffusion_of(template)
    client = mlflow.MlflowClient(
        tracking_uri=f"sqlite:///{project}/mlflow.db", registry_uri=f"sqlite:///{project}/mlflow.db"
    )
    (version,) = client.search_model_versions("name = 'fmri2img-takagi-subj02'")
    run_data = client.get_run(version.run_id).data
    assert run_data.tags["diffusion"] == str(diffusion)
    assert len(run_data.tags["diffusion.unet"]) == 64
    assert f"z and c of {diffusion}" in version.description
    assert {
        "halves/c_two_way",
        "halves/z_two_way",
        "identification_by_samples/effnet_lite0_score",
        "z_only/pixcorr",
    } <= set(run_data.metrics)
    assert "targets-subj02" in {
        item.dataset.name for item in client.get_run(version.run_id).inputs.dataset_inputs
    }
    n_voxels = json.loads((project / "models/subj02/takagi/config.json").read_text())["n_voxels"]
    code = (
        "import mlflow, numpy as np; mlflow.set_registry_uri(mlflow.get_tracking_uri()); "
        f"m = mlflow.pyfunc.load_model('models:/{version.name}/{version.version}'); betas = "
        f"np.zeros((2, {n_voxels}), np.float32); "
        "print(m.predict(betas).shape, len(m.predict(betas, params={'output': 'png'})))"
    )
    served = run(
        project, "env", f"MLFLOW_TRACKING_URI=sqlite:///{project}/mlflow.db", "python", "-c", code
    )
    assert served.stdout.strip().splitlines()[-1] == "(2, 4, 40, 40) 2"


def test_pictures_are_decoded_from_exported_betas(project, tmp_path):
    run(project, "fmri2img", "export", "data/voxels/subj02.h5", "--to", str(tmp_path / "betas.npz"))
    few = dict(np.load(tmp_path / "betas.npz"))
    keep = np.isin(few["image_ids_0based"], np.unique(few["image_ids_0based"])[:2])
    np.savez(
        tmp_path / "few.npz",
        **{name: few[name][keep] for name in ("betas_percent", "image_ids_0based")},
    )
    result = run(
        project,
        "fmri2img",
        "decode",
        str(tmp_path / "few.npz"),
        "--model",
        "models/subj02/takagi",
        "--to",
        str(tmp_path / "to"),
    )
    assert "2 pictures in" in result.stdout
    assert sorted(path.suffix for path in (tmp_path / "to").iterdir()) == [".png", ".png"]


def test_other_captions_make_other_prompts_and_keep_the_scenes(project):
    """The pictures themselves are not even there: nothing of theirs is made again."""
    path, captions = (
        project / "data/targets/subj02/takagi.h5",
        project / "data/captions/subj02/takagi.json",
    )
    before, text, kept = (
        DiffusionTargets.open(path, remedy=""),
        captions.read_text(),
        path.read_bytes(),
    )
    content = json.loads(text)
    content["captions"][f"{before.image_ids[3]:05d}"] = ["Food on the boat."]
    captions.write_text(json.dumps(content))
    (stimuli,) = (project / "data/raw").rglob("nsd_stimuli_subj02.hdf5")
    stimuli.rename(hidden := stimuli.with_suffix(".hidden"))
    try:
        run(
            project,
            "python",
            "-m",
            "stages.make_targets",
            "--subject",
            "subj02",
            "--model",
            "takagi",
        )
        after = DiffusionTargets.open(path, remedy="")
    finally:
        hidden.rename(stimuli)
        captions.write_text(text)
        path.write_bytes(kept)
    np.testing.assert_array_equal(after.z_latents, before.z_latents)
    changed = (after.text_embeddings != before.text_embeddings).any(axis=(1, 2))
    assert np.flatnonzero(changed).tolist() == [3]

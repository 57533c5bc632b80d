"""Trained encoders after the pipeline has run: from a version back to its bytes, into other
stores, and into use.
"""

import re
import shlex
import shutil
import subprocess
from dataclasses import replace

import mlflow
import numpy as np
import pytest
import torch
from PIL import Image

from commands import fmri2img
from conftest import REPOSITORY
from fmri2img.containers.examples import Examples
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.generation.decode import decode_latents
from fmri2img.models.registry import load_encoder
from fmri2img.pretrained.autoencoder import load_autoencoder
from fmri2img.project.files import hash_file
from fmri2img.project.params_file import load_params
from miniature import SUBJECT, inside, keep_images
from pipeline.projects import run

WEIGHTS = "models/subj02/ridge/model.safetensors"


@pytest.fixture
def clone(project, tmp_path):
    """A colleague's clone with the project's store and a remote that has the encoders, and
    nothing in its cache.
    """
    remote, folder = tmp_path / "remote", tmp_path / "clone"
    run(project, "dvc", "remote", "add", "--local", "--force", "--default", "lab", str(remote))
    run(project, "dvc", "push", "train@subj02-ridge")
    run(tmp_path, "git", "clone", "-q", str(project), str(folder))
    run(folder, "dvc", "remote", "add", "--local", "--default", "lab", str(remote))
    return folder


def store_of(project):
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{project}/mlflow.db"}


def test_an_encoder_comes_back_from_the_remote_with_the_same_bytes(project, clone):
    champion = mlflow.MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db").get_model_version(
        "fmri2img-ridge-subj02", "1"
    )
    said = fmri2img(clone, "restore", "models:/fmri2img-ridge-subj02/1", **store_of(project)).stdout
    assert "DVC" not in said  # nothing had to come from elsewhere
    assert (
        hash_file(clone / WEIGHTS, "md5")
        == champion.tags["dvc.model_md5"]
        == hash_file(project / WEIGHTS, "md5")
    )
    assert (clone / "models/subj02/ridge/seeds.safetensors").exists()
    commit = run(project, "git", "rev-list", "--max-parents=0", "HEAD").stdout[:10]
    assert f"recorded by commit {commit}" in said
    assert f"git checkout {commit} && dvc repro train@subj02-ridge" in said


def test_samples_are_decoded_from_the_posterior_of_images_that_no_score_chose(template):
    reconstructions = Reconstructions.open(
        template / f"data/reconstructions/{SUBJECT}/bayes.h5", remedy=""
    )
    test_rows, ids = reconstructions.rows("test"), reconstructions.posterior_image_ids
    assert ids.tolist() == reconstructions.image_ids[test_rows[[0, -1]]].tolist()
    encoder, _ = load_encoder(template / f"models/{SUBJECT}/bayes")
    examples = Examples.open(template / f"data/examples/{SUBJECT}.h5", remedy="")
    repetitions = torch.from_numpy(examples.repetitions_of(ids))
    deviations = encoder.deviations(2, 2, repetitions).numpy()
    latents = reconstructions.latents[test_rows[[0, -1]]][:, None] + deviations
    with inside(template):
        params = load_params()
        decoder = load_autoencoder(params.autoencoder.source, params.autoencoder.revision)
    pictures = decode_latents(latents.reshape(4, 4, 16, 16), decoder, batch_size=4)
    apart = np.abs(reconstructions.posterior_images.reshape(pictures.shape) - pictures.astype(int))
    assert apart.max() <= 1  # of 255; batches of another size round otherwise
    of_ridge = Reconstructions.open(
        template / f"data/reconstructions/{SUBJECT}/ridge.h5", remedy=""
    )
    assert of_ridge.posterior_images is None


def test_an_encoder_whose_bytes_are_nowhere_else_comes_from_the_registry(project, clone, tmp_path):
    shutil.rmtree(tmp_path / "remote")
    said = fmri2img(clone, "restore", "models:/fmri2img-ridge-subj02/1", **store_of(project)).stdout
    assert "taken from the registry's own copy" in said
    assert hash_file(clone / WEIGHTS, "md5") == hash_file(project / WEIGHTS, "md5")


def test_other_bytes_are_not_overwritten(project, clone):
    (clone / WEIGHTS).parent.mkdir(parents=True)
    (clone / WEIGHTS).write_bytes(b"a week of work")
    refused = fmri2img(
        clone, "restore", "models:/fmri2img-ridge-subj02/1", check=False, **store_of(project)
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {WEIGHTS} differs from this encoder's file")
    assert (clone / WEIGHTS).read_bytes() == b"a week of work"
    fmri2img(
        clone,
        "restore",
        "models:/fmri2img-ridge-subj02/1",
        "--to",
        "elsewhere",
        **store_of(project),
    )
    assert hash_file(clone / "elsewhere/model.safetensors", "md5") == hash_file(
        project / WEIGHTS, "md5"
    )
    fmri2img(clone, "restore", "models:/fmri2img-ridge-subj02/1", "--force", **store_of(project))
    assert hash_file(clone / WEIGHTS, "md5") == hash_file(project / WEIGHTS, "md5")


def test_a_fresh_store_gets_all_that_is_on_disk(project, tmp_path):
    uri = f"sqlite:///{tmp_path}/fresh.db"
    fmri2img(project, "track", MLFLOW_TRACKING_URI=uri)
    old, new = (
        mlflow.MlflowClient(tracking_uri=address)
        for address in (f"sqlite:///{project}/mlflow.db", uri)
    )
    runs = [
        {
            run.info.run_name: run
            for run in client.search_runs([client.get_experiment_by_name("fmri2img").experiment_id])
        }
        for client in (old, new)
    ]
    assert set(runs[1]) == {"subj02-ridge", "subj02-basic_ae"} < set(runs[0])
    for name, copy in runs[1].items():
        run_of_old = runs[0][name]
        assert copy.data.metrics == run_of_old.data.metrics
        assert copy.data.tags["restored"] == "true"
        files = [
            {item.path for item in client.list_artifacts(one.info.run_id, "images")}
            for client, one in ((old, run_of_old), (new, copy))
        ]
        assert (
            {path.split("+")[0] for path in files[0]}
            == {path.split("+")[0] for path in files[1]}
            != set()
        )


def test_betas_become_pictures(project, tmp_path):
    from fmri2img.containers.reconstructions import Reconstructions

    found = Reconstructions.open(project / "data/reconstructions/subj02/ridge.h5", remedy="")
    row = found.rows("test")[0]
    fmri2img(project, "export", "data/voxels/subj02.h5", "--to", tmp_path / "betas.npz")
    # To decode all of them takes a minute.
    keep_images(tmp_path / "betas.npz", found.image_ids[found.rows("test")[:3]])
    said = fmri2img(
        project,
        "decode",
        tmp_path / "betas.npz",
        "--model",
        "models/subj02/ridge",
        "--to",
        tmp_path / "pictures",
    )
    assert "SIMULATED DATA" in said.stderr
    with np.load(tmp_path / "betas.npz") as voxels:
        ids = np.unique(voxels["image_ids_0based"])
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        f"{image:05d}.png" for image in ids
    ]
    picture = np.asarray(Image.open(tmp_path / "pictures" / f"{found.image_ids[row]:05d}.png"))
    assert np.abs(picture.astype(int) - found.images[row]).max() <= 1


def test_betas_of_other_voxels_are_refused(project, tmp_path):
    np.save(tmp_path / "betas.npy", np.zeros((3, 7), np.float32))
    refused = fmri2img(
        project,
        "decode",
        tmp_path / "betas.npy",
        "--repetitions",
        3,
        "--model",
        "models/subj02/ridge",
        "--to",
        tmp_path / "pictures",
        check=False,
    )
    assert refused.returncode == 1
    assert "7 voxels, expected the" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_voxels_of_somebody_else_are_refused(project, tmp_path):
    """Also with the same number of voxels."""
    trials = TrialBetas.open(project / "data/voxels/subj02.h5", remedy="")
    about = trials.provenance | {"subject": "subj07"}
    replace(trials, provenance=about).save(tmp_path / "theirs.h5")
    options = ("--model", "models/subj02/ridge", "--to", tmp_path / "pictures")
    refused = fmri2img(project, "decode", tmp_path / "theirs.h5", *options, check=False)
    assert refused.returncode == 1
    assert "voxels of subj07, expected those of subj02, whose encoder" in refused.stderr
    assert not (tmp_path / "pictures").exists()


@pytest.mark.slow
def test_a_sweep_lands_in_the_projects_store(copied):
    """The documented one: two workers of DVC's queue, each in a copy of the project."""
    project, page = copied, (REPOSITORY / "docs/mlflow.md").read_text()
    (block,) = [
        found
        for found in re.findall(r"```console\n(.*?)```", page, re.DOTALL)
        if "dvc exp run --queue" in found
    ]
    queue, start = (
        shlex.split(line.removeprefix("$ ").replace("subj01", SUBJECT))
        for line in block.splitlines()[:2]
    )
    run(project, *queue)
    run(project, *start)
    run(project, "dvc", "queue", "logs", "--follow", check=False)
    for _ in range(120):
        status = run(project, "dvc", "queue", "status").stdout
        if "Running" not in status and "Queued" not in status:
            break
        subprocess.run(["sleep", "1"], check=True)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
    runs = client.search_runs(
        [client.get_experiment_by_name("fmri2img").experiment_id], "tags.`dvc.exp_name` != ''"
    )
    assert sorted(run.data.params["ridge.n_folds"] for run in runs) == ["3", "4", "8"], status
    assert len({run.data.tags["dvc.exp_name"] for run in runs}) == 3
    assert {run.info.run_name for run in runs} == {
        f"subj02-ridge {run.data.tags['dvc.exp_name']}" for run in runs
    }
    assert all("validation/pattern_correlation" in run.data.metrics for run in runs)

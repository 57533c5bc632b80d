"""A project that was copied, moved, or lost a part of MLflow's store: what every verb says is the
table of docs/faults.md.
"""

import shutil
import sqlite3

import mlflow
import pytest
import yaml

from miniature import SUBJECT, clone
from pipeline.projects import run

pytestmark = pytest.mark.slow

MODEL = f"models:/fmri2img-ridge-{SUBJECT}/1"
# Of each situation: what `list` prints beside the versions.
SITUATIONS = {
    "copied": "was copied or moved",
    "moved": "was copied or moved",
    "without mlruns": "",
    "a run deleted": "",
    "the experiment deleted": "restored",
}


def prepare(situation, pair_template, tmp_path):
    """Return the project's folder in a situation."""
    project = clone(pair_template, tmp_path / "lab")
    if situation in ("copied", "moved"):
        other = tmp_path / "Größe #2 100% a?b"
        shutil.copytree(project, other, symlinks=True)
        if situation == "moved":
            shutil.rmtree(project)
        return other
    if situation == "without mlruns":
        shutil.rmtree(project / "mlruns")
        return project
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name != 'Default'")
    if situation == "a run deleted":
        (version,) = client.search_model_versions(f"name = 'fmri2img-ridge-{SUBJECT}'")
        client.delete_run(version.run_id)
    else:
        client.delete_experiment(experiment.experiment_id)
    return project


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_verb_works_and_says_what_it_found(situation, pair_template, tmp_path):
    project = prepare(situation, pair_template, tmp_path)
    listed = run(project, "fmri2img", "list")
    assert f"fmri2img-ridge-{SUBJECT}" in listed.stdout
    assert SITUATIONS[situation] in listed.stderr
    assert "was copied or moved" not in run(project, "fmri2img", "list").stderr  # said once
    run(project, "fmri2img", "track")
    assert run(project, "fmri2img", "why").stdout.count("\n") == 1  # nothing is stale
    assert "stages are up to date" in run(project, "fmri2img", "repro").stderr
    voxels = f"data/voxels/{SUBJECT}.h5"
    run(project, "fmri2img", "voxels", voxels)
    run(project, "fmri2img", "export", voxels, "--to", tmp_path / "betas.npz")
    run(project, "fmri2img", "lineage", f"models/{SUBJECT}/ridge/model.safetensors")
    run(project, "fmri2img", "metrics")
    run(project, "fmri2img", "check")
    run(project, "fmri2img", "restore", MODEL)
    folder = tmp_path / "made"
    run(project, "fmri2img", "decode", tmp_path / "betas.npz", "--model", MODEL, "--to", folder)
    assert list(folder.glob("*.png"))


def test_the_original_of_a_copy_stays_as_it_is(pair_template, tmp_path):
    project = clone(pair_template, tmp_path / "lab")
    other = tmp_path / "copy"
    shutil.copytree(project, other, symlinks=True)

    def contents():
        with sqlite3.connect(project / "mlflow.db") as connection:
            return list(connection.iterdump())

    before = contents()
    run(other, "fmri2img", "list")
    params = yaml.safe_load((other / "params.yaml").read_text())
    params["train"]["ridge"]["n_folds"] += 1
    (other / "params.yaml").unlink()
    (other / "params.yaml").write_text(yaml.safe_dump(params))
    run(other, "dvc", "repro", f"train@{SUBJECT}-ridge")
    assert contents() == before
    assert "fmri2img-ridge" in run(project, "fmri2img", "list").stdout

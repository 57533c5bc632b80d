"""A finished project of version 0.1, as it was left, brought to today's names.

``tests/golden/project_0_1.tar.xz`` was made by version 0.1 itself (460e1a7): one subject of few
voxels, pictures of one colour, ``ridge`` and ``default``; without raw files, DVC's cache and the
demo's autoencoder.
"""

import hashlib
import json
import shutil
import subprocess
import tarfile

import mlflow
import pytest
import yaml

from commands import dvc, fmri2img, without_code
from conftest import REPOSITORY
from miniature import move_store

ARCHIVE = REPOSITORY / "tests/golden/project_0_1.tar.xz"
SUBJECT, SESSION = "subj02", 20
# What no migration may touch.
KEPT = (
    *("data/voxels", "data/examples", "data/latents", "data/splits", "data/rois"),
    *("data/receipts", "models"),
)


def git(folder, *words):
    subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@localhost", *words],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def contents(project):
    """MD5 of every file that has to stay as it is, by today's path."""
    paths = [
        path
        for name in KEPT
        for path in ((project / name).rglob("*") if (project / name).is_dir() else [project / name])
        if path.is_file() and "demo-vae" not in path.parts
    ]
    return {
        path.relative_to(project)
        .as_posix()
        .replace("/default/", "/bayes_independent/"): hashlib.md5(
            path.read_bytes(), usedforsecurity=False
        ).hexdigest()
        for path in paths
    }


def fill_cache(project):
    """Put outputs where DVC keeps them; a user's cache has them already."""
    stages = yaml.safe_load((project / "dvc.lock").read_text())["stages"].values()
    for out in (out for stage in stages for out in stage.get("outs", [])):
        kept = project / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project / out["path"], kept)


@pytest.fixture(scope="module")
def old_project(tmp_path_factory):
    """What a user has after pulling today's code into a project of version 0.1."""
    folder = tmp_path_factory.mktemp("old") / "project"
    with tarfile.open(ARCHIVE) as archive:
        # Python 3.11.3 and earlier have no filters.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(folder)  # noqa: S202 (ours)
    move_store(folder / "mlflow.db", "/the/project", folder)
    (folder / "models").mkdir(exist_ok=True)
    shutil.copytree(REPOSITORY / "models/demo-vae", folder / "models/demo-vae")
    # The simulator is another today, and makes other files; real ones are read as they were.
    for name in ("params.yaml", "dvc.lock"):
        text = (folder / name).read_text()
        assert "source: simulated" in text
        (folder / name).write_text(text.replace("source: simulated", "source: local"))
    fill_cache(folder)
    git(folder, "init", "-q", ".")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "version 0.1, finished")
    shutil.rmtree(folder / "src")
    for name in ("dvc.yaml", "data/.gitignore", ".gitignore"):
        shutil.copyfile(REPOSITORY / name, folder / name)
    shutil.copytree(
        REPOSITORY / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg*")
    )
    return folder


def test_it_is_told_what_to_run(old_project):
    result = fmri2img(old_project, "check", check=False)
    assert result.returncode == 1
    assert "nsd: part of datasets.nsd since 0.2" in result.stderr
    assert without_code(result.stderr).strip().endswith("run: fmri2img migrate-project")


def test_a_dry_run_changes_nothing(old_project):
    before = {path: path.read_bytes() for path in old_project.rglob("*.json") if path.is_file()}
    result = fmri2img(old_project, "migrate-project", "--dry-run")
    assert "models/subj02/default -> models/subj02/bayes_independent" in result.stdout
    assert result.stdout.splitlines()[-1].endswith("steps; nothing was changed")
    assert all(path.read_bytes() == content for path, content in before.items())


def test_everything_is_kept_and_nothing_is_stale(old_project):
    before, truth = contents(old_project), (old_project / "data/truth.h5").read_bytes()
    lines = fmri2img(old_project, "migrate-project").stdout.splitlines()
    assert contents(old_project) == before
    assert (old_project / f"data/truth/{SUBJECT}.h5").read_bytes() == truth
    renamed = "fmri2img-default-subj02 -> fmri2img-bayes_independent-subj02"
    assert f"registered model {renamed} (champion stays)" in lines
    assert lines[-1] == "reports/comparison: made again"
    assert not [line for line in lines if "will run again" in line]
    # Only what version 0.3 did not have is still to be made.
    new = {f"collect_anatomy@{SUBJECT}", f"map_voxels@{SUBJECT}"}
    assert set(json.loads(dvc(old_project, "status", "--json").stdout)) == new
    assert "dvc repro will also make maps of voxels, which are new" in lines
    params = yaml.safe_load((old_project / "params.yaml").read_text())
    assert params["models"] == {
        "latents": ["ridge", "bayes_independent"],
        "population": [],
        "pixels": [],
        "diffusion": [],
    }
    assert params["dataset"] == "nsd"
    assert params["datasets"]["nsd"]["sessions"] == [SESSION]
    assert params["datasets"]["simulated"]["simulation"]["world"] == "standard"
    assert params["machine"]["raw_root"] == "data/raw"
    assert params["population"] == [SUBJECT]
    assert not (old_project / "data/truth.h5").exists()
    assert not (old_project / "data/prior.h5").exists()
    assert not {"nsd", "fetch_nsd"} & set(params)
    again = fmri2img(old_project, "migrate-project").stdout
    assert again == "nothing to do: the project has today's names and layouts\n"


def test_champions_stay_champions(old_project):
    client = mlflow.MlflowClient(f"sqlite:///{old_project}/mlflow.db")
    names = {model.name for model in client.search_registered_models()}
    assert names == {f"fmri2img-{model}-{SUBJECT}" for model in ("ridge", "bayes_independent")}
    assert client.get_registered_model(f"fmri2img-bayes_independent-{SUBJECT}").aliases == {
        "champion": 1
    }
    experiment = client.get_experiment_by_name("fmri2img")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_name for run in runs} == {
        f"{SUBJECT}-ridge",
        f"{SUBJECT}-bayes_independent",
    }
    assert all("floor/pixcorr" in run.data.metrics for run in runs)
    listed = fmri2img(old_project, "list").stdout
    assert f"fmri2img-bayes_independent-{SUBJECT}" in listed
    comparison = (old_project / "reports/comparison.md").read_text()
    assert "| **bayes_independent** \\* |" in comparison
    assert "default" not in comparison

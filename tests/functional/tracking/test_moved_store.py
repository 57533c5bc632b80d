"""A project that is copied or moved: its store follows, and writes nothing where it came from."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from fmri2img.tracking.store import open_store
from fmri2img.tracking.versions import download, list_versions
from miniature import inside

_LOG = """
import sys
from fmri2img.tracking.store import open_store
open_store()[0].log_text(sys.argv[1], "new", "note.txt")
"""


def files_in(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.parametrize("is_gone", [False, True], ids=["copied", "moved"])
def test_the_store_follows_the_project(project, tmp_path_factory, is_gone):
    project.train_and_log("ridge", weight=1.0, score=0.3)
    before = files_in(project.root / "mlruns")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "Größe #2 a_b"
    shutil.copytree(project.root, elsewhere)
    if is_gone:
        shutil.rmtree(project.root / "mlruns")
    with inside(elsewhere):
        client, experiment = open_store()
        location = client.get_experiment(experiment).artifact_location
        assert location == f"{elsewhere.as_uri()}/mlruns/fmri2img"
        (run,) = client.search_runs([experiment])
        assert run.info.artifact_uri.startswith(f"{location}/")
        assert client.list_artifacts(run.info.run_id)
        (version,) = list_versions(client)
        assert (download(version, elsewhere / "fetched") / "model.safetensors").exists()
    # A process of its own: MLflow remembers a run's folder as long as it lives.
    subprocess.run([sys.executable, "-c", _LOG, run.info.run_id], cwd=elsewhere, check=True)
    assert list((elsewhere / "mlruns").rglob("note.txt"))
    if not is_gone:
        assert files_in(project.root / "mlruns") == before


def test_artifacts_that_somebody_put_elsewhere_stay_there(project, tmp_path_factory):
    client, experiment = open_store()
    other = tmp_path_factory.mktemp("big-disk").as_uri()
    with sqlite3.connect("mlflow.db") as connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (other,))
    client, experiment = open_store()
    assert client.get_experiment(experiment).artifact_location == other

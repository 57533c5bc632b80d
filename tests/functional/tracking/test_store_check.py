"""A store that was copied, moved, deleted in part, or is none."""

import json
import logging
import os
import shutil
import socket
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
from filelock import FileLock

from fmri2img.project.exceptions import UnavailableError
from fmri2img.tracking.chart_view import VIEW_TAG, chart_view
from fmri2img.tracking.runs import catch_up, log_encoder
from fmri2img.tracking.store import open_store, required, store_uri
from fmri2img.tracking.store_check import without_password

URI = "models:/fmri2img-ridge-subj01/1"


def opened():
    with required():
        return open_store()


@pytest.fixture
def params_of_one(project, monkeypatch):
    """Let ``track`` know of one encoder."""
    monkeypatch.setattr(
        "fmri2img.tracking.runs.load_params",
        lambda: type("Params", (), {"subjects": ["subj01"], "models": ["ridge"], "ood": []}),
    )
    return project


def test_a_copied_project_has_a_store_of_its_own(project, tmp_path_factory, monkeypatch, caplog):
    project.train_and_log()
    copy = tmp_path_factory.mktemp("copies") / "Größe #2 100% a"
    shutil.copytree(project.root, copy)
    monkeypatch.chdir(copy)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # MLflow has set it, for its own children
    project.train_and_log(weight=0.5)
    told = [line for line in caplog.messages if "copied or moved" in line]
    assert told == [
        f"MLflow: mlflow.db names files in {(Path(project.root) / 'mlruns').as_uri()}, from where "
        f"this folder was copied or moved; from now on they are looked for in {copy / 'mlruns'}"
    ]
    client, experiment = open_store()
    for run in client.search_runs([experiment]):
        assert run.info.artifact_uri.startswith((copy / "mlruns").as_uri())
        assert client.list_artifacts(run.info.run_id)
    shutil.rmtree(project.root / "mlruns")
    for number in (1, 2):
        model = mlflow.pyfunc.load_model(f"models:/fmri2img-ridge-subj01/{number}")
        assert model.predict(np.zeros((1, 9), np.float32)).shape == (1, 4, 16, 16)


def test_a_folder_whose_name_has_a_question_mark(project, tmp_path, monkeypatch):
    place = tmp_path / "a?b=c"
    place.mkdir()
    monkeypatch.chdir(place)
    project.train_and_log()
    assert store_uri() == "sqlite:///mlflow.db"
    assert (place / "mlflow.db").stat().st_size
    assert not (tmp_path / "a").exists()  # a driver would take the rest for options
    assert mlflow.pyfunc.load_model(URI).predict(np.zeros((1, 9), np.float32)).shape[0] == 1


@pytest.mark.parametrize("name", ["a?b=c", "a%20b"])
def test_addresses_do_not_hold_what_would_be_read_otherwise(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store_uri() == "sqlite:///mlflow.db"
    monkeypatch.chdir(tmp_path)
    assert store_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_deleted_files_are_logged_again(params_of_one, tmp_path):
    params_of_one.train_and_log()
    assert next(catch_up()).startswith("subj01/ridge: everything is in the store")
    shutil.rmtree(tmp_path / "mlruns")
    assert next(catch_up()).startswith("subj01/ridge: training logged")
    assert next(catch_up()).startswith("subj01/ridge: everything is in the store")
    assert mlflow.pyfunc.load_model(URI).predict(np.zeros((1, 9), np.float32)).shape[0] == 1
    client, experiment = open_store()
    assert len(client.search_runs([experiment])) == 1
    assert len(client.search_model_versions("name = 'fmri2img-ridge-subj01'")) == 1


def test_files_of_a_database_elsewhere_stay_where_they_are(project, tmp_path_factory, monkeypatch):
    """Two checkouts may share a database; the places of its files are the other folder's."""
    project.train_and_log()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.root}/mlflow.db")
    monkeypatch.chdir(tmp_path_factory.mktemp("other"))
    client, experiment = open_store()
    [run] = client.search_runs([experiment])
    assert run.info.artifact_uri.startswith((Path(project.root) / "mlruns").as_uri())


def test_a_store_that_another_process_holds_costs_a_warning(project, monkeypatch, caplog):
    monkeypatch.setattr("fmri2img.tracking.store._SECONDS_TO_OPEN", 0.1)
    project.train()
    with FileLock(project.root / ".mlflow.lock"):
        log_encoder("subj01", "ridge", is_new=True, evaluation=False)
        with pytest.raises(UnavailableError, match="is opening the store"):
            opened()
    assert "the files on disk are complete" in caplog.text


def test_a_database_that_is_damaged_is_one_line(project):
    os.truncate(project.root / "mlflow.db", 5000)
    with pytest.raises(UnavailableError, match=r"MLflow store .*mlflow\.db"):
        opened()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://m:ab/cd@db:5432/x", "postgresql://m:***@db:5432/x"),
        ("postgresql://m:a@b@db/x", "postgresql://m:***@db/x"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("http://lab:5000", "http://lab:5000"),
    ],
)
def test_passwords_are_not_shown(uri, shown):
    assert without_password(uri) == shown


def test_a_deleted_experiment_is_restored(project, caplog):
    project.train_and_log()
    client, experiment = open_store()
    client.delete_experiment(experiment)
    assert open_store()[1] == experiment
    assert "MLflow: the experiment fmri2img had been deleted; it is restored" in caplog.messages
    assert len(client.search_runs([experiment])) == 1


def test_a_run_lasts_as_long_as_its_training(project):
    project.train_and_log()
    client, experiment = open_store()
    [before] = client.search_runs([experiment])
    shutil.rmtree(project.root / "mlruns")
    time.sleep(0.05)
    log_encoder("subj01", "ridge", evaluation=False)
    [after] = client.search_runs([experiment])
    assert after.info.end_time == before.info.end_time
    assert after.info.status == "FINISHED"


def test_a_run_says_what_was_changed(project):
    project.train_and_log()
    project.train_and_log(weight=0.1, sessions=3)
    project.train_and_log(weight=0.2, sessions=3)
    client, experiment = open_store()
    runs = client.search_runs([experiment], order_by=["attributes.start_time ASC"])
    assert [run.data.tags["changed"] for run in runs] == [
        "first of its subject and model",
        "sessions 2 -> 3",
        "no setting",
    ]
    # Other settings, another name.
    assert [run.info.run_name for run in runs] == [
        "subj01-ridge",
        "subj01-ridge: sessions 3",
        "subj01-ridge: sessions 3",
    ]
    # Back, and then to three sessions from elsewhere: a name of its own.
    project.train_and_log(weight=0.3)
    project.train_and_log(weight=0.4, sessions=3, roi="other")
    project.train_and_log(weight=0.5, roi="other")
    project.train_and_log(weight=0.6, sessions=3, roi="other")
    runs = client.search_runs([experiment], order_by=["attributes.start_time ASC"])
    names = [run.info.run_name for run in runs]
    assert names[-1] == "subj01-ridge: sessions 3 #2"
    assert len(set(names[1:])) == len(names) - 2  # only the third has that of the second


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda path: path.mkdir(), "is a folder, expected a database; move it away"),
        (lambda path: path.write_text("no database" * 9), "is no SQLite database; move it away"),
        (os.mkfifo, "is a pipe or device, expected a database; move it away"),
    ],
)
def test_what_is_no_database_is_refused_at_once(tmp_path, monkeypatch, make, line):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    make(tmp_path / "mlflow.db")
    before = time.monotonic()
    with pytest.raises(UnavailableError, match=rf"MLflow store .*mlflow\.db {line}"):
        opened()
    assert time.monotonic() - before < 5


def test_what_is_no_address_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://[::bad")
    with pytest.raises(UnavailableError, match=r"it is no address of a server .*; check MLFLOW_TR"):
        opened()


def test_a_database_server_that_does_not_answer(project, monkeypatch, caplog):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://lab:secret@127.0.0.1:{port}/mlflow")
    with pytest.raises(UnavailableError, match=rf"127\.0\.0\.1:{port} does not answer") as caught:
        opened()
    assert "secret" not in str(caught.value)
    caplog.set_level(logging.WARNING)
    project.train_and_log()
    assert "does not answer" in caplog.text


def test_the_view_of_an_earlier_version_is_renewed_and_somebody_elses_is_kept(project):
    client, experiment = open_store()
    document = json.loads(chart_view(["pictures/00007"]))
    state = json.loads(document["state"])
    state["compareRunSections"] = state["compareRunSections"][::-1]
    earlier = json.dumps(document | {"state": json.dumps(state)})
    theirs = json.dumps(document | {"name": "Ours", "state": json.dumps(state)})
    for stored, expected in ((earlier, chart_view(["pictures/00007"])), (theirs, theirs)):
        client.set_experiment_tag(experiment, VIEW_TAG, stored)
        open_store()
        assert client.get_experiment(experiment).tags[VIEW_TAG] == expected
    client.set_experiment_tag(experiment, VIEW_TAG, "no JSON")
    open_store()
    assert client.get_experiment(experiment).tags[VIEW_TAG] == "no JSON"

import time
from contextlib import suppress

import mlflow
import pytest
from sqlalchemy.exc import OperationalError

from fmri2img.project.layout import live_run_path
from fmri2img.tracking import live
from fmri2img.tracking.live import LiveCurve, live_curve
from fmri2img.tracking.run_notes import read_note
from fmri2img.tracking.runs import log_encoder
from fmri2img.tracking.store import open_store
from tracking.conftest import ABOUT
from tracking.servers import Server


@pytest.fixture
def server(project):
    found = Server(project.root)
    yield found
    found.kill()


def record(epoch):
    return {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "validation_loss": 0.5 / epoch,
        "validation_pattern_correlation": 0.1 * epoch,
    }


def steps(client, run_id):
    return [point.step for point in client.get_metric_history(run_id, "curve/train_loss")]


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def test_epochs_arrive_while_the_training_runs(project, monkeypatch):
    monkeypatch.setattr(live, "_SECONDS_BETWEEN", 0.05)
    began = time.time() * 1000
    with live_curve("subj01", "ridge", ABOUT) as curve:
        time.sleep(0.3)  # the training of an encoder in closed form
        curve.add(record(1))
        until(lambda: curve.run_id and not curve.waiting)
        client, _ = open_store()
        assert steps(client, curve.run_id) == [1]
        assert client.get_run(curve.run_id).info.status == "RUNNING"
        curve.add(record(2))
    run_id = curve.close()
    assert steps(client, run_id) == [1, 2]
    project.train()
    log_encoder("subj01", "ridge", is_new=True, live_run=run_id, evaluation=False)
    (run,) = client.search_runs([client.get_run(run_id).info.experiment_id])
    assert (run.info.run_id, run.info.status, run.info.run_name) == (
        run_id,
        "FINISHED",
        "subj01-ridge",
    )
    assert steps(client, run_id) == [1, 2]
    assert began - 1 <= run.info.start_time <= began + 250  # and not when the first epoch came
    assert "restored" not in run.data.tags
    assert not live_run_path("subj01", "ridge").exists()


def test_a_training_with_other_settings_has_a_run_of_its_own(project, monkeypatch):
    monkeypatch.setattr(live, "_SECONDS_BETWEEN", 0.05)
    note = live_run_path("subj01", "ridge")
    diverged = LiveCurve("subj01-ridge", {}, note)
    for epoch in (1, 2, 3):
        diverged.add(record(epoch) | {"train_loss": 7.0})
    until(lambda: not diverged.waiting)
    curve = LiveCurve("subj01-ridge", {}, note)
    curve.add(record(1))
    curve.add(record(2))
    run_id = curve.close()
    assert run_id != diverged.run_id
    project.train()
    log_encoder("subj01", "ridge", is_new=True, live_run=run_id, evaluation=False)
    client, _ = open_store()
    assert steps(client, run_id) == [1, 2]
    diverged.close()


def test_a_run_that_holds_another_curve_is_not_taken_for_this_encoders(project):
    curve = live_curve("subj01", "ridge", ABOUT)
    curve.add(record(1) | {"train_loss": 7.0})
    run_id = curve.close()
    project.train()
    log_encoder("subj01", "ridge", is_new=True, live_run=run_id, evaluation=False)
    client, experiment = open_store()
    (run,) = [run for run in client.search_runs([experiment]) if "dvc.model_md5" in run.data.tags]
    assert run.info.run_id != run_id
    assert [
        point.value for point in client.get_metric_history(run.info.run_id, "curve/train_loss")
    ] == [1.0, 0.5]


def test_a_first_contact_that_fails_half_way_is_tried_again(project, monkeypatch):
    monkeypatch.setattr(live, "_SECONDS_BETWEEN", 0.05)
    monkeypatch.setattr(live, "_SECONDS_AFTER_FAILURE", 0.05)
    create, failures = (
        mlflow.MlflowClient.create_run,
        [OperationalError("insert", {}, Exception("database is away"))],
    )

    def fails_once(*arguments, **options):
        if failures:
            raise failures.pop()
        return create(*arguments, **options)

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", fails_once)
    curve = live_curve("subj01", "ridge", ABOUT)
    curve.add(record(1))
    until(lambda: not curve.waiting)
    client, _ = open_store()
    assert steps(client, curve.close()) == [1]


def test_a_run_whose_store_was_away_at_the_end_is_completed_later(project, monkeypatch):
    monkeypatch.setattr(live, "_SECONDS_BETWEEN", 0.05)
    curve = live_curve("subj01", "ridge", ABOUT)
    curve.add(record(1))
    until(lambda: not curve.waiting)
    run_id = curve.close()
    project.train()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    log_encoder("subj01", "ridge", is_new=True, live_run=run_id, evaluation=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    log_encoder("subj01", "ridge", evaluation=False)
    client, experiment = open_store()
    (run,) = client.search_runs([experiment])
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    assert steps(client, run_id) == [1, 2]


def test_a_training_that_goes_on_after_a_kill_goes_on_in_its_run(project, monkeypatch):
    monkeypatch.setattr(live, "_SECONDS_BETWEEN", 0.05)
    note = live_run_path("subj01", "ridge")
    first = LiveCurve("subj01-ridge", {}, note)
    first.add(record(1))
    until(lambda: not first.waiting)
    again = LiveCurve("subj01-ridge", {}, note)  # nobody closed the first
    for epoch in (1, 2):  # a resumed training tells its earlier epochs again
        again.add(record(epoch))
    assert again.close() == first.run_id
    client, _ = open_store()
    assert steps(client, first.run_id) == [1, 2]
    assert read_note(note) == (first.run_id, True)
    first.close()


def test_a_training_that_fails_leaves_a_failed_run(project, monkeypatch):
    monkeypatch.setattr(live, "_SECONDS_BETWEEN", 0.05)
    curve = live_curve("subj01", "ridge", ABOUT)
    curve.add(record(1))
    until(lambda: not curve.waiting)
    with suppress(RuntimeError), curve:
        raise RuntimeError("diverged")
    client, _ = open_store()
    assert client.get_run(curve.run_id).info.status == "FAILED"
    assert live_run_path("subj01", "ridge").read_text() == curve.run_id


def test_a_training_never_waits_for_a_dead_server(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    curve = LiveCurve("subj01-ridge", {}, live_run_path("subj01", "ridge"))
    start = time.monotonic()
    for epoch in range(1, 200):
        curve.add(record(epoch))
    assert time.monotonic() - start < 1
    curve.close()
    assert curve.run_id == ""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    project.train(epochs=199)
    log_encoder("subj01", "ridge", is_new=True, live_run="", evaluation=False)
    client, experiment = open_store()
    (run,) = client.search_runs([experiment])
    assert steps(client, run.info.run_id) == list(range(1, 200))


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_loses_nothing(project, server, monkeypatch):
    monkeypatch.setattr(live, "_SECONDS_BETWEEN", 0.2)
    monkeypatch.setattr(live, "_SECONDS_AFTER_FAILURE", 0.5)
    monkeypatch.setattr(live, "_LAST_WAIT", 60)
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    longest = 0.0
    with live_curve("subj01", "ridge", ABOUT) as curve:
        for epoch in range(1, 41):
            start = time.monotonic()
            curve.add(record(epoch))
            longest = max(longest, time.monotonic() - start)
            if epoch == 10:
                until(lambda: not curve.waiting)
                server.kill()
            if epoch == 30:
                server.start()
            time.sleep(0.05)
    run_id = curve.close()
    assert longest < 1
    project.train(epochs=40)
    server.kill()
    # Nobody there: a warning.
    log_encoder("subj01", "ridge", is_new=True, live_run=run_id, evaluation=False)
    server.start()
    log_encoder("subj01", "ridge", evaluation=False)
    client, experiment = open_store()
    runs = client.search_runs([experiment])
    finished = [run for run in runs if run.info.status == "FINISHED"]
    assert len(finished) == 1
    assert steps(client, finished[0].info.run_id) == list(range(1, 41))
    assert len(client.search_model_versions("name = 'fmri2img-ridge-subj01'")) == 1

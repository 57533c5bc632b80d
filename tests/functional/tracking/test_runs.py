import json
import logging
import multiprocessing
import os
import shutil
import sqlite3
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from fmri2img.project import layout
from fmri2img.project.exceptions import MismatchError, MissingDataError
from fmri2img.project.files import hash_file
from fmri2img.project.layout import curve_path, encoder_folder, examples_path, validation_path
from fmri2img.project.places import project_root
from fmri2img.tracking.encoder_files import md5_tags
from fmri2img.tracking.runs import log_encoder
from fmri2img.tracking.store import EXPERIMENT, find_run, open_store


def runs(client, experiment):
    return client.search_runs([experiment])


def test_an_encoder_in_closed_form_has_no_curve(project):
    project.train(epochs=1)
    log_encoder("subj01", "ridge", is_new=True, evaluation=False)
    client, experiment = open_store()
    (run,) = runs(client, experiment)
    assert not [name for name in run.data.metrics if name.startswith("curve/")]
    assert run.data.metrics["validation/pattern_correlation"] == 0.3


def test_a_run_holds_all_that_is_on_disk(project):
    encoder = project.train(weight=0.5)
    log_encoder("subj01", "ridge", is_new=True, evaluation=False)
    client, experiment = open_store()
    (run,) = runs(client, experiment)
    assert (run.info.run_name, run.info.status) == ("subj01-ridge", "FINISHED")
    assert run.data.metrics["validation/pattern_correlation"] == 0.3
    history = client.get_metric_history(run.info.run_id, "curve/validation_loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.25)]
    assert run.data.params["ridge.n_folds"] == "5"
    assert {
        "subject": "subj01",
        "data.source": "simulated",
        "split": "shared",
        "model": "ridge",
    }.items() <= run.data.tags.items()
    assert "restored" not in run.data.tags
    weights = encoder_folder("subj01", "ridge") / "model.safetensors"
    assert run.data.tags["dvc.model_md5"] == hash_file(weights, "md5")
    (dataset,) = [item.dataset for item in run.inputs.dataset_inputs]
    assert (dataset.name, dataset.digest) == (
        "examples-subj01",
        hash_file(examples_path("subj01"), "md5"),
    )
    assert json.loads(dataset.source) == {"uri": "data/examples/subj01.h5"}

    version = client.get_model_version("fmri2img-ridge-subj01", "1")
    assert version.description.startswith("**SIMULATED DATA")
    assert version.tags["dvc.model_md5"] == run.data.tags["dvc.model_md5"]
    loaded = mlflow.pyfunc.load_model("models:/fmri2img-ridge-subj01/1")
    betas = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)
    np.testing.assert_array_equal(
        loaded.predict(betas), encoder(torch.from_numpy(betas)).detach().numpy()
    )


def test_models_are_ranked_by_score_and_data(project):
    project.train_and_log("ridge", weight=1.0, score=0.3)
    project.train_and_log("bayes", weight=2.0, score=0.4)
    _, experiment = open_store()
    digest = hash_file(examples_path("subj01"), "md5")
    models = mlflow.search_logged_models(
        experiment_ids=[experiment],
        datasets=[{"dataset_name": "examples-subj01", "dataset_digest": digest}],
        order_by=[{"field_name": "metrics.validation/pattern_correlation", "ascending": False}],
        output_format="list",
    )
    assert [model.name for model in models] == ["subj01-bayes", "subj01-ridge"]
    linked = {
        metric.key: (metric.value, metric.dataset_name, metric.dataset_digest)
        for metric in models[0].metrics
    }
    assert linked["validation/pattern_correlation"] == (0.4, "examples-subj01", digest)


def test_logging_again_adds_nothing(project):
    project.train_and_log()
    client, experiment = open_store()
    before = runs(client, experiment)[0]
    log_encoder("subj01", "ridge", evaluation=False)
    (after,) = runs(client, experiment)
    assert after.data.to_dictionary() == before.data.to_dictionary()
    assert len(client.get_metric_history(after.info.run_id, "curve/train_loss")) == 2
    assert len(client.search_model_versions("name = 'fmri2img-ridge-subj01'")) == 1


def test_an_encoder_that_no_run_made_is_logged_as_restored(project):
    project.train()
    log_encoder("subj01", "ridge", evaluation=False)
    client, experiment = open_store()
    (run,) = runs(client, experiment)
    assert run.data.tags["restored"] == "true"
    assert (
        find_run(client, experiment, md5_tags(encoder_folder("subj01", "ridge"))).info.run_id
        == run.info.run_id
    )
    assert find_run(client, experiment, {"dvc.model_md5": "0" * 32}) is None


def test_what_broke_off_is_completed_later(project, monkeypatch):
    """The store fails at each of its calls in turn; in the end everything is there, once."""
    project.train()
    open_store()
    calls = (
        "create_run",
        "log_batch",
        "log_inputs",
        "log_text",
        "create_registered_model",
        "create_model_version",
        "set_tag",
        "set_terminated",
    )
    for name in calls:

        def fail(*_, name=name, **__):
            raise mlflow.exceptions.MlflowException(f"no answer to {name}")

        with monkeypatch.context() as patch:
            patch.setattr(mlflow.MlflowClient, name, fail)
            log_encoder("subj01", "ridge", is_new=True, evaluation=False)
    log_encoder("subj01", "ridge", is_new=True, evaluation=False)
    client, experiment = open_store()
    (run,) = runs(client, experiment)
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "curve/train_loss")) == 2
    assert len(client.search_model_versions("name = 'fmri2img-ridge-subj01'")) == 1
    assert (
        Path(client.download_artifacts(run.info.run_id, "validation_scores.csv")).read_text(
            encoding="utf-8"
        )
        == validation_path("subj01", "ridge").read_text()
    )


def test_the_same_weights_with_other_settings_are_another_encoder(project):
    project.train_and_log()
    project.train_and_log(roi="V2")
    client, experiment = open_store()
    assert len(runs(client, experiment)) == 2
    assert len(client.search_model_versions("name = 'fmri2img-ridge-subj01'")) == 2


def test_a_long_curve_is_logged_whole(project):
    project.train_and_log(epochs=1500)
    client, experiment = open_store()
    assert (
        len(client.get_metric_history(runs(client, experiment)[0].info.run_id, "curve/train_loss"))
        == 1500
    )


def test_a_dead_server_costs_a_warning_that_says_what_to_do(project, monkeypatch, caplog):
    project.train()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    log_encoder("subj01", "ridge", evaluation=False)
    assert "MLflow: subj01/ridge is not in the store" in caplog.text
    assert caplog.text.strip().endswith("later run: fmri2img track")


def test_a_missing_file_is_no_fault_of_the_store(project):
    project.train()
    curve_path("subj01", "ridge").unlink()
    with pytest.raises(MissingDataError, match="run: dvc repro train@subj01-ridge"):
        log_encoder("subj01", "ridge", evaluation=False)


@pytest.mark.parametrize("name", ["training_path", "validation_path"])
def test_scores_of_another_training_are_refused(project, name):
    """They choose the champion, and name nobody themselves."""
    project.train("ridge", "subj02", score=0.5)
    project.train("ridge", "subj01", score=0.3)
    path = getattr(layout, name)
    shutil.copy(path("subj02", "ridge"), path("subj01", "ridge"))
    with pytest.raises(MismatchError, match=r"one of them is of another training: bring both back"):
        log_encoder("subj01", "ridge", evaluation=False)


def test_experiment_opens_in_training_mode_and_says_what_to_look_at(project):
    client, experiment = open_store()
    tags = client.get_experiment(experiment).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert "`pictures/<image id>`" in tags["mlflow.note.content"]


def test_what_dvc_runs_in_a_copy_lands_in_the_projects_store(project, monkeypatch):
    copy = project.root / ".dvc" / "tmp" / "exps" / "tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_EXP_NAME", "wide-net")
    assert project_root() == project.root
    project.train_and_log()
    assert not list(copy.glob("ml*"))
    client, experiment = open_store()
    (run,) = runs(client, experiment)
    assert run.data.tags["dvc.exp_name"] == "wide-net"
    assert (
        client.get_experiment(experiment).artifact_location
        == f"file://{project.root}/mlruns/{EXPERIMENT}"
    )


def _open_and_log(root, subject, failures):
    os.chdir(root)
    logging.disable(logging.INFO)
    try:
        client, experiment = open_store()
        run = client.create_run(experiment, tags={"subject": subject})
        for step in range(20):
            client.log_metric(run.info.run_id, "loss", 1.0, step=step)
    except Exception as error:
        failures.put(f"{subject}: {error}")


def test_eight_processes_may_create_the_store_at_once(project):
    context = multiprocessing.get_context("forkserver")  # which imports MLflow once for all of them
    context.set_forkserver_preload(["fmri2img.tracking.runs"])
    failures = context.Queue()
    processes = [
        context.Process(target=_open_and_log, args=(project.root, f"subj{number:02d}", failures))
        for number in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert failures.empty(), failures.get()
    client, experiment = open_store()
    found = runs(client, experiment)
    assert {run.data.tags["subject"] for run in found} == {
        f"subj{number:02d}" for number in range(8)
    }
    assert all(len(client.get_metric_history(run.info.run_id, "loss")) == 20 for run in found)
    with sqlite3.connect(project.root / "mlflow.db") as database:
        assert database.execute(
            "select count(*) from experiments where name = ?", (EXPERIMENT,)
        ).fetchone() == (1,)

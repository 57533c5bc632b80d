import time

import mlflow
import numpy as np
import pytest
import torch
import yaml

from conftest import REPOSITORY
from fmri2img.files import hash_file
from fmri2img.models.registry import check_settings, model_class, save_encoder
from fmri2img.tracking.runs import EXPERIMENT, NullTracker, encoder_run, find_run, mark_champions, open_store, start_run

RIDGE = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]["ridge"]
ABOUT = {"subject": "subj01", "data.source": "simulated", "roi": "V1", "func_space": "func1pt8mm", "beta_version": "b3"}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of its own, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    yield tmp_path
    while mlflow.active_run():
        mlflow.end_run()


@pytest.fixture
def encoder_folder(tmp_path):
    encoder = model_class("ridge")(9, (4, 16, 16), check_settings("ridge", RIDGE)).eval()
    save_encoder(encoder, "ridge", tmp_path / "models", ABOUT)
    (tmp_path / "data.h5").write_bytes(b"voxels")
    return tmp_path / "models", encoder


def log(folder, tmp_path):
    config = {"model": "ridge", "n_voxels": 9, "latent_shape": [4, 16, 16], "settings": {"seed": 0}, "about": ABOUT}
    records = [{"epoch": 1, "curve/validation_loss": 0.5}, {"epoch": 2, "curve/validation_loss": 0.4}]
    return encoder_run(config, folder, [tmp_path / "data.h5"], records, {"validation/loss": 0.4})


def test_a_run_holds_all_that_was_told(store, encoder_folder):
    folder, encoder = encoder_folder
    tracker = log(folder, store)
    tracker.log_metrics({"test/pixcorr": 0.75})
    time.sleep(0.01)
    tracker.log_metrics({"test/pixcorr": 0.25})  # an evaluation again: the later number counts, not the larger
    tracker.log_pictures({"seen/01": np.zeros((8, 8, 3), np.uint8)})
    tracker.finish()
    client = open_store()
    run = client.get_run(tracker.run_id)
    assert run.info.run_name == "subj01-ridge"
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/pixcorr"] == 0.25
    assert [point.value for point in client.get_metric_history(tracker.run_id, "curve/validation_loss")] == [0.5, 0.4]
    assert run.data.params["ridge.seed"] == "0"
    assert run.data.tags["data.source"] == "simulated"
    assert run.data.tags["dvc.model_md5"] == hash_file(folder / "model.safetensors", "md5")
    assert any("seen~01" in item.path for item in client.list_artifacts(tracker.run_id, "images"))

    version = client.get_model_version("fmri2img-ridge-subj01", "1")
    assert version.description.startswith("SIMULATED DATA")
    mark_champions({"subj01": ("ridge", run.data.tags["dvc.model_md5"])})
    loaded = mlflow.pyfunc.load_model("models:/fmri2img-ridge-subj01@champion")
    betas = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(betas), encoder(torch.from_numpy(betas)).detach().numpy())
    assert loaded.predict(betas, params={"repetitions": 1}).shape == (3, 4, 16, 16)
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        loaded.predict(betas[:, :4])

    assert find_run(run.data.tags["dvc.model_md5"]).run_id == tracker.run_id
    assert find_run("0" * 32) is None
    mark_champions({"subj01": ("basic_ae", "0" * 32)})
    assert "champion" not in client.get_registered_model("fmri2img-ridge-subj01").aliases


def test_experiment_opens_in_training_mode(store):
    experiment = open_store().get_experiment_by_name(EXPERIMENT)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_dead_server_costs_a_warning_not_a_training(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = start_run("a", tags={}, params={})
    assert isinstance(tracker, NullTracker)
    tracker.log_metrics({"a": 1.0})
    tracker.finish()
    assert "MLflow: no store, going on without" in caplog.text

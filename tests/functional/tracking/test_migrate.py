import mlflow
import numpy as np
import torch

from fmri2img.tracking.migrate import client_of, migrate
from fmri2img.tracking.runs import log_encoder, propose_champions
from fmri2img.tracking.store import open_experiment, open_store
from fmri2img.tracking.versions import resolve


def test_everything_arrives_once(project, monkeypatch):
    encoder = project.train("ridge", weight=2.0)
    project.train_and_log("ridge", weight=1.0)
    project.train_and_log("ridge", weight=2.0)
    propose_champions({"subj01": "ridge"})
    source, here = open_store()
    run = source.search_runs([here])[0]
    source.log_image(run.info.run_id, np.zeros((8, 8, 3), np.uint8), key="seen/00001", step=0)
    uri = f"sqlite:///{project.root}/team.db"
    target = client_of(uri)
    lines = list(migrate(source, target))
    assert len([line for line in lines if line.startswith("run")]) == 2
    assert [line for line in lines if line.startswith("version")] == [
        f"version models:/fmri2img-ridge-subj01/{number}" for number in (1, 2)
    ]
    assert list(migrate(source, target)) == []
    there = target.search_runs([open_experiment(target)])
    assert len(there) == 2
    copy = next(item for item in there if item.data.tags["migrated.from"] == run.info.run_id)
    assert copy.data.metrics == run.data.metrics
    assert copy.data.params == run.data.params
    assert (copy.info.start_time, copy.info.end_time, copy.info.status) == (
        run.info.start_time,
        run.info.end_time,
        "FINISHED",
    )
    assert [
        point.value for point in target.get_metric_history(copy.info.run_id, "curve/train_loss")
    ] == [1.0, 0.5]
    assert [item.dataset.digest for item in copy.inputs.dataset_inputs] == [
        item.dataset.digest for item in run.inputs.dataset_inputs
    ]
    names = [
        {item.path for item in client.list_artifacts(one)}
        for client, one in ((source, run.info.run_id), (target, copy.info.run_id))
    ]
    assert names[0] == names[1] >= {"validation_scores.csv", "images"}
    assert (
        copy.data.tags["mlflow.loggedImages"]
        == source.get_run(run.info.run_id).data.tags["mlflow.loggedImages"]
    )
    champion = resolve(target, "models:/fmri2img-ridge-subj01@champion")
    assert (
        champion.description
        == resolve(source, "models:/fmri2img-ridge-subj01@champion").description
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    open_store()
    betas = np.ones((2, 9), np.float32)
    predicted = mlflow.pyfunc.load_model("models:/fmri2img-ridge-subj01/2").predict(betas)
    np.testing.assert_array_equal(predicted, encoder(torch.from_numpy(betas)).detach().numpy())


def test_what_the_team_has_decided_stays(project, monkeypatch):
    uri = f"sqlite:///{project.root}/team.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    project.train_and_log("bayes", weight=2.0)
    propose_champions({"subj01": "bayes"})
    # Its first version there; somebody else's first version has other bytes.
    project.train_and_log("ridge", weight=3.0)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    project.train_and_log("ridge", weight=1.0)
    propose_champions({"subj01": "ridge"})
    source, _ = open_store()
    target = client_of(uri)
    lines = list(migrate(source, target))
    assert lines == ["run subj01-ridge", "version models:/fmri2img-ridge-subj01/1"]
    assert len(target.search_model_versions("name = 'fmri2img-ridge-subj01'")) == 2
    assert list(target.get_registered_model("fmri2img-bayes-subj01").aliases) == ["champion"]
    assert not target.get_registered_model("fmri2img-ridge-subj01").aliases
    project.train_and_log("ridge", weight=1.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    project.train_and_log("basic_ae", weight=4.0)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    log_encoder("subj01", "basic_ae", evaluation=False)
    assert list(migrate(source, target)) == []  # the same encoder is there already


def test_a_migration_that_broke_off_goes_on(project):
    project.train_and_log("ridge", weight=1.0)
    source, _ = open_store()
    target = client_of(f"sqlite:///{project.root}/team.db")
    there = open_experiment(target)
    (run,) = source.search_runs([open_experiment(source)])
    target.create_run(there, tags={"migrated.from": run.info.run_id})  # all that it came to
    list(migrate(source, target))
    (copy,) = target.search_runs([there])
    assert copy.data.metrics == run.data.metrics

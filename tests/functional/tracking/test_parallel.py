"""Eight trainings at once on one store, as a lab's cluster has them."""

import multiprocessing
import os
import time

import pytest

from fmri2img.tracking import live
from fmri2img.tracking.live import live_curve
from fmri2img.tracking.runs import log_encoder
from fmri2img.tracking.store import open_store
from tracking.conftest import ABOUT, Project
from tracking.servers import Server

SUBJECTS = [f"subj{number:02d}" for number in range(1, 9)]
N_EPOCHS = 60


def train_one(root, subject, uri, longest):
    """What the stage does, with epochs of a tenth of a second."""
    os.chdir(root)
    if uri:
        os.environ["MLFLOW_TRACKING_URI"] = uri
    live._SECONDS_BETWEEN, live._SECONDS_AFTER_FAILURE = 0.5, 1.0
    project = Project(root)
    with live_curve(subject, "ridge", ABOUT | {"subject": subject}) as curve:
        for epoch in range(1, N_EPOCHS + 1):
            start = time.monotonic()
            curve.add(
                {
                    "epoch": epoch,
                    "train_loss": 1 / epoch,
                    "validation_loss": 0.5 / epoch,
                    "validation_pattern_correlation": 0.1 * epoch,
                }
            )
            longest.put(time.monotonic() - start)
            time.sleep(0.1)
    project.train("ridge", subject, weight=float(subject[-1]), epochs=N_EPOCHS)
    log_encoder(subject, "ridge", is_new=True, live_run=curve.close(), evaluation=False)


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "server", "a server that is killed in between"])
def test_eight_trainings_at_once_lose_nothing(store, project, monkeypatch):
    server = None if store == "sqlite" else Server(project.root).start()
    uri = server.url if server else ""
    context = multiprocessing.get_context("spawn")
    longest = context.Queue()
    processes = [
        context.Process(target=train_one, args=(project.root, subject, uri, longest))
        for subject in SUBJECTS
    ]
    try:
        for process in processes:
            process.start()
        if "killed" in store:
            time.sleep(8)
            server.kill()
            time.sleep(4)
            server.start()
        waits = [longest.get(timeout=120) for _ in range(len(SUBJECTS) * N_EPOCHS)]
        for process in processes:
            process.join(300)
        assert [process.exitcode for process in processes] == [0] * len(SUBJECTS)
        print(f"{store}: longest wait of a training {max(waits):.3f} s")
        assert max(waits) < 10
        if uri:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        for subject in SUBJECTS:  # what the store could not take meanwhile
            log_encoder(subject, "ridge", evaluation=False)
        client, experiment = open_store()
        runs = [run for run in client.search_runs([experiment]) if run.info.status == "FINISHED"]
        assert sorted(run.data.tags["subject"] for run in runs) == SUBJECTS
        for run in runs:
            for name in ("train_loss", "validation_loss", "validation_pattern_correlation"):
                history = client.get_metric_history(run.info.run_id, f"curve/{name}")
                assert [point.step for point in history] == list(range(1, N_EPOCHS + 1))
        assert len(client.search_registered_models()) == len(SUBJECTS)
    finally:
        for process in processes:
            process.kill()
        if server:
            server.kill()

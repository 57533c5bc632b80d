"""Latency of a served encoder at NSD's real size (``python benchmarks/serving.py [MODEL ...]``).

One trial of 15 724 voxels is sent to ``mlflow models serve`` on loopback again and again. The
same encoder is called in this process for comparison. The weights are not trained: a matrix
product takes as long with any.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

import fmri2img.tracking  # noqa: F401 (switches off MLflow's telemetry, before its import)

# isort: split
import mlflow
import numpy as np
import torch
import yaml
from measuring import put_section, sized, table

from fmri2img.datasets.nsd.design import N_REPETITIONS
from fmri2img.models.registry import check_settings, load_encoder, model_class, save_encoder
from fmri2img.tracking.encoder_files import md5_tags
from fmri2img.tracking.registration import register
from fmri2img.tracking.store import open_store
from fmri2img.tracking.versions import registered_name

PROJECT = Path(__file__).resolve().parents[1]
N_VOXELS, N_REQUESTS = sized((15_724, 200), (20, 2))


def register_empty(model: str, folder: Path) -> str:
    """Register an encoder of the real size in a store of its own; returns its address."""
    settings = check_settings(
        model, yaml.safe_load((PROJECT / "params.yaml").read_text())["train"][model]
    )
    about = {
        "subject": "subj01",
        "data.source": "simulated",
        "roi": "none",
        "beta_version": "b3",
        "func_space": "func1pt8mm",
        "sessions": 40,
        "n_repetitions": N_REPETITIONS,
    }
    about |= {
        "n_train_images": 9000,
        "autoencoder": str(PROJECT / "models/demo-vae"),
        "autoencoder.revision": "folder",
    }
    about["autoencoder.sha256"] = json.loads(
        (PROJECT / "reports/metrics/subj01/ridge.json").read_text()
    )["about"]["autoencoder"]["sha256"]
    encoder = model_class(model)(N_VOXELS, (4, 16, 16), settings)
    if model == "bayes":  # as large as a trained one
        encoder._make_room(N_REPETITIONS)
    save_encoder(encoder, model, folder, about)
    client, experiment = open_store()
    run = client.create_run(experiment)
    register(
        client,
        run.info.run_id,
        folder,
        json.loads((folder / "config.json").read_text()),
        about | md5_tags(folder),
    )
    return f"models:/{registered_name(model, 'subj01')}/1"


@contextmanager
def serving(address: str) -> Iterator[HTTPConnection]:
    """Serve an encoder as the documentation says; yields a connection."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        "mlflow",
        "models",
        "serve",
        "--model-uri",
        address,
        "--env-manager",
        "local",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    quiet, environment = subprocess.DEVNULL, os.environ | {"OMP_NUM_THREADS": "2"}
    server = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=quiet,
        stderr=quiet,
        env=environment,
        start_new_session=True,
    )
    try:
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        yield HTTPConnection("127.0.0.1", port, timeout=60)
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # it has children
        server.wait()


def milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """Return the median and 95th percentile of many calls, without the first ten."""
    times = []
    for _ in range(N_REQUESTS + 10):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times[10:])), float(np.percentile(times[10:], 95))


def post(connection: HTTPConnection, body: bytes) -> None:
    """Send one request over an open connection."""
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != HTTPStatus.OK:
        sys.exit(f"the server answered {answer.status}: {content[:300]!r}")


def main() -> None:
    """Measure, and write the table."""
    rows = []
    betas = np.random.default_rng(0).normal(size=(1, N_VOXELS)).astype(np.float32).round(4)
    for model in sys.argv[1:] or sized(["ridge", "bayes"], ["ridge"]):
        with TemporaryDirectory() as temporary:
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{temporary}/mlflow.db"
            os.chdir(temporary)
            folder = Path(temporary) / "encoder"
            address = register_empty(model, folder)
            encoder, _ = load_encoder(folder)
            with torch.no_grad():
                alone, _ = milliseconds(lambda encoder=encoder: encoder(torch.from_numpy(betas)))
            for output in sized(("latents", "png"), ("png",)):
                body = json.dumps({"inputs": betas.tolist(), "params": {"output": output}}).encode()
                with serving(address) as place:
                    middle, late = milliseconds(lambda place=place, body=body: post(place, body))
                rows.append(
                    [
                        model,
                        output,
                        f"{middle:.0f}",
                        f"{late:.0f}",
                        f"{alone:.1f}",
                        f"{middle / alone:.1f}",
                    ]
                )
                print(
                    f"{model}, {output}: {middle:.0f} ms, {late:.0f} ms at the 95th percentile; in "
                    f"this process {alone:.1f} ms",
                    flush=True,
                )
            os.chdir(PROJECT)
    put_section(
        "serving",
        table(
            [
                "encoder",
                "output",
                "median ms",
                "95th percentile",
                "encoder alone, ms",
                "times slower",
            ],
            rows,
        ),
    )


if __name__ == "__main__":
    mlflow.set_tracking_uri(None)
    main()

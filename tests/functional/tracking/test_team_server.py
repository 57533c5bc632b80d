"""The team's server without containers: Debian's PostgreSQL, an S3 server, and the environment
that ``compose.yaml`` sets.
"""

import base64
import json
import logging
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import boto3
import mlflow
import numpy as np
import pytest
import yaml
from moto.server import ThreadedMotoServer

from conftest import REPOSITORY
from fmri2img.tracking.migrate import client_of, migrate
from fmri2img.tracking.runs import propose_champions
from fmri2img.tracking.store import open_store
from tracking.servers import Server, free_port

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
SECRETS = {
    "POSTGRES_PASSWORD": "postgres-secret",
    "STORAGE_PASSWORD": "storage-secret",
    "MLFLOW_ADMIN_PASSWORD": "admin-secret-1",
}
SECRETS |= {"MLFLOW_SECRET_KEY": "flask-secret"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not POSTGRES, reason="needs PostgreSQL (apt-get install postgresql)"),
]


def filled_in(text, **hosts):
    """Do what compose does with ``${NAME:-default}`` and ``${NAME:?}``, and put loopback
    addresses for its hosts.
    """
    text = re.sub(
        r"\$\{(\w+)(?::-([^}]*)|:\?)?\}", lambda match: SECRETS.get(match[1]) or match[2], text
    )
    for name, address in hosts.items():
        text = text.replace(name.replace("_", ":"), address)
    return text


@contextmanager
def postgres(folder):
    """PostgreSQL of its own; it refuses to run as root, so root lends it to another user."""
    bin_folder, data, port = POSTGRES[-1].parent, folder / "postgres", free_port()
    data.mkdir()
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(data, "postgres")
        for parent in data.parents:
            if "pytest" in str(parent):
                parent.chmod(0o755)
    password = folder / "password"
    password.write_text(SECRETS["POSTGRES_PASSWORD"])
    subprocess.run(
        [
            *user,
            bin_folder / "initdb",
            "-D",
            data,
            "-U",
            "mlflow",
            "--auth=scram-sha-256",
            f"--pwfile={password}",
        ],
        check=True,
        capture_output=True,
    )
    control = [*user, bin_folder / "pg_ctl", "-D", data, "-w"]
    start = [
        *control,
        "-l",
        data / "log",
        "-o",
        f"-p {port} -c listen_addresses=127.0.0.1 -k {data}",
        "start",
    ]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
    try:
        environment = os.environ | {"PGPASSWORD": SECRETS["POSTGRES_PASSWORD"]}
        command = [
            bin_folder / "createdb",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-U",
            "mlflow",
            "mlflow",
        ]
        subprocess.run(command, check=True, env=environment)
        yield port
    finally:
        subprocess.run(
            [*control, "-m", "immediate", "stop"], check=False, stdout=subprocess.DEVNULL
        )


@pytest.fixture
def team(project):
    """The server, as compose.yaml describes it."""
    compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
    service = compose["services"]["mlflow"]
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    storage = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    storage.start()
    _, storage_port = storage.get_host_and_port()
    with postgres(project.root) as database_port:
        hosts = {
            "db_5432": f"127.0.0.1:{database_port}",
            "storage_8333": f"127.0.0.1:{storage_port}",
        }
        environment = {
            name: filled_in(value, **hosts) for name, value in service["environment"].items()
        }
        auth = project.root / "auth.ini"
        auth.write_text(filled_in(compose["configs"]["auth"]["content"], **hosts))
        keys = {
            name.lower(): environment[name]
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        }
        files = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{storage_port}", region_name="us-east-1", **keys
        )
        files.create_bucket(Bucket="mlflow")
        server = Server(
            project.root,
            "--app-name",
            "basic-auth",
            **environment | {"MLFLOW_AUTH_CONFIG_PATH": str(auth)},
        )
        server.environment["MLFLOW_SERVER_ALLOWED_HOSTS"] = f"127.0.0.1:{server.port}"
        try:
            yield server.start(), files
        finally:
            server.kill()
            storage.stop()


def ask(url, user="", password="", body=None, **headers):
    request = urllib.request.Request(url, body, headers)  # noqa: S310  (loopback)
    if user:
        request.add_header(
            "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_lab_moves_to_its_server(project, team, monkeypatch):
    server, files = team
    search = f"{server.url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
    assert ask(f"{server.url}/health") == 200
    assert ask(search) == 401
    assert ask(search, "admin", "wrong") == 401
    assert ask(search, "admin", SECRETS["MLFLOW_ADMIN_PASSWORD"]) == 200
    assert ask(search, "admin", SECRETS["MLFLOW_ADMIN_PASSWORD"], Host="elsewhere.example") == 403

    project.train_and_log("ridge", weight=1.0)
    propose_champions({"subj01": "ridge"})
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["MLFLOW_ADMIN_PASSWORD"])
    source, _ = open_store()
    assert len(list(migrate(source, client_of(server.url)))) == 2

    account = json.dumps({"username": "ana", "password": "anas-password-1"}).encode()
    users = f"{server.url}/api/2.0/mlflow/users/create"
    json_type = {"Content-Type": "application/json"}
    assert ask(users, "admin", SECRETS["MLFLOW_ADMIN_PASSWORD"], account, **json_type) == 200
    assert ask(search, "ana", "anas-password-1") == 200
    # Whoever is in the lab goes on from what others logged.
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ana")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "anas-password-1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    project.train_and_log("bayes", weight=2.0, score=0.6)
    propose_champions({"subj01": "bayes"})
    client, experiment = open_store()
    assert {run.info.run_name for run in client.search_runs([experiment])} == {
        "subj01-ridge",
        "subj01-bayes",
    }
    assert client.get_registered_model("fmri2img-bayes-subj01").aliases == {"champion": "1"}
    assert client.get_registered_model("fmri2img-ridge-subj01").aliases == {}
    stored = {
        item["Key"].rsplit("/", 1)[-1]
        for item in files.list_objects_v2(Bucket="mlflow")["Contents"]
    }
    assert {"model.safetensors", "validation_scores.csv"} <= stored
    assert mlflow.pyfunc.load_model("models:/fmri2img-ridge-subj01/1").predict(
        np.zeros((1, 9), np.float32)
    ).shape == (1, 4, 16, 16)

"""A service is told when a subject has another champion."""

import json
import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml

from conftest import REPOSITORY
from fmri2img.tracking.champion_call import ChampionChange, service_to_tell, tell_service

CHANGE = ChampionChange("subj01", "models:/fmri2img-bayes-subj01/2", "", "there was none")


@pytest.fixture
def service():
    """A server that keeps what it is told."""
    told = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/champions", told
    server.shutdown()
    thread.join()
    server.server_close()


def settings_with(folder, monkeypatch, url):
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    values["machine"]["champion_webhook"] = url
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(folder)


def test_a_service_is_told_who_who_before_and_why(service, tmp_path, monkeypatch):
    url, told = service
    settings_with(tmp_path, monkeypatch, url)
    tell_service(service_to_tell(), CHANGE)
    assert told == [
        {
            "event": "champion",
            "subject": "subj01",
            "champion": "models:/fmri2img-bayes-subj01/2",
            "previous": "",
            "reason": "there was none",
        }
    ]


def test_nobody_is_told_unless_an_address_is_named(service, tmp_path, monkeypatch):
    settings_with(tmp_path, monkeypatch, None)
    tell_service(service_to_tell(), CHANGE)
    assert service[1] == []


def test_a_service_that_does_not_answer_costs_a_warning(tmp_path, monkeypatch, caplog):
    settings_with(tmp_path, monkeypatch, "http://127.0.0.1:9/secret")
    with caplog.at_level(logging.WARNING):
        tell_service(service_to_tell(), CHANGE)
    assert "machine.champion_webhook: 127.0.0.1 was not told" in caplog.text
    assert "secret" not in caplog.text


def test_what_answers_but_is_no_web_server_costs_a_warning(tmp_path, monkeypatch, caplog):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(1)
                connection.sendall(b"SSH-2.0-x\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        settings_with(tmp_path, monkeypatch, url)
        tell_service(service_to_tell(), CHANGE)
        thread.join()
    assert "was not told" in caplog.text

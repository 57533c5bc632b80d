"""Whose turn it is, and how a stage that fails is told."""

import json
import os
import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from dvc.lock import LockError
from filelock import FileLock

from fmri2img.pipeline.repro import _failure, _Run, one_at_a_time
from fmri2img.pipeline.workers import Ended


def test_a_second_call_waits_and_says_for_whom(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    holder = tmp_path / ".dvc/tmp/fmri2img-repro.lock.holder"
    holder.write_text('{"process": 7, "host": "node3", "since": "14:02"}')
    had_its_turn = threading.Event()

    def call():
        with one_at_a_time():
            assert json.loads(holder.read_text())["process"] == os.getpid()
            had_its_turn.set()

    with FileLock(tmp_path / ".dvc/tmp/fmri2img-repro.lock"):
        second = threading.Thread(target=call)
        second.start()
        assert not had_its_turn.wait(1.5)
    second.join(timeout=10)
    assert had_its_turn.is_set()
    assert not holder.exists()
    assert caplog.messages == [
        "process 7 on node3, since 14:02, is running this folder's stages; waiting for it, 72 h at "
        "most"
    ]


class BusyLock:
    """DVC's lock, which another command has for a while."""

    def __init__(self, n_refusals):
        self.n_refusals, self.is_held = n_refusals, False

    def lock(self):
        if self.n_refusals:
            self.n_refusals -= 1
            raise LockError("Unable to acquire lock.")
        self.is_held = True

    def unlock(self):
        self.is_held = False


def run_with(lock):
    run = object.__new__(_Run)
    run.repo = SimpleNamespace(lock=lock)
    return run


def test_another_command_of_dvc_is_waited_for():
    lock = BusyLock(3)
    with run_with(lock)._dvc_alone():
        assert lock.is_held
    assert not lock.is_held


def test_one_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr("fmri2img.pipeline.repro._SECONDS_FOR_DVC", -1)
    with (
        pytest.raises(LockError, match="Unable to acquire lock"),
        run_with(BusyLock(1))._dvc_alone(),
    ):
        pass


@pytest.mark.parametrize(
    ("code", "lines", "told"),
    [
        (0, ["a remark"], ""),
        (1, ["a remark", "error: x.h5 not found; run: y"], "train@a: x.h5 not found; run: y"),
        (
            2,
            ["usage: ..."],
            "train@a: ended with code 2; what it wrote is in logs/stages/train@a.log",
        ),
        (
            -9,
            [],
            "train@a: was ended by signal 9, as happens when memory runs out; run the "
            "same command with --jobs 1: finished stages are kept",
        ),
    ],
)
def test_a_failure_is_one_line(code, lines, told):
    future = Future()
    future.set_result(Ended(code, 0.0))
    assert _failure("train@a", future, lines) == told


def test_a_stage_that_was_lost_with_its_worker_is_told():
    future = Future()
    future.set_exception(ConnectionError("the worker\nis gone"))
    assert _failure("train@a", future, []) == (
        "train@a: was lost with its worker (ConnectionError: the worker is gone); run the same "
        "command again: finished stages are kept"
    )

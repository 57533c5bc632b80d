"""Locks: who waits says for whom, and not for ever; file systems without locks."""

import errno
import fcntl
import logging
import threading

import pytest
from filelock import FileLock, SoftFileLock

from fmri2img.project.exceptions import UnavailableError
from fmri2img.project.locks import _limit, locked


def test_one_at_a_time_and_nothing_is_left(tmp_path):
    path, turns = tmp_path / "x.lock", []

    def take_turn():
        with locked(path, "counting", seconds=30):
            turns.append("in")
            turns.append("out")

    threads = [threading.Thread(target=take_turn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert turns == ["in", "out"] * 4
    assert [file.name for file in tmp_path.iterdir()] == ["x.lock"]


def test_a_wait_has_a_line_and_an_end(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("fmri2img.project.locks._SECONDS_BEFORE_A_LINE", 0.1)
    path = tmp_path / "x.lock"
    (tmp_path / "x.lock.holder").write_text('{"process": 7, "host": "node3", "since": "14:02"}')
    with (
        FileLock(path),
        pytest.raises(
            UnavailableError,
            match=r"process 7 on node3, since 14:02, is counting; wait for it to end and run the "
            r"same command, or stop it \(if it is gone already, delete .*x\.lock\)",
        ),
        locked(path, "counting", seconds=0.3),
    ):
        pass
    assert caplog.messages == [
        "process 7 on node3, since 14:02, is counting; waiting for it, 0 s at most"
    ]


def test_whoever_does_not_wait_is_refused_at_once(tmp_path, caplog):
    with (
        FileLock(tmp_path / "x.lock"),
        pytest.raises(UnavailableError, match="another process is counting; wait for it to end"),
        locked(tmp_path / "x.lock", "counting", seconds=0),
    ):
        pass
    assert not caplog.messages


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog, number):
    def refuse(*_):
        raise OSError(number, "refused")

    monkeypatch.setattr(fcntl, "flock", refuse)
    caplog.set_level(logging.INFO)
    path = tmp_path / "x.lock"
    with locked(path, "counting", seconds=0):
        assert (tmp_path / "x.lock.exists").exists()
        with (
            pytest.raises(UnavailableError, match=r"is counting; .* delete .*x\.lock\.exists"),
            locked(path, "counting", seconds=0),
        ):
            pass
    assert caplog.messages[0] == (
        f"{tmp_path}: the file system has no locks; the file x.lock.exists stands for one"
    )
    with SoftFileLock(tmp_path / "x.lock.exists", timeout=0):
        pass


def test_another_error_of_a_lock_is_let_through(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="broken disk"), locked(tmp_path / "x", "", seconds=0):
        pass


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(60, "60 s at most"), (600, "10 min at most"), (259_200, "72 h at most")],
)
def test_a_limit_in_words(seconds, words):
    assert _limit(seconds) == words

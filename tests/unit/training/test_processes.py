"""Trainings in processes of their own: killed, and shared by two."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import fmri2img.training.processes as processes

SCRIPT = Path(__file__).with_name("train_alone.py")
LONG = {"epochs": 8, "patience": 8, "batch_size": 4, "repetitions": "mixup", "ema_decay": 0.95, "dropout": 0.2}


def start(folder, settings, *launcher):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), json.dumps(settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    return output


def results(folder):
    return load_file(folder / "weights.safetensors"), json.loads((folder / "history.json").read_text())


def test_three_kills_change_no_bit_of_the_weights(tmp_path):
    began = time.monotonic()
    finish(start(tmp_path / "whole", LONG))
    seconds = time.monotonic() - began
    moments = np.random.default_rng()  # other moments each time
    folder = tmp_path / "killed"
    for _ in range(3):
        process = start(folder, LONG)
        while not (folder / "checkpoint.safetensors").exists():
            assert process.poll() is None, process.communicate()[1][-2000:]
            time.sleep(0.02)
        time.sleep(moments.uniform(0.05, 0.15) * seconds)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
        process.communicate()
    finish(start(folder, LONG))
    (whole, whole_history), (killed, killed_history) = results(tmp_path / "whole"), results(folder)
    assert whole.keys() == killed.keys()
    assert all(whole[name].equal(killed[name]) for name in whole)
    assert whole_history == killed_history


def test_two_processes_train_as_one(tmp_path):
    # One process with steps of 64 is two with 32 each: batch_size counts all processes.
    settings = {"epochs": 3, "batch_size": 64, "repetitions": "single", "ema_decay": 0.0, "learning_rate": 0.002}
    finish(start(tmp_path / "one", settings))
    launcher = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no")
    finish(start(tmp_path / "two", settings, *launcher, "--dynamo_backend", "no"))
    (one, one_history), (two, two_history) = results(tmp_path / "one"), results(tmp_path / "two")
    for first, second in zip(one_history, two_history, strict=True):
        for name in ("train_loss", "validation_loss", "validation_pattern_correlation"):
            assert second[name] == pytest.approx(first[name], rel=1e-4, abs=1e-4)
    difference = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert difference < 2e-3
    assert np.isfinite(difference)


def test_a_stage_launches_itself_once(monkeypatch):
    calls = []
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(
        processes.subprocess, "run", lambda command, **_: calls.append(command) or subprocess.CompletedProcess(command, len(calls) - 1)
    )
    monkeypatch.setattr(sys, "argv", ["train", "--subject", "subj01"])
    assert not processes.launch_again([])
    assert processes.launch_again(["--num_processes", "2"])
    assert calls[0][1:5] == ["-m", "accelerate.commands.launch", "--num_processes", "2"]
    assert calls[0][-2:] == ["--subject", "subj01"]
    with pytest.raises(SystemExit, match="1"):
        processes.launch_again(["--num_processes", "2"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not processes.launch_again(["--num_processes", "2"])

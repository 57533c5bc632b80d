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
from fmri2img.project.exceptions import UnavailableError

SCRIPT = Path(__file__).with_name("train_alone.py")
LONG = {
    "epochs": 8,
    "patience": 8,
    "batch_size": 4,
    "repetitions": "mixup",
    "ema_decay": 0.95,
    "dropout": 0.2,
}


def start(folder, settings, *launcher):
    """Train in a process of its own; ``settings`` by name, which is that of a folder in
    ``folder``.
    """
    for name in settings:
        (folder / name).mkdir(exist_ok=True, parents=True)
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), json.dumps(settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    return output


def results(folder):
    return load_file(folder / "weights.safetensors"), json.loads(
        (folder / "history.json").read_text()
    )


def test_three_kills_change_no_bit_of_the_weights(tmp_path):
    began = time.monotonic()
    finish(start(tmp_path, {"whole": LONG}))
    seconds = time.monotonic() - began
    moments = np.random.default_rng()  # other moments each time
    folder = tmp_path / "killed"
    for _ in range(3):
        process = start(tmp_path, {"killed": LONG})
        while not (folder / "checkpoint.safetensors").exists():
            assert process.poll() is None, process.communicate()[1][-2000:]
            time.sleep(0.02)
        time.sleep(moments.uniform(0.05, 0.15) * seconds)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
        process.communicate()
    finish(start(tmp_path, {"killed": LONG}))
    (whole, whole_history), (killed, killed_history) = results(tmp_path / "whole"), results(folder)
    assert whole.keys() == killed.keys()
    assert all(whole[name].equal(killed[name]) for name in whole)
    assert whole_history == killed_history


# "--multi_gpu" is how accelerate spells several processes; with ACCELERATE_USE_CPU they are on
# CPUs.
OPTIONS = (
    "--multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0 --mixed_precision "
    "no --dynamo_backend no"
)
TWO = ("-m", "accelerate.commands.launch", *OPTIONS.split())


# batch_size counts all processes: one with steps of 64 is two with 32 each.
ALIKE = {
    "epochs": 3,
    "repetitions": "single",
    "ema_decay": 0.0,
    "learning_rate": 0.002,
    "max_gradient_norm": 0.0,
}
TRAININGS = {
    "plain": ALIKE | {"batch_size": 64},
    # The last of 406 trials is a step of its own, in which one process has nothing.
    "all": ALIKE
    | {"batch_size": 45, "ema_decay": 0.9, "contrastive_weight": 0.3, "max_gradient_norm": 0.05},
}


@pytest.fixture(scope="module")
def by_one_and_two(tmp_path_factory):
    """The same trainings by one process and by two."""
    folder = tmp_path_factory.mktemp("processes")
    finish(start(folder / "one", TRAININGS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        finish(start(folder / "two", TRAININGS, *TWO))
    return folder


@pytest.mark.parametrize("training", TRAININGS)
def test_two_processes_train_as_one(training, by_one_and_two):
    folders = [by_one_and_two / name / training for name in ("one", "two")]
    assert [(folder / "processes").read_text() for folder in folders] == ["1", "2"]
    (one, one_history), (two, two_history) = map(results, folders)
    for first, second in zip(one_history, two_history, strict=True):
        for name in ("train_loss", "validation_loss", "validation_pattern_correlation"):
            assert second[name] == pytest.approx(first[name], rel=1e-4, abs=1e-4)
    difference = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert difference < 2e-3
    assert np.isfinite(difference)


def test_processes_that_do_not_see_each_other_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        UnavailableError,
        match="the launcher started 2 processes, and this one sees 1; start them with accelerate "
        "launch",
    ):
        processes.process_state()


def test_a_stage_becomes_its_launcher_once(monkeypatch):
    calls = []
    for name in ("WORLD_SIZE", "FMRI2IMG_LAUNCHED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes.os, "execv", lambda _, command: calls.append(command))
    monkeypatch.setattr(processes, "_die_with_parent", lambda: None)
    monkeypatch.setattr(sys, "argv", ["train", "--subject", "subj01"])
    processes.launch_again([])
    assert not calls
    processes.launch_again(["--num_processes", "2"])
    assert calls[0][1:5] == ["-m", "accelerate.commands.launch", "--num_processes", "2"]
    assert calls[0][-2:] == ["--subject", "subj01"]
    processes.launch_again(["--num_processes", "1"])  # what it started, be it one process only
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("FMRI2IMG_LAUNCHED")
    processes.launch_again(["--num_processes", "2"])
    assert len(calls) == 1

"""Throw-away projects in which the pipeline runs as a user runs it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import yaml

from conftest import REPOSITORY

BIN = Path(sys.executable).parent


def environment():
    found = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    found.pop("MLFLOW_TRACKING_URI", None)
    return found


def run(project, *command, check=True):
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=check, env=environment())


def kill_when(reached, project, *command):
    """Start a command and kill it, with all that it started, as soon as ``reached()`` holds: nothing can clean up."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=project, env=environment(), start_new_session=True, **quiet)
    deadline = time.monotonic() + 120
    while not reached() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def repro(project):
    result = run(project, "dvc", "repro", check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result


def copy_project(source, folder):
    """What a user has of a project before anything has run; ``folder`` may be there, and has no repository yet."""
    (folder / "data").mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", "data/.gitignore"):
        shutil.copy(source / name, folder / name)
    for name in ("src", "rois", "models/demo-vae"):
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    shutil.copytree(REPOSITORY / ".dvc/plots", folder / ".dvc/plots")
    return folder


@contextmanager
def changed_params(project):
    """The project's params, written back when the block has changed them."""
    path = project / "params.yaml"
    params = yaml.safe_load(path.read_text())
    yield params
    path.write_text(yaml.safe_dump(params))


def small_project(folder, *, session, **simulation):
    """A project with one subject of few voxels and one session, not run yet."""
    copy_project(REPOSITORY, folder)
    with changed_params(folder) as params:
        params["subjects"] = ["subj02"]
        params["nsd"]["sessions"] = [session]
        params["fetch_nsd"]["simulation"] |= {"volume_scale": 0.2, "n_visual_voxels": 150} | simulation
        params["evaluate"] |= {"n_permutations": 99, "n_bootstrap": 100}
    return folder

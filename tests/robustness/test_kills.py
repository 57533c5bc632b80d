"""Runs that are killed at random moments, over and over, end in the bytes of one that is not."""

import hashlib
import shutil
import time

import numpy as np
import pytest
import yaml

from miniature import clone
from pipeline.projects import kill_when, run

N_KILLS = 35
LONGEST_SECONDS = 12
KEPT = ("fetch_raw", "fingerprint")


def outputs(project):
    """Return the SHA-256 of every output of a finished project, by path."""
    lock = yaml.safe_load((project / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    paths = [project / out["path"] for entry in lock.values() for out in entry["outs"]]
    files = {file for path in paths for file in [path, *path.rglob("*")] if file.is_file()}
    return {
        str(file.relative_to(project)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(files)
    }


def forget(project):
    """Remove what all stages made, but the raw files, and DVC's copies."""
    path = project / "dvc.lock"
    lock = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, entry in list(lock["stages"].items()):
        if not name.startswith(KEPT):
            del lock["stages"][name]
            for out in entry["outs"]:
                target = project / out["path"]
                shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    path.unlink()
    path.write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")
    for folder in (".dvc/cache", ".checkpoints"):
        shutil.rmtree(project / folder, ignore_errors=True)


def wait_until(moment):
    return lambda: time.monotonic() >= moment


@pytest.mark.slow
def test_kills_at_random_moments_end_in_the_same_bytes(pair_template, tmp_path):
    project, moments = clone(pair_template, tmp_path / "project"), np.random.default_rng(7)
    expected, n_kills, n_runs = outputs(project), 0, 0
    while n_kills < N_KILLS:
        forget(project)
        n_runs += 1
        while n_kills < N_KILLS:
            moment = time.monotonic() + moments.uniform(0.1, LONGEST_SECONDS)
            if not kill_when(wait_until(moment), project, "fmri2img", "repro"):
                break
            n_kills += 1
        result = run(project, "fmri2img", "repro", check=False)
        assert result.returncode == 0, result.stderr[-3000:]
        assert outputs(project) == expected
        left = [path for path in project.rglob(".partial*") if ".dvc" not in path.parts]
        assert not left, left
    print(f"{n_kills} kills in {n_runs} runs, all with the same bytes")

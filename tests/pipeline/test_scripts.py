"""Scripts that work on a finished project."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

from commands import run_script
from conftest import REPOSITORY
from miniature import inside

SCRIPTS = REPOSITORY / "scripts"
BIN = Path(sys.executable).parent


def test_the_summary_prints_the_comparison(project, monkeypatch, capsys):
    with inside(project):
        run_script(SCRIPTS / "show_summary.py", monkeypatch)
    said = capsys.readouterr().out
    assert "subj02/ridge" in said
    assert "SIMULATED DATA" in said


def test_the_small_remote_is_filled(copied, monkeypatch):
    with inside(copied):
        run_script(SCRIPTS / "fill_demo_remote.py", monkeypatch)
    assert list((copied / "demo_remote").rglob("files/md5/*/*"))


@pytest.mark.slow
def test_the_packages_commands_work_outside_of_the_checkout(project, monkeypatch):
    """Building and installing needs a network, and runs before a release; this is the rest."""
    spec = importlib.util.spec_from_file_location("packages", SCRIPTS / "check_packages.py")
    packages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packages)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "src"))
    lines = packages.use(BIN, project)
    assert [line.split(":")[0].removeprefix("fmri2img ") for line in lines] == [
        "--version",
        "voxels",
        "export",
        "decode",
        "evaluate",
    ]
    assert "pictures in out" in lines[3]
    assert "p of pairing at random" in lines[4]


@pytest.mark.slow
def test_a_search_over_settings_runs(copied, monkeypatch, capsys):
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    shutil.rmtree(copied / "data/raw")
    with inside(copied):
        run_script(
            SCRIPTS / "sweep_optuna.py",
            monkeypatch,
            "--subject",
            "subj02",
            "--model",
            "ridge",
            "--trials",
            1,
            "n_folds=2,3",
        )
    assert "best" in capsys.readouterr().out

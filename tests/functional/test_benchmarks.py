"""Nothing rots: every benchmark and every script runs, at a size that takes seconds, and writes
no table.
"""

import os
import re
import sys
from pathlib import Path

import pytest

from commands import run_script
from conftest import REPOSITORY
from miniature import inside

BENCHMARKS, SCRIPTS = REPOSITORY / "benchmarks", REPOSITORY / "scripts"
BIN = Path(sys.executable).parent
OPTIONS = {
    "alignment": ("--work", "{folder}"),
    "clipping": ("--work", "{folder}"),
    "extraction": ("--folder", "{folder}"),
    "full_design": ("--folder", "{folder}", "--no-latents"),
    "quality": ("--work", "{folder}", "--jobs", "1"),
    "stated_error": ("--work", "{folder}"),
}
SLOW = ("extraction", "full_design", "quality", "scale", "serving", "training")
# What others import, and has nothing to run.
MODULES = ("measuring", "worlds", "quality_jobs", "quality_tables")


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setenv("FMRI2IMG_TINY", "1")
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder for the pictures that several benchmarks show."""
    return tmp_path_factory.mktemp("work")


def of_every_benchmark():
    """The full design and the scale of a lab are pipelines of their own, training starts several
    processes, quality trains every encoder, and two others write files or start servers of the
    real kind: they take ten seconds or more at any size.
    """
    names = sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in MODULES)
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in names]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", of_every_benchmark())
def test_a_benchmark_runs(name, tiny, work, tmp_path, monkeypatch, capsys):
    readme = (BENCHMARKS / "README.md").read_bytes()
    monkeypatch.chdir(tmp_path)
    options = OPTIONS.get(name, ())
    folder = work if "--work" in options else tmp_path / "folder"
    arguments = [option.format(folder=folder) for option in options]
    run_script(BENCHMARKS / f"{name}.py", monkeypatch, *arguments)
    said = capsys.readouterr().out
    assert "not written:" in said
    assert "| --- |" in said
    assert (BENCHMARKS / "README.md").read_bytes() == readme


def test_every_benchmark_has_its_section():
    readme = (BENCHMARKS / "README.md").read_text()
    for path in BENCHMARKS.glob("*.py"):
        if path.stem not in MODULES:
            assert f"python benchmarks/{path.name}" in readme or f"make {path.stem}" in readme, (
                path.name
            )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_simulation_is_measured(monkeypatch, capsys):
    with inside(REPOSITORY):
        size = ("--n-subjects", 1, "--n-scenes", 6, "--volume-scale", 0.2, "--n-sessions", 2)
        run_script(SCRIPTS / "measure_simulation.py", monkeypatch, *size)
    said = capsys.readouterr().out
    assert "scenes                 power ~ f^-" in said
    assert "subj01" in said
    assert re.search(r"mean beta, % +1\.4 to 1\.8 +1\.[4-8]", said)


@pytest.mark.filterwarnings("default")
def test_the_demo_autoencoder_is_trained(monkeypatch, tmp_path):
    sizes = (
        "--steps",
        2,
        "--cycle-steps",
        2,
        "--polish-steps",
        1,
        "--finish-steps",
        1,
        "--n-polish-scenes",
        4,
    )
    few = (
        "--batch-size",
        2,
        "--n-pictures",
        6,
        "--n-held-out",
        2,
        "--threads",
        1,
        "--out",
        tmp_path / "vae",
    )
    run_script(SCRIPTS / "train_demo_vae.py", monkeypatch, *sizes, *few)
    assert (tmp_path / "vae/diffusion_pytorch_model.safetensors").exists()


def test_large_files_do_not_enter_a_commit(tmp_path, monkeypatch, capsys):
    (tmp_path / "small.txt").write_bytes(b"x")
    (tmp_path / "large.h5").write_bytes(bytes(1_000_001))
    files = (tmp_path / "small.txt", tmp_path / "large.h5")
    with pytest.raises(SystemExit, match="1"):
        run_script(SCRIPTS / "refuse_large_files.py", monkeypatch, *files)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{tmp_path}/large.h5: 1.0 MB, expected at most 1 MB; results belong")

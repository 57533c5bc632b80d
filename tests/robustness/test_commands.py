"""Whole commands on damaged files: they end with one line and change nothing, or do their work."""

import shutil

import numpy as np
import pytest

from miniature import SUBJECT
from pipeline.projects import run
from robustness import mutators

VOXELS, EXAMPLES = f"data/voxels/{SUBJECT}.h5", f"data/examples/{SUBJECT}.h5"
LATENTS, SPLIT = f"data/latents/{SUBJECT}.h5", f"data/splits/{SUBJECT}.json"
MADE, TRUTH = f"data/reconstructions/{SUBJECT}/ridge.h5", f"data/truth/{SUBJECT}.h5"
WEIGHTS = f"models/{SUBJECT}/ridge/model.safetensors"
CONFIG = f"models/{SUBJECT}/ridge/config.json"
METRICS = f"reports/metrics/{SUBJECT}/ridge.json"
TABLE, RECEIPT = f"data/rois/{SUBJECT}.json", f"data/receipts/{SUBJECT}.json"


def stage(name, *, model=False):
    words = ("python", "-m", f"stages.{name}", "--subject", SUBJECT)
    return (*words, "--model", "ridge") if model else words


DECODE = ("fmri2img", "decode", "betas.npy", "--model", f"models/{SUBJECT}/ridge")
DECODE += ("--repetitions", "3", "--to", "pictures")
CASES = [
    (VOXELS, "truncate", ("fmri2img", "voxels", VOXELS)),
    (VOXELS, "a_folder", ("fmri2img", "voxels", VOXELS)),
    (VOXELS, "a_pipe", ("fmri2img", "export", VOXELS, "--to", "out.npz")),
    (VOXELS, "a_page_of_a_proxy", ("fmri2img", "export", VOXELS, "--to", "out.npz")),
    (VOXELS, "random_bytes", ("fmri2img", "lineage", VOXELS)),
    (VOXELS, "zero_a_block", stage("create_examples")),
    (VOXELS, "a_pointer", stage("create_examples")),
    (EXAMPLES, "truncate", stage("train", model=True)),
    (EXAMPLES, "a_device", stage("predict", model=True)),
    (EXAMPLES, "a_link_to_itself", stage("encode_latents")),
    (EXAMPLES, "empty", stage("split_examples")),
    (LATENTS, "random_bytes", stage("train", model=True)),
    (LATENTS, "truncate", stage("fit_encoding_model")),
    (SPLIT, "truncate", stage("train", model=True)),
    (SPLIT, "utf_16", stage("evaluate", model=True)),
    (SPLIT, "a_pipe", stage("collect_truth")),
    (MADE, "truncate", stage("evaluate", model=True)),
    (MADE, "a_folder", ("python", "-m", "stages.compare")),
    (MADE, "empty", ("fmri2img", "evaluate", MADE, TRUTH, "--networks")),
    (TRUTH, "a_page_of_a_proxy", ("fmri2img", "evaluate", MADE, TRUTH, "--networks")),
    (TRUTH, "a_pipe", stage("evaluate", model=True)),
    (WEIGHTS, "truncate", stage("predict", model=True)),
    (WEIGHTS, "random_bytes", DECODE),
    (CONFIG, "empty", stage("predict", model=True)),
    (CONFIG, "latin_1", ("fmri2img", "track")),
    (METRICS, "truncate", ("python", "-m", "stages.compare")),
    (METRICS, "a_link_to_nothing", ("fmri2img", "track")),
    (TABLE, "a_page_of_a_proxy", stage("extract_betas")),
    (TABLE, "empty", stage("train", model=True)),
    (RECEIPT, "truncate", stage("convert_roi")),
    (RECEIPT, "a_pipe", ("fmri2img", "lineage", VOXELS)),
    ("params.yaml", "truncate", ("fmri2img", "check")),
    ("params.yaml", "random_bytes", ("fmri2img", "why")),
    ("params.yaml", "a_folder", stage("train", model=True)),
    ("dvc.lock", "truncate", ("fmri2img", "why")),
    ("dvc.lock", "a_page_of_a_proxy", ("fmri2img", "accept")),
    ("dvc.lock", "a_folder", ("fmri2img", "disk")),
    ("reports/comparison.json", "truncate", ("fmri2img", "metrics")),
    ("mlflow.db", "random_bytes", ("fmri2img", "list")),
    ("betas.npy", "truncate", DECODE),
]


def files_of(project):
    """Inode and time of all results, by name."""
    folders = ("data/voxels", "data/examples", "data/latents", "data/reconstructions", "models")
    paths = [path for name in (*folders, "reports") for path in (project / name).rglob("*")]
    return {
        path.relative_to(project).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in paths
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("name", "damage", "command"), CASES, ids=[f"{name} {damage}" for name, damage, _ in CASES]
)
def test_a_command_on_a_damaged_file(project, tmp_path, name, damage, command):
    np.save(project / "betas.npy", np.zeros((6, 3), np.float32))
    path, kept = project / name, tmp_path / "kept"
    path.replace(kept)  # a link to the template's file: it must not be changed
    shutil.copyfile(kept, path)
    getattr(mutators, damage)(path, np.random.default_rng(0))
    before = files_of(project)
    try:
        result = run(project, *command, check=False)
        after = files_of(project)
    finally:
        path.unlink() if not path.is_dir() else path.rmdir()
        kept.replace(path)
        (project / "out.npz").unlink(missing_ok=True)
        (project / "betas.npy").unlink(missing_ok=True)
    told = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode in (0, 1)
    assert len(told) == result.returncode
    assert "Traceback" not in result.stderr + result.stdout
    assert not any("unexpected" in line for line in told)
    if result.returncode:
        assert after == before

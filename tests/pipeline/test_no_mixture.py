"""A stage that fails or is killed while it writes leaves its earlier outputs, or all new ones."""

import os

import pytest
import yaml

from fmri2img.project.files import _waiting
from miniature import SUBJECT
from pipeline.projects import run

STAGES = {
    f"convert_roi@{SUBJECT}": ("stages.convert_roi", "--subject", SUBJECT),
    f"fit_encoding_model@{SUBJECT}": ("stages.fit_encoding_model", "--subject", SUBJECT),
    f"train@{SUBJECT}-ridge": ("stages.train", "--subject", SUBJECT, "--model", "ridge"),
    f"predict@{SUBJECT}-ridge": ("stages.predict", "--subject", SUBJECT, "--model", "ridge"),
    f"evaluate@{SUBJECT}-ridge": ("stages.evaluate", "--subject", SUBJECT, "--model", "ridge"),
    "compare": ("stages.compare",),
}


def outputs(project, stage):
    """Return inode and bytes of a stage's outputs, by file: the same stage gives the same bytes."""
    entry = yaml.safe_load((project / "dvc.lock").read_text())["stages"][stage]
    paths = [project / out["path"] for out in entry["outs"]]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return {file: (file.stat().st_ino, file.read_bytes()) for file in files}


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_fills_up_at_the_last_file(project, stage, monkeypatch):
    before, flush = outputs(project, stage), os.fsync

    def fail_at_the_last(number):
        if len(_waiting.get() or []) == len(before) - 1:
            raise OSError(28, "No space left on device")
        flush(number)

    monkeypatch.setattr("fmri2img.project.files.os.fsync", fail_at_the_last)
    result = run(project, "python", "-m", *STAGES[stage], check=False)
    assert result.returncode == 1
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "the disk is full" in line
    assert outputs(project, stage) == before

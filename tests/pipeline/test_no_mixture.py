"""A stage that fails or is killed while it writes leaves its earlier outputs, or all new ones."""

import contextlib
import os
import sys

import pytest
import yaml

from fmri2img.project.files import _waiting
from miniature import SUBJECT, clone
from pipeline.projects import run

STAGES = {
    f"convert_roi@{SUBJECT}": ("stages.convert_roi", "--subject", SUBJECT),
    f"fit_encoding_model@{SUBJECT}": ("stages.fit_encoding_model", "--subject", SUBJECT),
    f"train@{SUBJECT}-ridge": ("stages.train", "--subject", SUBJECT, "--model", "ridge"),
    f"predict@{SUBJECT}-ridge": ("stages.predict", "--subject", SUBJECT, "--model", "ridge"),
    f"evaluate@{SUBJECT}-ridge": ("stages.evaluate", "--subject", SUBJECT, "--model", "ridge"),
    "compare": ("stages.compare",),
}
# Models that predict and are scored by the same code count once.
EVERY_KIND = [
    "fingerprint",
    "fetch_raw_shared",
    *(
        f"{stage}@{SUBJECT}"
        for stage in (
            "fetch_raw",
            "convert_roi",
            "extract_betas",
            "create_examples",
            "split_examples",
            "check_alignment",
            "collect_truth",
            "encode_latents",
            "collect_prior",
            "fit_encoding_model",
            "score_references",
        )
    ),
    *(f"{stage}@{SUBJECT}-ridge" for stage in ("train", "predict", "evaluate")),
    f"train@{SUBJECT}-basic_ae",
    *(f"{stage}@{SUBJECT}-takagi" for stage in ("fetch_captions", "make_targets")),
    *(f"{stage}_diffusion@{SUBJECT}-takagi" for stage in ("train", "predict", "evaluate")),
    "compare",
]
# Modules in which stages do their work.
COMPUTING = {
    f"fmri2img.pipeline.{name}"
    for name in (
        "compare_subjects",
        "evaluate_subject",
        "picture_captions",
        "reconstruct_subject",
        "subject_alignment",
        "subject_targets",
        "train_subject",
        "training_records",
    )
}


def outputs(project, stage):
    """Return inode and bytes of a stage's outputs, by file: the same stage gives the same bytes."""
    entry = yaml.safe_load((project / "dvc.lock").read_text(encoding="utf-8"))["stages"][stage]
    paths = [project / out["path"] for out in entry["outs"]]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return {file: (file.stat().st_ino, file.read_bytes()) for file in files if file.is_file()}


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


class Failure:
    """A full disk right after a computation: a call that a stage's own modules make of this
    package. Without a number, such calls are only counted; each function counts once.
    """

    def __init__(self, number=None):
        self.number = number
        self.places = {}

    def __call__(self, frame, event, _):
        caller = frame.f_back
        if event != "return" or caller is None or not self._is_computation(frame, caller):
            return
        place = f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname}"
        if place not in self.places:
            self.places[place] = len(self.places)
            if self.places[place] == self.number:
                raise OSError(28, "No space left on device")

    @staticmethod
    def _is_computation(frame, caller):
        by, of = (one.f_globals.get("__name__", "") for one in (caller, frame))
        is_stage = by.startswith("stages.") or by in COMPUTING
        return is_stage and of.startswith("fmri2img.") and not of.startswith("fmri2img.project.")


def fail_at(project, command, number=None):
    """Run a stage with a failure; returns the result and the places that were reached."""
    failure = Failure(number)
    sys.setprofile(failure)
    try:
        return run(project, "python", "-m", *command, check=False), list(failure.places)
    finally:
        sys.setprofile(None)


@pytest.mark.slow
@pytest.mark.parametrize("stage", EVERY_KIND)
def test_a_failure_after_each_computation(template, tmp_path, stage):
    project = clone(template, tmp_path / "project")
    entry = yaml.safe_load((project / "dvc.lock").read_text(encoding="utf-8"))["stages"][stage]
    command = entry["cmd"].split()[2:]
    result, places = fail_at(project, command)
    assert result.returncode == 0, result.stderr
    n_failed, wrong = 0, []
    for number in range(len(places)):
        before = outputs(project, stage)
        with contextlib.ExitStack() as held:  # so that no new file gets the inode of an old one
            for file in before:
                held.enter_context(file.open("rb"))
            result, reached = fail_at(project, command, number)
            after = outputs(project, stage)
        if len(reached) <= number:  # what an earlier run left spares it
            continue
        n_failed += 1
        is_new = {after[file][0] != before[file][0] for file in before}
        lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        if (
            contents(after) != contents(before)
            or len(is_new) > 1  # all new: after the last file it only logs
            or (result.returncode, len(lines)) != (1, 1)
        ):
            wrong.append((reached[-1], result.returncode, result.stderr[-300:]))
    print(f"{stage}: {n_failed} failures")
    assert wrong == []
    assert n_failed > 0


def contents(files):
    return {file: content for file, (_, content) in files.items()}

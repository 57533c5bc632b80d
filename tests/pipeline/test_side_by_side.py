"""``fmri2img repro``: stages side by side, as a user types it."""

import os
import signal
import subprocess
import time

import pytest

import miniature
from miniature import changed_params, clone, copy_project, environment
from pipeline import projects
from pipeline.projects import run
from pipeline.test_pipeline import outs


def repro(project, *arguments, check=True):
    result = miniature.run(project, "fmri2img", "repro", *arguments, check=False)
    if check:
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result


def fewest_models(template, folder):
    """A project that has not run, with one model."""
    project = copy_project(template, folder)
    with changed_params(project) as params:
        params["models"] |= {"latents": ["ridge"], "diffusion": []}
        params["evaluate"]["networks"] = []
    return project


def check_bytes(project, template):
    """What other models do not touch has the bytes of the finished project, which ran serially."""
    made, known = outs(project), outs(template)
    untouched = [
        path
        for path in made
        if path.startswith(("data/", "models/", "reports/training/", "reports/validation/"))
        and not path.startswith("data/maps/")  # a folder with a map for each model
    ]
    assert len(untouched) > 15
    assert {path: made[path] for path in untouched} == {path: known[path] for path in untouched}
    assert "Data and pipelines are up to date." in run(project, "dvc", "repro").stdout


@pytest.mark.slow
def test_a_whole_run_gives_the_bytes_of_the_finished_project(template, tmp_path):
    project = fewest_models(template, tmp_path / "project")
    told = repro(project).stderr
    check_bytes(project, template)
    n_stages = len(set(run(project, "dvc", "stage", "list", "--name-only").stdout.split()))
    lines = told.splitlines()
    assert sum(line.startswith("[") for line in lines) == n_stages
    assert f"[{n_stages}/{n_stages}]" in told
    assert lines[-1].startswith(f"{n_stages} stages ran, 0 were up to date")


@pytest.mark.slow
def test_so_does_dvc_repro_with_a_process_for_each_stage(template, tmp_path):
    project = fewest_models(template, tmp_path / "project")
    projects.repro(project, by=miniature.run)
    check_bytes(project, template)


def test_a_stage_that_fails_has_the_last_line_and_what_else_ran_is_kept(copied):
    with changed_params(copied) as params:
        params["train"]["basic_ae"] |= {"loss": "pixels", "precision": "fp16"}
        params["train"]["ridge"]["n_folds"] += 1
    before = outs(copied)["models/subj02/ridge/config.json"]
    result = repro(copied, "train", check=False)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        "error: train@subj02-basic_ae: params.yaml: precision: fp16 loses small gradients on a CPU"
    )
    assert "  train@subj02-ridge: " in result.stderr
    assert outs(copied)["models/subj02/ridge/config.json"] != before
    with changed_params(copied) as params:
        params["train"]["basic_ae"] |= {"loss": "latents", "precision": "auto"}
    # Nothing that was finished runs again.
    assert run(copied, "fmri2img", "why", "train@subj02-ridge").stdout == (
        "train@subj02-ridge is up to date\n"
    )


def test_targets_run_alone_with_what_they_need(copied):
    with changed_params(copied) as params:
        params["split_examples"]["seed"] += 1
    told = repro(copied, "split_examples").stderr
    assert "split_examples@subj02" in told
    assert "train@" not in told
    result = run(copied, "fmri2img", "repro", "trian", check=False)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "train" in line


def test_ctrl_c_ends_in_one_line_and_the_next_call_goes_on(template, tmp_path):
    project = clone(template, tmp_path / "project")
    with changed_params(project) as params:
        params["train"]["low_level"]["epochs"] = 500
    process = subprocess.Popen(
        ["fmri2img", "repro", "train"],
        cwd=project,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that started the tests in the background has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    log = project / "logs/subj02/low_level.jsonl"
    before = log.stat().st_mtime if log.exists() else 0
    deadline = time.monotonic() + 120
    while not (log.exists() and log.stat().st_mtime > before and log.stat().st_size):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-1] == (
        "stopped; finished work is kept, and the same command continues from there"
    )
    with changed_params(project) as params:
        params["train"]["low_level"]["epochs"] = 3
    assert run(project, "fmri2img", "why", "train@subj02-low_level").stdout == (
        "train@subj02-low_level is up to date\n"
    )


def test_stages_run_on_a_dask_cluster(copied):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        with changed_params(copied) as params:
            params["split_examples"]["seed"] += 1
            params["machine"]["dask_scheduler"] = cluster.scheduler_address
        told = repro(copied, "split_examples").stderr
    assert "  split_examples@subj02: " in told
    assert "split_examples@subj02" not in run(copied, "dvc", "status").stdout


def test_nothing_to_do_is_one_line(copied):
    n_stages = len(run(copied, "dvc", "stage", "list", "--name-only").stdout.split())
    (line,) = repro(copied).stderr.splitlines()
    assert line == f"all {n_stages} stages are up to date"

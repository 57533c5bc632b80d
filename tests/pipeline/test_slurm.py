"""The scripts for SLURM, with an sbatch and an srun that start processes on this machine."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from conftest import REPOSITORY
from miniature import BIN, SUBJECT, changed_params, environment
from pipeline.projects import run

SBATCH = """#!/bin/bash
count=1 output=/dev/null
while [[ $1 == --* ]]; do
    case $1 in
        --array=1-*) count=${1#--array=1-} ;;
        --output=*) output=${1#--output=} ;;
        --parsable) ;;
        *) echo "sbatch: error: unrecognized option $1" >&2; exit 1 ;;
    esac
    shift
done
export SLURM_SUBMIT_DIR=$PWD SLURM_NNODES=2 SLURM_GPUS_ON_NODE=1 SLURM_JOB_NODELIST=here
for task in $(seq "$count"); do
    SLURM_ARRAY_TASK_ID=$task setsid bash "$@" >"${output//%a/$task}" 2>&1 &
    echo $! >>"$JOBS"
done
echo 4711
"""
SCANCEL = """#!/bin/bash
[ "$1" = 4711 ] && while read -r job; do kill -- "-$job"; done <"$JOBS"
"""
SRUN = """#!/bin/bash
for node in 0 1; do SLURM_NODEID=$node "$@" & nodes="$nodes $!"; done
for node in $nodes; do wait "$node" || exit 1; done
"""
SCONTROL = "#!/bin/bash\necho 127.0.0.1\n"


@pytest.fixture
def cluster(copied, tmp_path):
    """A project with the scripts, and variables of an environment with SLURM's commands."""
    shutil.copytree(REPOSITORY / "scripts/slurm", copied / "scripts/slurm")
    (copied / ".venv/bin").mkdir(parents=True)
    (copied / ".venv/bin/activate").write_text(f"PATH={BIN}:$PATH\n")
    commands = tmp_path / "slurm"
    commands.mkdir()
    for name, text in (
        ("sbatch", SBATCH),
        ("scancel", SCANCEL),
        ("srun", SRUN),
        ("scontrol", SCONTROL),
    ):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    variables = environment()
    path = f"{commands}:{variables['PATH']}"
    return copied, variables | {"PATH": path, "JOBS": str(tmp_path / "jobs")}


def call(cluster, *command):
    project, variables = cluster
    return subprocess.run(
        command, cwd=project, env=variables, capture_output=True, text=True, timeout=200
    )


def is_running(job):
    """Whether a process is there, and not only waiting for somebody to ask how it ended."""
    try:
        state = Path(f"/proc/{job}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_an_array_of_jobs_runs_the_stages_and_ends_with_the_command(cluster):
    project, variables = cluster
    with changed_params(project) as params:
        params["split_examples"]["seed"] += 1
    result = call(cluster, "scripts/slurm/pipeline.sh", "2", "split_examples")
    assert result.returncode == 0, result.stderr
    assert "SLURM job 4711, logs in " in result.stdout
    assert f"  split_examples@{SUBJECT}: " in result.stderr
    assert (
        f"split_examples@{SUBJECT} is up to date"
        in run(project, "fmri2img", "why", f"split_examples@{SUBJECT}").stdout
    )
    with Path(variables["JOBS"]).open(encoding="utf-8") as file:
        jobs = [int(line) for line in file]
    assert len(jobs) == 2
    deadline = time.monotonic() + 20
    while running := [job for job in jobs if is_running(job)]:
        assert time.monotonic() < deadline, running
        time.sleep(0.1)


@pytest.mark.slow
def test_a_training_on_two_nodes_is_one_training(cluster):
    project, variables = cluster
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        variables |= {"MASTER_PORT": str(free.getsockname()[1]), "ACCELERATE_USE_CPU": "true"}
    variables |= {"SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "1", "SLURM_JOB_NODELIST": "here"}
    weights = project / f"models/{SUBJECT}/basic_ae/model.safetensors"
    weights.unlink()
    result = call((project, variables), "scripts/slurm/train.sbatch", SUBJECT, "basic_ae")
    assert result.returncode == 0, result.stderr[-3000:]
    assert weights.is_file()
    run(project, "dvc", "commit", "--force", f"train@{SUBJECT}-basic_ae")
    assert run(project, "fmri2img", "why", f"train@{SUBJECT}-basic_ae").stdout.endswith(
        "is up to date\n"
    )


@pytest.mark.parametrize("script", ["pipeline.sh", "train.sbatch"])
def test_a_script_without_arguments_says_how_it_is_called(script, cluster):
    result = call(cluster, f"scripts/slurm/{script}")
    assert result.returncode == 1
    assert f"scripts/slurm/{script}" in result.stderr.splitlines()[-1]

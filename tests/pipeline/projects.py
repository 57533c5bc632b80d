"""Commands in throw-away projects as a user types them; those of this project are called in this
process.
"""

import contextlib
import os
import signal
import subprocess
import time

import commands
import miniature
from miniature import environment

# Settings of bayes_population that take seconds.
SMALL_POPULATION = {
    "window_sizes": [1.0],
    "n_folds": 2,
    "prior_shrinkages": [0.2],
    "noise_shrinkages": [0.75],
    "noise_scales": [0.5, 1.0, 3.0],
    "pooled_shares": [0.5, 1],
}


def run(project, *command, check=True, **variables):
    """Run a command in a project: ``fmri2img``, ``dvc`` and ``python -m stages.x`` in this
    process, others in their own.
    """
    if command[0] == "fmri2img":
        return commands.fmri2img(project, *command[1:], check=check, **variables)
    if command[0] == "dvc":
        return commands.dvc(project, *command[1:], check=check, **variables)
    if command[:2] == ("python", "-m") and command[2].startswith("stages."):
        return commands.stage(
            project, command[2].partition(".")[2], *command[3:], check=check, **variables
        )
    return miniature.run(project, *command, check=check)


def kill_when(reached, project, *command):
    """Start a command and kill it, with all that it started, as soon as ``reached()`` holds:
    nothing can clean up. Returns whether it was still running.
    """
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(
        command, cwd=project, env=environment(), start_new_session=True, **quiet
    )
    deadline = time.monotonic() + 120
    while not reached() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def repro(project, *targets, by=run):
    """Run stages; ``by`` `miniature.run`, each in a process of its own, as a user's are."""
    result = by(project, "dvc", "repro", *targets, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result

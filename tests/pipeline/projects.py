"""Throw-away projects in which the pipeline runs as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


def run(project, *command, check=True):
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "2"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=check, env=environment)

"""The note that a training keeps about its run, and the names of runs; works without MLflow."""

import os
from pathlib import Path

ENDED = "ended"


def read_note(note: Path) -> tuple[str, bool]:
    """Return the id of the run of a training, empty if it has none, and whether the training has
    ended.
    """
    run_id, _, ended = (note.read_text(encoding="utf-8") if note.exists() else "").partition("\n")
    return run_id, ended == ENDED


def run_name(subject: str, model: str) -> str:
    """Return the name of a run: its encoder's, and the experiment's if DVC runs one."""
    return f"{subject}-{model} {os.environ.get('DVC_EXP_NAME', '')}".rstrip()

"""What a training notes of its run, and how runs are called; does without MLflow."""

import os
from pathlib import Path

ENDED = "ended"


def read_note(note: Path) -> tuple[str, bool]:
    """Return the id of the run of a training, empty if it has none, and whether the training has
    ended.
    """
    run_id, _, ended = (note.read_text() if note.exists() else "").partition("\n")
    return run_id, ended == ENDED


def run_name(subject: str, model: str) -> str:
    """Return how a run is called: by its encoder, and by the experiment if DVC runs one."""
    return f"{subject}-{model} {os.environ.get('DVC_EXP_NAME', '')}".rstrip()

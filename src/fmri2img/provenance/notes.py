"""``accepted.json``: notes on results that are kept though the code that made them has changed."""

from pathlib import Path
from typing import Any

from fmri2img.project.exceptions import FormatError
from fmri2img.project.files import read_json, write_json
from fmri2img.provenance.lineage import read_lock

ACCEPTED_PATH = Path("accepted.json")


def read_notes(root: Path = Path()) -> dict[str, Any]:
    """Return the notes of ``accepted.json`` by stage; empty if there is no such file."""
    path, remedy = root / ACCEPTED_PATH, f"git checkout {ACCEPTED_PATH}"
    notes = read_json(path, remedy=remedy) if path.exists() else {}
    keys = {"made_by", "kept_under", "differs_in", "outs"}
    if not isinstance(notes, dict) or not all(
        isinstance(note, dict) and keys <= note.keys() for note in notes.values()
    ):
        raise FormatError(
            f"{path}: expected a note for each stage with {', '.join(sorted(keys))}; bring it "
            f"back: {remedy}"
        )
    return notes


def forget_acceptance(stage: str, root: Path = Path()) -> None:
    """Drop the note on a stage that has just run: its outputs are today's code's."""
    notes = read_notes(root)
    if notes.pop(stage, None) is not None:
        write_json(root / ACCEPTED_PATH, notes)


def accepted_for(subject: str, root: Path = Path()) -> list[str]:
    """Say which results behind a subject's encoders were made by code other than that under which
    they are kept.

    Returns
    -------
    list of str
        A phrase for each stage of this subject, and of all subjects, whose note in
        ``accepted.json`` is about the outputs that ``dvc.lock`` names now.
    """
    notes = read_notes(root)
    locked = read_lock(root) if notes else {}
    phrases = []
    for name, note in notes.items():
        item = name.partition("@")[2].partition("-")[0]
        if item in ("", subject) and name in locked and locked[name].outs == note["outs"]:
            differs = f"differs in {', '.join(note['differs_in'])}"
            phrases.append(
                f"{name} made by {note['made_by']}, kept under fingerprint {note['kept_under']} "
                f"({differs})"
            )
    return phrases

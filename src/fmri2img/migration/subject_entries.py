"""Divide the stages of version 0.2.0 that made one file for all subjects, in ``dvc.lock``."""

import hashlib
import json
from pathlib import Path
from typing import Any

from fmri2img.migration.file_change import FileChange
from fmri2img.project.config import PARAMS_PATH
from fmri2img.project.layout import latents_path, prior_folder, receipt_path, split_path

PRIOR = Path("data/prior.h5")  # until version 0.2.0
_Entries = dict[str, dict[str, Any]]


def entries_by_subject(
    stages: _Entries, subjects: list[str], changes: list[FileChange]
) -> _Entries:
    """Return the stages of a lock file with each subject's files apart.

    Parameters
    ----------
    stages : dict
        Entries of ``dvc.lock`` by stage, with today's names.
    subjects : list of str
    changes : list of FileChange
        What `changes_of_subject_files` yields.
    """
    files = {out["path"]: out for entry in stages.values() for out in entry.get("outs", [])}
    renewed: _Entries = {}
    for name, entry in stages.items():
        script, _, item = name.partition("@")
        if script in ("collect_truth", "collect_prior") and not item:
            for subject in subjects:
                renewed[f"{name}@{subject}"] = _of_subject(entry, subject, files, changes)
        elif script == "fetch_captions" and item not in subjects and "-" not in item:
            for subject in subjects:
                renewed[f"{script}@{subject}-{item}"] = _of_subject(entry, subject, files, changes)
        else:
            renewed[name] = _reading(entry, script, item.partition("-")[0], files, changes)
    return renewed


def _of_subject(
    entry: dict[str, Any], subject: str, files: dict[str, Any], changes: list[FileChange]
) -> dict[str, Any]:
    """Return one subject's share of a stage that was one for all subjects."""
    script, _, rest = entry["cmd"].partition(" --")
    renewed = entry | {
        "cmd": f"{script} --subject {subject}" + (f" --{rest}" if rest else ""),
        "deps": [_of_folder(dep, subject, files) for dep in entry["deps"]],
        "outs": [_own(out, subject, changes) for out in entry["outs"]],
    }
    params = dict(entry.get("params", {}).get(str(PARAMS_PATH), {}))
    subjects = params.pop("subjects", None)
    if "collect_prior" in script:
        params["population"] = subjects
    else:
        _add_receipt(renewed, subject, files)
    renewed.pop("params", None)
    return renewed | ({"params": {str(PARAMS_PATH): params}} if params else {})


def _reading(
    entry: dict[str, Any],
    script: str,
    subject: str,
    files: dict[str, Any],
    changes: list[FileChange],
) -> dict[str, Any]:
    """Return a stage that reads what is a subject's own now."""
    if script in ("create_examples", "make_targets"):
        renewed = entry | {"deps": [_own(dep, subject, changes) for dep in entry["deps"]]}
        _add_receipt(renewed, subject, files)
        return renewed
    params = dict(entry.get("params", {}).get(str(PARAMS_PATH), {}))
    parts = [change for change in changes if change.md5 and change.was == PRIOR]
    if script == "train" and parts:
        params["population"] = [change.now.stem for change in parts]
        deps = [_folder_of(parts, dep) for dep in entry["deps"]]
        return entry | {"deps": deps, "params": {str(PARAMS_PATH): params}}
    if script == "fetch_raw_shared" and "subjects" in params:
        params.pop("subjects")
        return entry | {"params": {str(PARAMS_PATH): params}}
    if "deps" not in entry:
        return entry
    return entry | {"deps": [_own(dep, subject, changes) for dep in entry["deps"]]}


def _of_folder(dep: dict[str, Any], subject: str, files: dict[str, Any]) -> dict[str, Any]:
    """Return a subject's file in a folder that a stage depended on as a whole."""
    paths = {"data/splits": split_path(subject), "data/latents": latents_path(subject)}
    return files.get(paths[dep["path"]].as_posix(), dep) if dep["path"] in paths else dep


def _folder_of(parts: list[FileChange], dep: dict[str, Any]) -> dict[str, Any]:
    """Return the folder of the population's pictures as DVC records a folder."""
    (before,) = {part.md5[0] for part in parts if part.md5}
    if dep["path"] != PRIOR.as_posix() or dep["md5"] != before:
        return dep
    listed = [
        {"md5": part.md5[1], "relpath": part.now.name}
        for part in sorted(parts, key=lambda part: part.now.name)
        if part.md5
    ]
    digest = hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False)
    return {
        "path": prior_folder().as_posix(),
        "hash": "md5",
        "md5": f"{digest.hexdigest()}.dir",
        "size": sum(part.size for part in parts),
        "nfiles": len(parts),
    }


def _own(item: dict[str, Any], subject: str, changes: list[FileChange]) -> dict[str, Any]:
    """Return a file that a lock names, or the subject's share of it."""
    for change in changes:
        if change.md5 is None or subject not in (change.now.stem, change.now.parent.name):
            continue
        before, after = change.md5
        if item["path"] == change.was.as_posix() and item["md5"] == before:
            return item | {"path": change.now.as_posix(), "md5": after, "size": change.size}
    return item


def _add_receipt(entry: dict[str, Any], subject: str, files: dict[str, Any]) -> None:
    path = receipt_path(subject).as_posix()
    if path in files and path not in {dep["path"] for dep in entry["deps"]}:
        entry["deps"] = [*entry["deps"], files[path]]

"""Migrate ``dvc.lock`` of version 0.1 to today's names; what a stage last ran with is kept."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fmri2img.migration.dataset_sections import name_of
from fmri2img.migration.file_change import FileChange
from fmri2img.migration.subject_entries import entries_by_subject
from fmri2img.models.registry import stage_of
from fmri2img.project.config import ModelLists
from fmri2img.project.exceptions import FormatError
from fmri2img.project.layout import FINGERPRINTS
from fmri2img.provenance.lineage import LOCK_PATH, LockLoader, check_lock
from fmri2img.provenance.rewritten import current_fingerprints

_OF_MODELS = ("train", "predict", "evaluate")
_OF_DIFFUSION = ("fetch_captions", "make_targets")
_COMPARE = "compare"
_OLD_SECTIONS = ("nsd", "fetch_nsd")


@dataclass(frozen=True)
class Lock:
    """A lock file with today's names.

    Attributes
    ----------
    text : str
        The whole file.
    words : str
        What changes, for the user.
    """

    text: str
    words: str


def migrate_lock(
    root: Path, params: dict[str, Any], changes: list[FileChange], names: dict[str, str]
) -> Lock | None:
    """Return the lock with today's names; None if it already has them.

    Parameters
    ----------
    root : Path
        The project.
    params : dict
        ``params.yaml`` with today's names.
    changes : list of FileChange
        Changes of the files that it names.
    names : dict of str to str
        Earlier names of models, and today's.

    Raises
    ------
    FormatError
        If the lock is in the middle of a merge, or cannot be read.
    """
    path = root / LOCK_PATH
    if not path.exists():
        return None
    check_lock(root)
    try:
        lock = yaml.load(path.read_text(encoding="utf-8"), LockLoader)  # noqa: S506 (a safe loader)
        stages = lock["stages"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise FormatError(
            f"{path}: not a lock file that DVC wrote ({error}); run: git checkout HEAD -- {path}"
        ) from error
    models = ModelLists.model_validate(params["models"])
    renewed = {
        new: _entry(entry, new, changes, params, names)
        for name, entry in stages.items()
        if (new := _name(name, models, names)) and not _has_changed_lists(name, entry)
    }
    renewed = entries_by_subject(renewed, params["subjects"], changes)
    if renewed == stages:
        return None
    gone = sum(
        not _name(name, models, names) or _has_changed_lists(name, stages[name]) for name in stages
    )
    text = yaml.safe_dump(lock | {"stages": renewed}, sort_keys=False, allow_unicode=True)
    words = f"{len(renewed)} stages under today's names and hashes; {gone} obsolete stages left out"
    return Lock(text, words)


def _name(name: str, models: ModelLists, names: dict[str, str]) -> str:
    """Return a stage's current name; empty if the stage no longer exists."""
    name = name.replace("fetch_nsd", "fetch_raw")
    script, _, item = name.partition("@")
    if script in _OF_DIFFUSION:
        return name if item.rpartition("-")[2] in models.diffusion else ""
    subject, _, model = item.partition("-")
    model = names.get(model, model)
    if script not in _OF_MODELS or model not in models:
        return name
    return stage_of(script, subject, model)


def _has_changed_lists(name: str, entry: dict[str, Any]) -> bool:
    """Whether this is version 0.1's comparison, which is repeated: its pages name encoders."""
    params = entry.get("params", {}).get("params.yaml", {})
    return name == _COMPARE and isinstance(params.get("models"), list)


def _entry(
    entry: dict[str, Any],
    name: str,
    changes: list[FileChange],
    current: dict[str, Any],
    names: dict[str, str],
) -> dict[str, Any]:
    """Return the lock's entry for one stage, with today's names."""
    script = name.partition("@")[0]
    keeps_targets = script in _OF_DIFFUSION or script.endswith("_diffusion")
    renewed = entry | {"cmd": _renamed(entry["cmd"], names)}
    for part in ("deps", "outs"):
        if part in entry:
            renewed[part] = [
                _file(item, changes, current["dataset"], names)
                for item in entry[part]
                if keeps_targets or not item["path"].startswith("data/targets/")
            ]
    if "params" in entry:
        params = {
            _renamed(key, names): value for key, value in entry["params"]["params.yaml"].items()
        }
        if script == "predict":
            params.pop("generate", None)
        renewed["params"] = {"params.yaml": _with_dataset(params, current)}
    return renewed


def _with_dataset(params: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
    """Return a stage's parameters under today's keys; values of the dataset's section that the lock
    lacks are filled with the current ones.
    """
    old = {key: value for key, value in params.items() if key.partition(".")[0] in _OLD_SECTIONS}
    if not old:
        return params
    whole = old.get("fetch_nsd", {})
    fetch = {
        key: old.get(f"fetch_nsd.{key}", whole.get(key))
        for key in ("source", "rois", "simulation")
        if f"fetch_nsd.{key}" in old or key in whole
    }
    name = name_of(fetch) if "source" in fetch else current["dataset"]
    section = dict(current["datasets"][name]) | old.get("nsd", {})
    if "nsd.func_space" in old:
        section["func_space"] = old["nsd.func_space"]
    if name == "nsd":
        known = {key: whole[key] for key in ("source", "accept_nsd_terms", "s3") if key in whole}
        section |= known | {key: fetch[key] for key in ("source", "rois") if key in fetch}
    else:
        section |= {key: fetch[key] for key in ("rois", "simulation") if key in fetch}
    others = {key: value for key, value in params.items() if key not in old}
    return others | {f"datasets.{name}": section}


def _file(
    item: dict[str, Any], changes: list[FileChange], dataset: str, names: dict[str, str]
) -> dict[str, Any]:
    renewed = dict(item)
    if item["path"].startswith("src/"):  # keep the path of old code: it is looked up in git
        return renewed
    for change in (change for change in changes if change.was == change.now):
        if change.md5 and item["path"] == change.was.as_posix() and item["md5"] == change.md5[0]:
            renewed |= {"md5": change.md5[1], "size": change.size}
    return renewed | {"path": _renamed(_fingerprint(item["path"], dataset, names), names)}


def _fingerprint(path: str, dataset: str, names: dict[str, str]) -> str:
    """Return the current path of a fingerprint; other paths are unchanged."""
    name = path.removeprefix(f"{FINGERPRINTS}/").removesuffix(".txt")
    if not path.startswith(f"{FINGERPRINTS}/"):
        return path
    current = current_fingerprints(name, names)
    mine = [other for other in current if other.endswith(f"/{dataset}")]
    return f"{FINGERPRINTS}/{(mine or current or [name])[0]}.txt"


def _renamed(text: str, names: dict[str, str]) -> str:
    """Replace earlier names of models and stages with today's, in paths, commands and keys."""
    text = text.replace("stages.fetch_nsd", "stages.fetch_raw")
    for old, new in names.items():
        text = re.sub(rf"(?<=/){old}(?=[/.]|$)", new, text)
        text = re.sub(rf"(?<=--model ){old}$|(?<=^train\.){old}$", new, text)
    return text

"""``dvc.lock`` of version 0.1 with today's names: what a stage last ran with stays what it was."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fmri2img.config import ModelLists
from fmri2img.exceptions import FormatError
from fmri2img.migration.renamed_files import FileChange
from fmri2img.models.registry import EARLIER_NAMES, current_name, stage_of
from fmri2img.provenance.lineage import LOCK_PATH, LockLoader, check_lock

_OF_MODELS = ("train", "predict", "evaluate")
_OF_DIFFUSION = ("fetch_captions", "make_targets")
_COMPARE = "compare"


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


def migrate_lock(root: Path, models: ModelLists, changes: list[FileChange]) -> Lock | None:
    """Return the lock with today's names; None if it has them.

    Parameters
    ----------
    root : Path
        The project.
    models : ModelLists
        Encoders, by today's names.
    changes : list of FileChange
        What becomes of the files that it names.

    Raises
    ------
    FormatError
        If it is in the middle of a merge, or cannot be read.
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
    renewed = {
        new: _entry(entry, new, changes)
        for name, entry in stages.items()
        if (new := _name(name, models)) and not _has_changed_lists(name, entry)
    }
    if renewed == stages:
        return None
    gone = len(stages) - len(renewed)
    text = yaml.safe_dump(lock | {"stages": renewed}, sort_keys=False, allow_unicode=True)
    words = (
        f"{len(renewed)} stages under today's names and hashes, {gone} that are no more left out"
    )
    return Lock(text, words)


def _name(name: str, models: ModelLists) -> str:
    """Return what a stage is called now; empty if it is no more."""
    script, _, item = name.partition("@")
    if script in _OF_DIFFUSION:
        return name if item.rpartition("-")[2] in models.diffusion else ""
    subject, _, model = item.partition("-")
    model = current_name(model)
    if script not in _OF_MODELS or model not in models:
        return name
    return stage_of(script, subject, model)


def _has_changed_lists(name: str, entry: dict[str, Any]) -> bool:
    """Whether it is the comparison of version 0.1, which is made anew: its pages name encoders."""
    params = entry.get("params", {}).get("params.yaml", {})
    return name == _COMPARE and isinstance(params.get("models"), list)


def _entry(entry: dict[str, Any], name: str, changes: list[FileChange]) -> dict[str, Any]:
    """Return what the lock says of one stage, with today's names."""
    script = name.partition("@")[0]
    keeps_targets = script in _OF_DIFFUSION or script.endswith("_diffusion")
    renewed = entry | {"cmd": _renamed(entry["cmd"])}
    for part in ("deps", "outs"):
        if part in entry:
            renewed[part] = [
                _file(item, changes)
                for item in entry[part]
                if keeps_targets or not item["path"].startswith("data/targets/")
            ]
    if "params" in entry:
        params = {_renamed(key): value for key, value in entry["params"]["params.yaml"].items()}
        if script == "predict":
            params.pop("generate", None)
        renewed["params"] = {"params.yaml": params}
    return renewed


def _file(item: dict[str, Any], changes: list[FileChange]) -> dict[str, Any]:
    renewed = dict(item)
    if item["path"].startswith("src/"):  # code as it was: it is looked up in git by its path
        return renewed
    for change in changes:
        if change.md5 and item["path"] == change.was.as_posix() and item["md5"] == change.md5[0]:
            renewed |= {"md5": change.md5[1], "size": change.size}
    path = re.sub(
        rf"^(data/fingerprints/(?:{'|'.join(_OF_DIFFUSION)}))/\w+\.txt$", r"\1.txt", item["path"]
    )
    return renewed | {"path": _renamed(path)}


def _renamed(text: str) -> str:
    """Put today's names of models in the place of earlier ones, in paths, commands and keys."""
    for old, new in EARLIER_NAMES.items():
        text = re.sub(rf"(?<=/){old}(?=[/.]|$)", new, text)
        text = re.sub(rf"(?<=--model ){old}$|(?<=^train\.){old}$", new, text)
    return text

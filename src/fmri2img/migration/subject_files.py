"""Files that held all subjects in version 0.2.0 and are one a subject now: true pictures and
captions; and the stages that make and read them.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from fmri2img.containers.ids import find_rows
from fmri2img.containers.splits import PARTS, Split
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.migration.file_change import FileChange
from fmri2img.project.config import PARAMS_PATH, ModelLists
from fmri2img.project.files import hash_file, read_json, write_json
from fmri2img.project.layout import (
    CHECKPOINTS,
    captions_path,
    receipt_path,
    split_path,
    truth_path,
)

# Until version 0.2.0.
TRUTH, CAPTIONS = Path("data/truth.h5"), "data/captions/{}.json"
_WORK = CHECKPOINTS / "migration"
_Entries = dict[str, dict[str, Any]]


def add_population(text: str) -> str:
    """Return ``params.yaml`` with the key ``population``: all subjects, as until version 0.2.0.

    Parameters
    ----------
    text : str
        The whole file.
    """
    document = yaml.compose(text)
    if not isinstance(document, yaml.MappingNode):
        return text
    keys = {key.value: (key, value) for key, value in document.value}
    if "population" in keys or "subjects" not in keys:
        return text
    key, subjects = keys["subjects"]
    names = ", ".join(item.value for item in subjects.value)
    start = key.start_mark.index
    return f"{text[:start]}population: [{names}]\n{text[start:]}"


def changes_of_subject_files(
    root: Path, subjects: list[str], models: ModelLists
) -> Iterator[FileChange]:
    """Yield one change for each file that a subject gets, and one for each that goes.

    The new files are written aside, because the lock has to name their bytes; the changes put them
    in place.

    Parameters
    ----------
    root : Path
        The project.
    subjects : list of str
    models : ModelLists
    """
    splits = {
        subject: Split.open(
            root / split_path(subject), remedy=f"dvc repro split_examples@{subject}"
        )
        for subject in subjects
        if (root / split_path(subject)).exists()
    }
    if (root / TRUTH).exists():
        truth = TruePictures.open(root / TRUTH, remedy="dvc checkout data/truth.h5")
        for subject, split in splits.items():
            share = root / _WORK / truth_path(subject)
            _pictures_of(truth, split, root / TRUTH, share)
            yield _placed(root, share, TRUTH, truth_path(subject), "test images of one subject")
        yield _removed(root, TRUTH, "each subject has its own file")
    for model in models.diffusion:
        old = Path(CAPTIONS.format(model))
        if not (root / old).exists():
            continue
        document = read_json(root / old, remedy=f"dvc checkout {old}")
        for subject, split in splits.items():
            names = {str(image_id) for part in PARTS for image_id in split.ids(part)}
            kept = {name: texts for name, texts in document["captions"].items() if name in names}
            share = root / _WORK / captions_path(subject, model)
            write_json(share, document | {"captions": kept})
            where = captions_path(subject, model)
            yield _placed(root, share, old, where, "captions of one subject's pictures")
        yield _removed(root, old, "each subject has its own file")


def _pictures_of(truth: TruePictures, split: Split, source: Path, target: Path) -> None:
    ids = split.ids("test")
    if len(ids) == len(truth.image_ids):  # as in NSD, where all subjects share their test images
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return
    rows = find_rows(truth.image_ids, ids, "test images")
    TruePictures(ids, truth.images[rows], truth.provenance).save(target)


def _placed(root: Path, share: Path, was: Path, now: Path, words: str) -> FileChange:
    md5 = (hash_file(root / was, "md5"), hash_file(share, "md5"))
    return FileChange(
        f"{now}: {words}", _putting(share, root / now), was, now, md5, share.stat().st_size
    )


def _putting(share: Path, target: Path) -> Callable[[], None]:
    def put() -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        share.replace(target)

    return put


def _removed(root: Path, was: Path, words: str) -> FileChange:
    return FileChange(f"{was}: removed, {words}", (root / was).unlink, was, was)


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
        if script == "collect_truth" and not item:
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
        "deps": [
            files.get(split_path(subject).as_posix(), dep) if dep["path"] == "data/splits" else dep
            for dep in entry["deps"]
        ],
        "outs": [_own(out, subject, changes) for out in entry["outs"]],
    }
    _add_receipt(renewed, subject, files)
    params = {
        key: value
        for key, value in entry.get("params", {}).get(str(PARAMS_PATH), {}).items()
        if key != "subjects"
    }
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
    renewed = entry | {"deps": [_own(dep, subject, changes) for dep in entry.get("deps", [])]}
    if script in ("create_examples", "make_targets"):
        _add_receipt(renewed, subject, files)
    params = dict(entry.get("params", {}).get(str(PARAMS_PATH), {}))
    subjects = params.pop("subjects", None)
    if subjects is None or script not in ("fetch_raw_shared", "collect_prior"):
        return renewed
    if script == "collect_prior":
        params["population"] = subjects
    return renewed | {"params": {str(PARAMS_PATH): params}}


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

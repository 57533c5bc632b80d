"""Remove a subject or a model from a project: its settings, results and aliases in the registry.

The settings go last, so a removal that was interrupted is completed by the same command.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from fmri2img.project.config import PARAMS_PATH, ProjectParams
from fmri2img.project.exceptions import ConfigError
from fmri2img.project.files import write_text
from fmri2img.project.layout import CHECKPOINTS, LOGS, ledger_path, ood_name
from fmri2img.project.params_file import load_params, near
from fmri2img.provenance.lineage import LOCK_PATH, LockLoader, check_lock

_REFERENCE = "ridge"


@dataclass(frozen=True)
class Removal:
    """What goes when a subject or a model is removed.

    Attributes
    ----------
    name : str
        The subject or the model.
    encoders : tuple of (str, str)
        Subject and model of each encoder that goes.
    stages : tuple of str
        Stages that go from ``dvc.lock``.
    files : tuple of Path
        Files and folders, relative to the project.
    params_text, lock_text : str
        Contents of ``params.yaml`` and ``dvc.lock`` afterwards; no lock: empty.
    left : tuple of str
        What stays, in sentences.
    """

    name: str
    encoders: tuple[tuple[str, str], ...]
    stages: tuple[str, ...]
    files: tuple[Path, ...]
    params_text: str
    lock_text: str
    left: tuple[str, ...]

    def size(self, root: Path = Path()) -> int:
        """Return the number of bytes of the files."""
        return sum(
            path.stat().st_size
            for file in self.files
            for path in ([root / file] if (root / file).is_file() else (root / file).rglob("*"))
            if path.is_file()
        )

    def carry_out(self, root: Path = Path()) -> None:
        """Delete the files, and then what names them."""
        for file in self.files:
            if (root / file).is_dir():
                shutil.rmtree(root / file)
            else:
                (root / file).unlink(missing_ok=True)
            _remove_empty(root / file, root)
        if self.lock_text:
            write_text(root / LOCK_PATH, self.lock_text)
        write_text(root / PARAMS_PATH, self.params_text)


def plan_removal(name: str, root: Path = Path()) -> Removal:
    """Return what goes with a subject or a model.

    Parameters
    ----------
    name : str
    root : Path
        The project.

    Raises
    ------
    ConfigError
        If it is neither a subject nor a model of the project, or the project cannot do without it.
    FormatError
        If ``dvc.lock`` is in the middle of a merge.
    """
    params = load_params(root / PARAMS_PATH)
    _check(name, params)
    is_subject = name in params.subjects
    check_lock(root)
    lock = _read_lock(root)
    stages = tuple(stage for stage in lock.get("stages", {}) if _is_of(stage, name, is_subject))
    outs = [Path(out["path"]) for stage in stages for out in lock["stages"][stage].get("outs", [])]
    encoders = tuple(
        (subject, model)
        for subject in params.subjects
        for model in params.models
        if name in (subject, model)
    )
    remains = _working_files(name, is_subject, root)
    files = [file for file in dict.fromkeys([*outs, *remains]) if (root / file).exists()]
    lock_text = ""
    if lock:
        kept = {stage: entry for stage, entry in lock["stages"].items() if stage not in stages}
        lock_text = yaml.safe_dump(lock | {"stages": kept}, sort_keys=False, allow_unicode=True)
    return Removal(
        name,
        encoders,
        stages,
        tuple(files),
        _without(name, (root / PARAMS_PATH).read_text(encoding="utf-8")),
        lock_text,
        tuple(_left(name, params, is_subject)),
    )


def _check(name: str, params: ProjectParams) -> None:
    """Refuse a name that the project does not have, or cannot do without."""
    models = list(params.models)
    if name not in (*params.subjects, *models):
        known = [*params.subjects, *models]
        raise ConfigError(
            f"{PARAMS_PATH}: there is no subject or model {name!r}{near(name, known)}; choose "
            f"from: {', '.join(known)}"
        )
    if name == _REFERENCE:
        raise ConfigError(
            f"{PARAMS_PATH}: models.latents: {name} cannot be removed, because all other models "
            "are compared with it; name another model"
        )
    if params.subjects == [name]:
        raise ConfigError(
            f"{PARAMS_PATH}: subjects: {name} is the only subject; add another before you remove it"
        )
    if name in params.population:
        raise ConfigError(
            f"{PARAMS_PATH}: population: encoders of other subjects learn from the pictures of "
            f"{name}; remove it from population first (these encoders are then trained again)"
        )


def _read_lock(root: Path) -> dict:
    path = root / LOCK_PATH
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    lock: dict = yaml.load(text, LockLoader)  # noqa: S506 (a safe loader)
    return lock


def _is_of(stage: str, name: str, is_subject: bool) -> bool:
    subject, *others = stage.partition("@")[2].split("-")
    return name == subject if is_subject else name in others


def _working_files(name: str, is_subject: bool, root: Path) -> Iterator[Path]:
    """Yield what stages keep for themselves: unfinished work, logs, hashes of raw files."""
    ends = f"@{name}.log", f"@{name}-*.log"
    patterns = [f"{LOGS}/stages/*{end}" for end in ends] if is_subject else []
    if is_subject:
        patterns += [f"{folder}/{name}" for folder in (CHECKPOINTS, LOGS)]
        patterns += [f"{CHECKPOINTS}/*/{name}"]
        patterns += [ledger_path(one).as_posix() for one in (name, ood_name(name, "*"))]
    else:
        patterns += [f"{LOGS}/stages/*@*-{name}{end}.log" for end in ("", "-*")]
        patterns += [f"{LOGS}/*/{name}.jsonl"]
        patterns += [f"{LOGS}/*/{name}-seeds.jsonl", f"{CHECKPOINTS}/*/{name}.*"]
        patterns += [f"{CHECKPOINTS}/*/*/{name}"]
    for pattern in patterns:
        yield from (path.relative_to(root) for path in sorted(root.glob(pattern)))


def _left(name: str, params: ProjectParams, is_subject: bool) -> Iterator[str]:
    if is_subject:
        yield f"raw files of {name} in {params.machine.raw_folder}"
    elif name in params.train:
        yield f"the section train.{name} of {PARAMS_PATH}"
    yield "earlier results in DVC's cache (dvc gc --workspace deletes them) and in git's history"
    yield "runs and versions in MLflow, retired"


def _without(name: str, text: str) -> str:
    """Return ``params.yaml`` without a name in its lists of subjects and models; remarks stay."""
    document = yaml.compose(text)
    assert isinstance(document, yaml.MappingNode)  # noqa: S101 (it was loaded before)
    sections = {key.value: value for key, value in document.value}
    lists = [sections["subjects"], *(value for _, value in sections["models"].value)]
    for items in sorted(lists, key=lambda node: node.start_mark.index, reverse=True):
        for number, item in enumerate(items.value):
            if item.value == name:
                text = _cut(text, items, number)
    return text


def _cut(text: str, items: yaml.SequenceNode, number: int) -> str:
    item = items.value[number]
    if items.flow_style:
        kept = ", ".join(other.value for other in items.value if other is not item)
        return f"{text[: items.start_mark.index]}[{kept}]{text[items.end_mark.index :]}"
    if len(items.value) == 1:  # an empty block would be no list
        start = text.rindex(":", 0, items.start_mark.index) + 1
        return f"{text[:start]} []\n{text[items.end_mark.index :]}"
    start = text.rindex("\n", 0, item.start_mark.index) + 1
    end = text.find("\n", item.end_mark.index) + 1
    return text[:start] + (text[end:] if end else "")


def _remove_empty(path: Path, root: Path) -> None:
    """Delete folders that have become empty, below the project's own."""
    for folder in path.parents:
        if folder == root or folder.parent == root or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()

"""Where a file comes from and what was made from it: raw bytes, parameters, commands and code, as
recorded in the pipeline's lock file.

``dvc.lock`` records for every stage which bytes went in, under which parameters, and which came
out. The provenance of a voxel file names the receipts, and so every raw file.
"""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fmri2img.project.config import PARAMS_PATH, ProjectParams
from fmri2img.project.exceptions import FormatError, MissingDataError
from fmri2img.project.files import hash_file
from fmri2img.project.layout import FINGERPRINTS, receipt_path
from fmri2img.project.params_file import load_params
from fmri2img.provenance.dvc_hash import hash_as_dvc

LOCK_PATH = Path("dvc.lock")


class LockLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads the YAML 1.2 that DVC writes: there ``1e-06`` is a number, in YAML 1.1 a string."""


_NUMBER = re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$")
LockLoader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))


@dataclass(frozen=True)
class LockedStage:
    """One stage as it last ran.

    Attributes
    ----------
    name, command : str
    params : dict of str to object
        Values by dotted key of ``params.yaml``.
    deps, outs : dict of str to str
        MD5 by path.
    sizes : dict of str to int
        Bytes of outputs by path.
    """

    name: str
    command: str
    params: dict[str, Any]
    deps: dict[str, str]
    outs: dict[str, str]
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def script(self) -> str:
        """The name without subject and model."""
        return self.name.partition("@")[0]

    @property
    def reads_raw(self) -> bool:
        """Whether it cannot run again without raw files: a receipt is among its files."""
        receipts = receipt_path("").parent
        return any(Path(path).parent == receipts for path in (*self.deps, *self.outs))


def read_lock(root: Path = Path()) -> dict[str, LockedStage]:
    """Read ``dvc.lock``, without subjects and models that ``params.yaml`` no longer lists: DVC
    never drops them.

    Raises
    ------
    MissingDataError
        If there is none.
    FormatError
        If it cannot be read.
    ConfigError
        If ``params.yaml`` cannot be read.
    """
    path, params_path = root / LOCK_PATH, root / PARAMS_PATH
    if not path.exists():
        raise MissingDataError(
            f"{path} not found; run the command in the project's root folder, after dvc repro"
        )
    check_lock(root)
    params = load_params(params_path) if params_path.exists() else None
    try:
        text = path.read_text(encoding="utf-8")
        stages = yaml.load(text, LockLoader)["stages"]  # noqa: S506 (a safe loader)
        return {
            name: _locked(name, entry)
            for name, entry in stages.items()
            if _is_current(name, params)
        }
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise FormatError(
            f"{path}: not a lock file that DVC wrote ({error}); run: git checkout HEAD -- {path}"
        ) from error


def check_lock(root: Path = Path()) -> None:
    """Refuse a lock file in the middle of a merge, and name a remedy that works.

    Raises
    ------
    FormatError
        If it holds git's conflict marks.
    """
    path = root / LOCK_PATH
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    if any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines()):
        raise FormatError(
            f"{LOCK_PATH}: holds the conflict marks of an unfinished merge; take one side whole "
            f"(git checkout --ours {LOCK_PATH}, or "
            f"--theirs), then git add {LOCK_PATH}, and run: fmri2img why"
        )


def _is_current(name: str, params: ProjectParams | None) -> bool:
    _, _, item = name.partition("@")
    if not item or params is None:
        return True
    subject, *others = item.split("-")
    if not others:  # of a subject, or of a model for all subjects
        return item in params.subjects or item in params.models
    return subject in params.subjects and {*others} <= {*params.models, *params.ood}


def _locked(name: str, entry: dict) -> LockedStage:
    params = {
        key: value for values in entry.get("params", {}).values() for key, value in values.items()
    }
    deps = {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}
    outs = {out["path"]: out["md5"] for out in entry.get("outs", [])}
    return LockedStage(
        name,
        entry["cmd"],
        params,
        deps,
        outs,
        {out["path"]: out["size"] for out in entry.get("outs", [])},
    )


@dataclass(frozen=True)
class Origin:
    """What a file was made from.

    Attributes
    ----------
    path : str
    md5 : str
        Recorded MD5; empty if no stage made the file.
    state : str
        ``same bytes``, ``other bytes`` or ``not here``, compared with the recorded MD5; ``a
        folder`` is not compared.
    stage : LockedStage or None
        The stage that made the file, if any.
    inputs : tuple of Origin
        Outputs of earlier stages among its dependencies.
    code : dict of str to str
        MD5 of the other dependencies: the fingerprint of the code, and files of the repository.
    """

    path: str
    md5: str
    state: str
    stage: LockedStage | None
    inputs: tuple["Origin", ...]
    code: dict[str, str]


def trace_back(
    path: str,
    stages: dict[str, LockedStage],
    root: Path = Path(),
    known: dict[str, Origin] | None = None,
) -> Origin:
    """Follow a file back to the receipts.

    Parameters
    ----------
    path : str
    stages : dict of str to LockedStage
    root : Path
        The project.
    known : dict of str to Origin, optional
        Origins found so far, to which the call adds: every file is hashed once.

    Raises
    ------
    MissingDataError
        If no stage made it.
    """
    known = {} if known is None else known
    if path in known:
        return known[path]
    makers = {out: stage for stage in stages.values() for out in stage.outs}
    if path not in makers:
        raise MissingDataError(
            f"{path}: no stage in {LOCK_PATH} made it; name an output, such as "
            f"{next(iter(makers), 'data/voxels/subj01.h5')}"
        )
    stage = makers[path]
    paths = [dep for dep in stage.deps if dep in makers]
    # A stage may depend on a folder, which stands for the outputs below it.
    paths += [
        out
        for dep in stage.deps
        if dep not in makers
        for out in makers
        if out.startswith(f"{dep}/")
    ]
    code = {
        dep: md5
        for dep, md5 in stage.deps.items()
        if dep not in makers and not any(out.startswith(f"{dep}/") for out in makers)
    }
    inputs = tuple(trace_back(dep, stages, root, known) for dep in paths)
    known[path] = Origin(
        path, stage.outs[path], _state(root / path, stage.outs[path]), stage, inputs, code
    )
    return known[path]


def trace_forward(path: str, stages: dict[str, LockedStage]) -> list[str]:
    """Return every output that was made from a file, directly or not, in the order of the
    pipeline.
    """
    reached, outputs = {path}, []
    changed = True
    while changed:
        changed = False
        for stage in stages.values():
            inputs = set(stage.deps) & reached or {
                dep for dep in stage.deps if any(one.startswith(f"{dep}/") for one in reached)
            }
            for out in stage.outs if inputs else ():
                if out not in reached:
                    reached.add(out)
                    outputs.append(out)
                    changed = True
    return outputs


def commit_that_recorded(md5s: set[str], stage: str, root: Path = Path()) -> str:
    """Return the full hash of the first commit whose lock file has all these bytes as outputs of a
    stage; empty if none has.

    Branches and experiments of DVC are searched too.
    """
    commits: list[str] = []
    for md5 in sorted(md5s):
        command = [
            "git",
            "log",
            "--all",
            "--reverse",
            "--format=%H",
            f"-S{md5}",
            "--",
            str(LOCK_PATH),
        ]
        result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        commits += result.stdout.split() if result.returncode == 0 else []
    return next(
        (
            commit
            for commit in dict.fromkeys(commits)
            if md5s <= set(outs_at(commit, stage, root).values())
        ),
        "",
    )


def outs_at(commit: str, stage: str, root: Path = Path()) -> dict[str, str]:
    """Return the outputs of a stage, MD5 by path, as a commit's lock file has them; empty if it
    has none.
    """
    result = subprocess.run(
        ["git", "show", f"{commit}:./{LOCK_PATH}"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        return {}
    stages = yaml.load(result.stdout, LockLoader)["stages"]  # noqa: S506 (a safe loader)
    return {out["path"]: out["md5"] for out in stages.get(stage, {}).get("outs", [])}


def first_commit(md5: str, root: Path = Path()) -> str:
    """Return the commit whose lock file first held these bytes (hash, date, subject); empty if
    none does.
    """
    command = [
        "git",
        "log",
        "--all",
        "--reverse",
        "--format=%h %ad %s",
        "--date=short",
        f"-S{md5}",
        "--",
        str(LOCK_PATH),
    ]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    lines = result.stdout.splitlines()
    return lines[0] if result.returncode == 0 and lines else ""


def changed_params(stage: LockedStage, current: dict[str, Any]) -> list[str]:
    """Say which parameters differ from those that a stage last ran with, one phrase each."""
    phrases = []
    for key, was in stage.params.items():
        phrases += _differences(key, was, _lookup(current, key))
    return phrases


def changed_since_last_run(name: str) -> tuple[list[str], list[str]]:
    """Return the outputs of a stage's last run, and how its parameters differ since; two empty
    lists if it never ran.
    """
    stage = read_lock().get(name) if LOCK_PATH.exists() else None
    if stage is None:
        return [], []
    return list(stage.outs), changed_params(
        stage, yaml.safe_load(PARAMS_PATH.read_text(encoding="utf-8"))
    )


def code_has_changed(name: str) -> bool:
    """Whether the fingerprint of a stage's code has changed since the stage last ran here."""
    stage = read_lock().get(name) if LOCK_PATH.exists() else None
    if stage is None:
        return False
    known = {path: md5 for path, md5 in stage.deps.items() if path.startswith(f"{FINGERPRINTS}/")}
    return not known or any(
        Path(path).exists() and hash_file(Path(path), "md5") != md5 for path, md5 in known.items()
    )


def _differences(key: str, was: Any, now: Any) -> list[str]:
    if isinstance(was, dict) and isinstance(now, dict):
        keys = sorted({*was, *now})
        return [
            phrase
            for name in keys
            for phrase in _differences(f"{key}.{name}", was.get(name), now.get(name))
        ]
    return [] if was == now else [f"{key} was {was}, is {now}"]


def _lookup(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _state(path: Path, md5: str) -> str:
    if not path.exists():
        return "not here"
    return "same bytes" if hash_as_dvc(path) == md5 else "other bytes"

"""Keep results whose code has changed in a way that cannot matter, or that cannot be made again
here.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmri2img.project.config import PARAMS_PATH
from fmri2img.project.exceptions import MismatchError, UnavailableError
from fmri2img.project.files import hash_file, write_json
from fmri2img.project.layout import FINGERPRINTS, receipt_path
from fmri2img.project.params_file import load_params
from fmri2img.provenance.dvc_hash import hash_as_dvc
from fmri2img.provenance.lineage import LockedStage
from fmri2img.provenance.notes import ACCEPTED_PATH, read_notes
from fmri2img.provenance.receipts import Receipt
from fmri2img.provenance.stage_fingerprints import SOURCE, write_fingerprints
from fmri2img.provenance.why import FINGERPRINT_STAGE, Pipeline


@dataclass(frozen=True)
class Decision:
    """The decision on one stale stage.

    Attributes
    ----------
    stage : str
    is_accepted : bool
    words : str
        The reason.
    names : tuple of str
        Definitions that differ in meaning.
    """

    stage: str
    is_accepted: bool
    words: str
    names: tuple[str, ...] = ()


def accept(wanted: str | None, root: Path = Path()) -> list[Decision]:
    """Decide on every stale stage, and write the accepted ones into ``dvc.lock``.

    A stage is accepted if only its code has changed, its outputs match the lock (or are not here),
    and the code either means the same, or was rewritten with the same golden results, or reads raw
    files that are not here. ``accepted.json`` keeps notes on stages accepted for the last reason.

    Parameters
    ----------
    wanted : str or None
        A stage; None for all.
    root : Path
        The project.

    Returns
    -------
    list of Decision
        One for each stage whose code has changed.

    Raises
    ------
    MismatchError
        If an output's bytes differ from those in the lock.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    # DVC would report every stage that it writes.
    logging.getLogger("dvc").setLevel(logging.WARNING)
    pipeline = Pipeline.read(root)
    names = pipeline.matching(wanted) if wanted else pipeline.order
    stale = [
        name
        for name in names
        if name != FINGERPRINT_STAGE and name in pipeline.locked and pipeline.code_cause(name)
    ]
    raw_root = root / load_params(root / PARAMS_PATH).machine.raw_folder
    decisions = [_decide(pipeline, name, has_raw=_has_raw(name, raw_root, root)) for name in stale]
    accepted = [decision for decision in decisions if decision.is_accepted]
    for decision in accepted:
        _verify_outputs(pipeline.locked[decision.stage], root)
    if not accepted:
        return decisions
    write_fingerprints(root / FINGERPRINTS, root / SOURCE)
    try:
        with Repo(str(root)) as repo:
            repo.commit(FINGERPRINT_STAGE, force=True)
            stages = {stage.addressing: stage for stage in repo.index.stages}
            with repo.lock:
                _write_lock([stages[decision.stage] for decision in accepted])
    except DvcException as error:
        raise UnavailableError(
            f"DVC could not write dvc.lock: {' '.join(str(error).split())}; run the same command "
            "again"
        ) from error
    _note(accepted, pipeline, root)
    return decisions


def _write_lock(stages: list[Any]) -> None:
    """Have DVC lock the current fingerprints; everything else stays as locked, including files that
    are not here.
    """
    for stage in stages:
        for dep in stage.deps:
            if dep.def_path.startswith(f"{FINGERPRINTS}/"):
                dep.hash_name = "md5"
                dep.save()
    stages[0].dvcfile.dump_stages(stages, update_pipeline=False)


def _has_raw(stage: str, raw_root: Path, root: Path) -> bool:
    """Whether all raw files that a stage reads are here: its further test set's, its subject's, or
    else those that all subjects share.
    """
    item = stage.partition("@")[2]
    names = (item, item.partition("-")[0], "shared")
    receipts = [root / receipt_path(name) for name in names if name]
    path = next((receipt for receipt in receipts if receipt.exists()), receipts[-1])
    if not path.exists():
        return raw_root.is_dir() and any(raw_root.iterdir())
    return all(
        (raw_root / record.path).exists()
        for record in Receipt.open(path, remedy=f"dvc checkout {path}").files
    )


def _decide(pipeline: Pipeline, name: str, *, has_raw: bool) -> Decision:
    code = pipeline.code_cause(name)
    assert code is not None  # noqa: S101 (only stale stages come here)
    others = [
        cause for cause in pipeline.causes(name) if cause.kind in ("params", "command", "file")
    ]
    if others:
        return Decision(name, False, others[0].words, code.names)
    if code.equivalent:
        return Decision(name, True, f"its code was {code.equivalent}")
    if not code.names:
        return Decision(name, True, "the code means the same")
    if not pipeline.locked[name].reads_raw:
        return Decision(name, False, f"{code.words}; it can run here: dvc repro {name}", code.names)
    if has_raw:
        return Decision(
            name,
            False,
            f"{code.words}; raw files are here, so it can run again: dvc repro {name}",
            code.names,
        )
    return Decision(name, True, f"{code.words}; no raw files are here to run it again", code.names)


def _verify_outputs(stage: LockedStage, root: Path) -> None:
    for path, md5 in stage.outs.items():
        file = root / path
        if file.exists() and (actual := hash_as_dvc(file)) != md5:
            raise MismatchError(
                f"{path}: its bytes have MD5 {actual}, expected {md5} as in dvc.lock; nothing was "
                "accepted: bring the recorded file back "
                f"(dvc checkout {path}), or make it again (dvc repro {stage.name})"
            )


def _note(accepted: list[Decision], pipeline: Pipeline, root: Path) -> None:
    """Note which results were made by code other than today's."""
    notes = read_notes(root)
    for decision in accepted:
        stage = pipeline.locked[decision.stage]
        if not decision.names:
            continue
        path = (FINGERPRINTS / f"{pipeline.fingerprint_of(decision.stage)}.txt").as_posix()
        earlier = notes.get(decision.stage, {})
        made_by = (
            earlier["made_by"]
            if earlier.get("outs") == stage.outs
            else _code_of(stage, path, pipeline)
        )
        notes[decision.stage] = {
            "made_by": made_by,
            "kept_under": hash_file(root / path, "md5"),
            "differs_in": sorted(
                {
                    *decision.names,
                    *(earlier.get("differs_in", []) if earlier.get("outs") == stage.outs else []),
                }
            ),
            "outs": stage.outs,
        }
    if notes:
        write_json(root / ACCEPTED_PATH, notes)


def _code_of(stage: LockedStage, path: str, pipeline: Pipeline) -> str:
    """Name the code that a stage last ran with."""
    if md5 := stage.deps.get(path):
        return f"fingerprint {md5}"
    return (
        f"commit {commit}"
        if (commit := pipeline.history.commit(stage))
        else "code that is no longer known"
    )

"""The verb of ``fmri2img`` that brings a project of an earlier version to today's names."""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

from fmri2img.project.exceptions import Fmri2imgError, UnavailableError
from fmri2img.project.files import write_json
from fmri2img.project.layout import OOD_SCORES, alignment_path
from fmri2img.project.params_file import load_params
from fmri2img.project.progress import progress
from fmri2img.provenance.accept import accept
from fmri2img.provenance.lineage import LOCK_PATH
from fmri2img.provenance.why import FINGERPRINT_STAGE, Pipeline

_COMPARE, _ALIGNMENT = "compare", "check_alignment@"
# Version 0.3 had no such stages, and the comparison does not read what they make.
_MAPS = ("collect_anatomy@", "map_voxels@")
_OF_TODAY = "nothing to do: the project has today's names and layouts"


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verb to the command."""
    migrate = verbs.add_parser(
        "migrate-project",
        help="bring a project of an earlier version to today's names and layouts; only the "
        "comparison is computed again",
    )
    migrate.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and change nothing"
    )
    migrate.set_defaults(run=migrate_project)


def migrate_project(options: argparse.Namespace) -> None:
    """Migrate the project, and print a line for each step."""
    # Starts torch.
    from fmri2img.migration.project import plan

    steps = plan()
    for step in steps:
        print(step.words, flush=True)
        if not options.dry_run:
            step.do()
    if options.dry_run:
        print(f"{len(steps)} steps; nothing was changed" if steps else _OF_TODAY)
        return
    lines = 0
    for line in _finish():
        print(line, flush=True)
        lines += 1
    if not steps and not lines:
        print(_OF_TODAY)


def _finish(root: Path = Path()) -> Iterator[str]:
    """Keep results under today's code, rename registered models and runs, and repeat the
    comparison; yields a line for each.

    Parameters
    ----------
    root : Path
        Folder of the project; also the working folder.

    Raises
    ------
    MismatchError
        If an output's bytes differ from those in the lock.
    """
    if (root / LOCK_PATH).exists():
        _fill_cache(root)
        decisions = accept(None, root)
        if kept := [decision for decision in decisions if decision.is_accepted]:
            yield f"{len(kept)} stages keep their results under today's code"
        for decision in decisions:
            if not decision.is_accepted:
                yield f"{decision.stage} will run again: {decision.words}"
    # They start MLflow.
    from fmri2img.tracking.registered_names import migrate_store
    from fmri2img.tracking.store import STORE_ERRORS

    try:
        yield from migrate_store()
    except STORE_ERRORS as error:
        reason = " ".join(str(error).split())
        yield (
            f"MLflow was not changed, because its store cannot be reached: {reason}; run the same "
            "command again"
        )
    if (root / LOCK_PATH).exists():
        yield from _compare(root)


def _fill_cache(root: Path) -> None:
    """Add rewritten outputs to DVC's cache, but only those that match the lock."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)
    try:
        with Repo(str(root)) as repo, repo.lock:
            outs = [out for stage in repo.index.stages for out in stage.outs if out.use_cache]
            for out in outs:
                recorded = out.hash_info
                if recorded and out.exists and out.changed_cache():
                    out.save()
                    if out.hash_info == recorded:
                        out.commit()
    except DvcException as error:
        words = " ".join(str(error).split())
        raise UnavailableError(
            f"DVC could not take the rewritten pages: {words}; run: dvc commit"
        ) from error


def _compare(root: Path) -> Iterator[str]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    from fmri2img.pipeline.compare_subjects import compare_subjects
    from fmri2img.pipeline.subject_alignment import check_subject
    from fmri2img.tracking.runs import log_comparison

    # The comparison depends on this folder, also where no further test set is named.
    (root / OOD_SCORES).mkdir(parents=True, exist_ok=True)
    pipeline = Pipeline.read(root)
    others = [
        name
        for name in pipeline.order
        if name not in (FINGERPRINT_STAGE, _COMPARE) and not name.startswith(_MAPS)
    ]
    if not pipeline.causes(_COMPARE):
        return
    stale = [name for name in others if pipeline.causes(name)]
    if any(pipeline.causes(name) for name in pipeline.order if name.startswith(_MAPS)):
        yield "dvc repro will also make maps of voxels, which are new"
    # Version 0.2.0 had no such stage; it takes seconds, and the comparison reads it.
    new = [name for name in stale if name.startswith(_ALIGNMENT)]
    if before := [name for name in stale if name not in new]:
        yield f"dvc repro will make the comparison again: {before[0]} runs before it"
        return
    try:
        params = load_params()
        for subject in (name.removeprefix(_ALIGNMENT) for name in new):
            alignment = check_subject(subject, [], progress(subject))
            write_json(alignment_path(subject), alignment.to_json())
        log_comparison(params, compare_subjects(params))
        with Repo(str(root)) as repo:
            for name in (*new, _COMPARE):
                repo.commit(name, force=True)
    except Fmri2imgError as error:
        yield f"dvc repro will make the comparison again: {error}"
        return
    except DvcException as error:
        words = " ".join(str(error).split())
        raise UnavailableError(
            f"DVC could not record the comparison: {words}; run: dvc repro compare"
        ) from error
    yield "reports/comparison: made again"

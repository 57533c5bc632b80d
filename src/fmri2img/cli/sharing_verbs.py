"""The verbs of ``fmri2img`` that push files to a remote and pull them."""

import argparse
import sys
from pathlib import Path

from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.datasets.protocol import open_dataset, public_part, terms_of
from fmri2img.project.exceptions import ChangedDataError, ConfigError, UnavailableError
from fmri2img.project.files import hash_file
from fmri2img.project.layout import voxels_path
from fmri2img.project.params_file import load_params
from fmri2img.provenance.lineage import read_lock
from fmri2img.sharing.remotes import (
    ALL_STAGES,
    MODEL_STAGES,
    RESPONSE_STAGES,
    SHARED_STAGES,
    data_source_of,
    differing_params,
    plan,
    pull,
    share,
)


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs to the command."""
    for name, run, help_text in (
        (
            "share",
            push_files,
            "push receipts, regions, voxels, examples, splits and latents to your group's remote",
        ),
        (
            "pull",
            pull_files,
            "pull what share pushed; dvc repro then continues from there, without raw files",
        ),
    ):
        verb = verbs.add_parser(name, help=help_text)
        verb.add_argument("--remote", help="a DVC remote; the default one if left out")
        what_else = verb.add_mutually_exclusive_group()
        what_else.add_argument(
            "--models",
            dest="stages",
            action="store_const",
            const=MODEL_STAGES,
            default=SHARED_STAGES,
            help="trained encoders too",
        )
        what_else.add_argument(
            "--everything",
            dest="stages",
            action="store_const",
            const=ALL_STAGES,
            help="encoders, pictures and reports too",
        )
        what_else.add_argument(
            "--responses",
            dest="stages",
            action="store_const",
            const=RESPONSE_STAGES,
            help="receipts, regions and voxels only: no pictures, nor what is made from them",
        )
        verb.add_argument("--dry-run", action="store_true", help="say what would move, and stop")
        verb.set_defaults(run=run)
        if name == "share":
            _add_readers(verb)


def _add_readers(verb: argparse.ArgumentParser) -> None:
    """Add the options that say who can read the remote."""
    readers = verb.add_mutually_exclusive_group()
    readers.add_argument(
        "--members-only",
        action="store_true",
        help="confirm that only people admitted by the data's terms can read the remote",
    )
    readers.add_argument(
        "--public",
        action="store_true",
        help="anybody can read the remote: push what the data's terms give to everybody",
    )


def push_files(options: argparse.Namespace) -> None:
    """Print what is to be pushed, and push it."""
    stages, terms = options.stages, ""
    if options.public or not options.dry_run:
        source = data_source_of()
        terms = terms_of(source)
        if load_params().dataset == "folder":  # its owner's word, also on simulated files
            source, terms = "folder", _declared_terms()
        if options.public:
            stages = _public_stages(source, terms, stages)
    shipment = plan(options.remote, stages)
    print(*shipment.describe(), sep="\n")
    if not options.dry_run:
        share(shipment, terms, members_only=options.members_only or options.public)


def _declared_terms() -> str:
    """Return the terms that a folder's owner declared: those in the voxel files that the lock
    file names, and those in ``dataset.yaml`` as it is now.

    Raises
    ------
    ChangedDataError
        If a voxel file is not here as the lock file records it.
    """
    outs = {path: md5 for stage in read_lock().values() for path, md5 in stage.outs.items()}
    declared = set()
    for name, md5 in outs.items():
        path = Path(name)
        if path.parent != voxels_path("").parent:
            continue
        if not path.is_file() or hash_file(path, "md5") != md5:
            raise ChangedDataError(
                f"{path}: not here as dvc.lock records it, and it says who may have the data; run: "
                f"dvc checkout {path}"
            )
        trials = TrialBetas.open(path, remedy=f"dvc checkout {path}", on_disk=["betas"])
        declared.add(str(trials.provenance["terms"]))
    dataset = open_dataset(load_params())
    if dataset.is_here():
        declared.add(dataset.facts.terms)
    return "; ".join(sorted(declared - {""}))


def _public_stages(source: str, terms: str, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return the stages whose files everybody may have.

    Raises
    ------
    ConfigError
        If there are none.
    """
    part = public_part(source)
    if part == "nothing" or (part == "declared" and terms):
        raise ConfigError(
            f"--public: not for everybody: {terms}; use a remote that only people admitted by "
            "these terms can read, with --members-only"
        )
    if part == "responses":
        kept = "" if asked in (SHARED_STAGES, RESPONSE_STAGES) else ", also no encoders or pictures"
        print(f"public: receipts, regions and voxels, nothing else{kept}: {terms}")
        return RESPONSE_STAGES
    return asked


def pull_files(options: argparse.Namespace) -> None:
    """Print what is to be pulled, warn if the parameters do not match the files, and pull."""
    shipment = plan(options.remote, options.stages)
    print(*shipment.describe(), sep="\n")
    if differences := differing_params():
        print(
            f"note: params.yaml differs from that of the pulled files: {'; '.join(differences)}; "
            "to use them, restore it (git checkout params.yaml): otherwise dvc repro will ask for "
            "raw files",
            file=sys.stderr,
        )
    if not options.dry_run:
        pull(shipment)
        if options.stages not in (SHARED_STAGES, RESPONSE_STAGES):
            # Starts MLflow.
            from fmri2img.tracking.runs import catch_up

            try:
                for line in catch_up():
                    print(line, flush=True)
            except UnavailableError as error:  # the files were pulled all the same
                print(f"note: {error}; later run: fmri2img track", file=sys.stderr)

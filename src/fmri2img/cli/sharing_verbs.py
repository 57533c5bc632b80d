"""The verbs of ``fmri2img`` that push files to a remote and pull them."""

import argparse
import sys

from fmri2img.datasets.protocol import terms_of
from fmri2img.project.exceptions import UnavailableError
from fmri2img.sharing.remotes import (
    ALL_STAGES,
    MODEL_STAGES,
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
            "pull them; dvc repro then continues from there, without raw files",
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
        verb.add_argument("--dry-run", action="store_true", help="say what would move, and stop")
        verb.set_defaults(run=run)
        if name == "share":
            verb.add_argument(
                "--members-only",
                action="store_true",
                help="confirm that only people admitted by the data's terms can read the remote",
            )


def push_files(options: argparse.Namespace) -> None:
    """Print what is to be pushed, and push it."""
    shipment = plan(options.remote, options.stages)
    print(*shipment.describe(), sep="\n")
    if not options.dry_run:
        terms = terms_of(data_source_of())
        share(shipment, terms, members_only=options.members_only)


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
        if options.stages is not SHARED_STAGES:
            # Starts MLflow.
            from fmri2img.tracking.runs import catch_up

            try:
                for line in catch_up():
                    print(line, flush=True)
            except UnavailableError as error:  # the files were pulled all the same
                print(f"note: {error}; later run: fmri2img track", file=sys.stderr)

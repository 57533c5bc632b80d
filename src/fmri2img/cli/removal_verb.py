"""The verb of ``fmri2img`` that removes a subject or a model from the project."""

import argparse
import os
from pathlib import Path

from fmri2img.project.config import PARAMS_PATH
from fmri2img.project.exceptions import UnavailableError

_STORE = Path("mlflow.db")


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verb to the command ``fmri2img``."""
    verb = verbs.add_parser(
        "remove",
        help="remove a subject or a model: its settings, results and aliases in the registry",
    )
    verb.add_argument("name", help="a subject or a model of params.yaml")
    verb.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    verb.set_defaults(run=remove)


def remove(options: argparse.Namespace) -> None:
    """Remove it, and say what went and what is left."""
    from fmri2img.pipeline.removal import plan_removal
    from fmri2img.pipeline.repro import one_at_a_time

    with one_at_a_time():
        removal = plan_removal(options.name)
        size = removal.size() / 1e6
        print(f"{PARAMS_PATH}: {options.name} leaves its list")
        print(f"dvc.lock: {len(removal.stages)} stages")
        print(f"files: {len(removal.files)}, {size:.1f} MB")
        _retire(removal.encoders, is_dry=options.dry_run)
        if options.dry_run:
            print("nothing was changed")
            return
        removal.carry_out()
    for sentence in removal.left:
        print(f"left: {sentence}")
    print("to renew the comparison: fmri2img repro")


def _retire(encoders: tuple[tuple[str, str], ...], *, is_dry: bool) -> None:
    """Take the encoders out of use in the registry."""
    if not _STORE.exists() and not os.environ.get("MLFLOW_TRACKING_URI"):
        return
    from fmri2img.tracking.champions import REMOVED, retire
    from fmri2img.tracking.populations import registered_population
    from fmri2img.tracking.store import STORE_ERRORS, open_store
    from fmri2img.tracking.versions import registered_name, versions_named

    try:
        client, _ = open_store()
        for name in (
            name_of(*names)
            for subject, model in encoders
            for name_of, names in (
                (registered_name, (model, subject)),
                (registered_population, (subject, model)),
            )
        ):
            versions = versions_named(client, name)
            for item in (item for item in versions if item.aliases or not item.is_retired):
                lost = f", was the {' and '.join(item.aliases)}" if item.aliases else ""
                print(f"registry: {item.uri} is retired{lost}")
                if not is_dry:
                    retire(client, item, REMOVED)
    except STORE_ERRORS as error:
        reason = " ".join(str(error).split())[:300]
        raise UnavailableError(
            f"MLflow cannot be reached ({reason}), so nothing was removed; check "
            "MLFLOW_TRACKING_URI and the server, then run the same command"
        ) from error

"""The verbs of ``fmri2img`` for trained encoders: list, promote, retire, restore, log and migrate
them.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fmri2img.cli import ADDRESS
from fmri2img.project.exceptions import ConfigError, MismatchError
from fmri2img.project.files import hash_file
from fmri2img.project.layout import (
    encoder_folder,
)
from fmri2img.project.plain_names import is_plain_name
from fmri2img.provenance.lineage import commit_that_recorded, outs_at

if TYPE_CHECKING:
    import mlflow

    from fmri2img.tracking.versions import Registered


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs to the command."""
    verb = verbs.add_parser(
        "list", help="list registered encoders, the champion of each subject marked"
    )
    verb.add_argument("subject", nargs="?", default="")
    verb.set_defaults(run=list_encoders)
    verb = verbs.add_parser(
        "promote",
        help="make an encoder its subject's champion, if it is better on validation images",
    )
    verb.add_argument("encoder", help=ADDRESS)
    verb.add_argument(
        "--force", action="store_true", help="promote it even if it is not shown to be better"
    )
    verb.set_defaults(run=promote_encoder)
    verb = verbs.add_parser(
        "retire", help="take an encoder out of use: it loses its aliases, and its files stay"
    )
    verb.add_argument("encoder", help=ADDRESS)
    verb.add_argument("--because", default="", help="why, for the registry")
    verb.set_defaults(run=retire_encoder)
    verb = verbs.add_parser(
        "restore",
        help="bring the files of a registered encoder back, from DVC's cache or remote, and verify "
        "them",
    )
    verb.add_argument("encoder", help=ADDRESS)
    verb.add_argument("--to", type=Path, help="folder; if left out, models/<subject>/<model>")
    verb.add_argument("--remote", help="a DVC remote; the default one if left out")
    verb.add_argument("--force", action="store_true", help="replace existing files that differ")
    verb.set_defaults(run=restore_encoder)
    verb = verbs.add_parser("track", help="log encoders on disk that MLflow does not have yet")
    verb.set_defaults(run=track)
    verb = verbs.add_parser(
        "migrate",
        help="copy runs, encoders and aliases from this project's store to another, such as the "
        "team's server",
    )
    verb.add_argument("--to", required=True, help="its address, such as http://127.0.0.1:5000")
    verb.set_defaults(run=migrate_store)


def _open() -> "mlflow.MlflowClient":
    from fmri2img.tracking.store import open_store

    return open_store()[0]


def list_encoders(options: argparse.Namespace) -> None:
    """Print the table of registered encoders."""
    from fmri2img.tracking.store import open_store, required
    from fmri2img.tracking.versions import list_versions, summaries

    if options.subject and not is_plain_name(options.subject):
        raise ConfigError(f"{options.subject!r} is not the name of a subject; run: fmri2img list")
    with required():
        client, experiment = open_store()
        versions = list_versions(client, options.subject)
        rows = summaries(client, experiment, versions)
    if not rows and options.subject and (others := _subjects(client)):
        raise ConfigError(
            f"{options.subject}: no encoder of this subject is registered; choose from: "
            f"{', '.join(others)}"
        )
    if not rows:
        print(
            "no encoder is registered; run: dvc repro, or fmri2img track if there are encoders on "
            "disk",
            file=sys.stderr,
        )
        return
    widths = {title: max(len(title), *(len(row[title]) for row in rows)) for title in rows[0]}
    for row in [{title: title for title in widths}, *rows]:
        print("  ".join(f"{row[title]:{width}s}" for title, width in widths.items()).rstrip())
    if any(item.is_simulated for item in versions):
        print(
            "SIMULATED DATA: these scores come from simulated subjects, not from real brains",
            file=sys.stderr,
        )


def _subjects(client: "mlflow.MlflowClient") -> list[str]:
    """Return the subjects that have encoders in the registry."""
    from fmri2img.tracking.versions import list_versions

    return sorted({item.tags.get("subject", "") for item in list_versions(client)} - {""})


def promote_encoder(options: argparse.Namespace) -> None:
    """Move the champion's alias to an encoder."""
    from fmri2img.tracking.champions import promote
    from fmri2img.tracking.store import required
    from fmri2img.tracking.versions import resolve

    with required():
        client = _open()
        print(promote(client, resolve(client, options.encoder), force=options.force))


def retire_encoder(options: argparse.Namespace) -> None:
    """Remove the aliases of an encoder."""
    from fmri2img.tracking.champions import retire
    from fmri2img.tracking.store import required
    from fmri2img.tracking.versions import resolve

    with required():
        client = _open()
        item = resolve(client, options.encoder)
        retire(client, item, options.because)
    lost = (
        f", which was {' and '.join(item.aliases)} of {item.tags['subject']},"
        if item.aliases
        else ""
    )
    print(f"{item.uri}{lost} is retired")


def _name_in(item: "Registered", tag: str) -> str:
    """Return a tag that becomes part of a path: anybody on a team's server may set it.

    Raises
    ------
    MismatchError
        If it is missing or not a plain name.
    """
    value = item.tags.get(tag, "")
    if not is_plain_name(value):
        raise MismatchError(
            f"{item.uri}: its tag {tag} is {value!r}, expected a name of letters, digits and _.-; "
            "nothing was written; correct the tag in MLflow"
        )
    return value


def restore_encoder(options: argparse.Namespace) -> None:
    """Put weights, config and the weights of other seeds in place."""
    from fmri2img.models.registry import stage_of
    from fmri2img.sharing.restore import fetch_recorded, put_in_place
    from fmri2img.tracking.store import required
    from fmri2img.tracking.versions import CONFIG_TAG, MD5_TAG, download, resolve

    with required():
        item = resolve(_open(), options.encoder)
    subject, model = (_name_in(item, tag) for tag in ("subject", "model"))
    target = options.to or encoder_folder(subject, model)
    print(f"{item.uri}: {model} of {subject}, MD5 of its weights {item.tags[MD5_TAG]}")
    wanted, stage = (
        {"model.safetensors": item.tags[MD5_TAG], "config.json": item.tags[CONFIG_TAG]},
        stage_of("train", subject, model),
    )
    commit = commit_that_recorded(set(wanted.values()), stage)
    print(f"recorded by commit {commit[:10]}" if commit else "no commit here has recorded it")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "dvc"
        folder.mkdir()
        prefix = f"{encoder_folder(subject, model).as_posix()}/"
        outs = (
            {path: md5 for path, md5 in outs_at(commit, stage).items() if path.startswith(prefix)}
            if commit
            else {}
        )
        missing = fetch_recorded(commit, outs, folder, options.remote) if outs else []
        files = {path.name: path for path in folder.iterdir()}
        if not wanted.keys() <= files.keys():
            print(
                f"{missing[0] if missing else 'it'} is neither in DVC's cache nor in the remote; "
                "taken from the registry's own copy"
            )
            with required():
                files |= {path.name: path for path in download(item, Path(temporary)).iterdir()}
        for path in put_in_place(files, target, replace=options.force):
            print(f"{path}  md5 {hash_file(path, 'md5')}  verified")
    if commit:
        print(f"to make it again from raw files: git checkout {commit[:10]} && dvc repro {stage}")


def track(options: argparse.Namespace) -> None:  # noqa: ARG001
    """Log what MLflow lacks of every encoder that ``params.yaml`` lists and that is on disk."""
    from fmri2img.tracking.runs import catch_up

    for line in catch_up():
        print(line, flush=True)


def migrate_store(options: argparse.Namespace) -> None:
    """Copy the store, and print a line for each item copied."""
    from fmri2img.tracking.migrate import client_of, migrate
    from fmri2img.tracking.store import required, resolved, store_uri

    if resolved(options.to) == store_uri():
        raise ConfigError(
            f"--to: {options.to} is the store to copy from; unset MLFLOW_TRACKING_URI to "
            "migrate from mlflow.db"
        )
    with required():
        n_copied = 0
        for line in migrate(_open(), client_of(resolved(options.to))):
            print(line, flush=True)
            n_copied += 1
    print(f"{n_copied} copied to {options.to}")

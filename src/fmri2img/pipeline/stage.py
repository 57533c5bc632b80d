"""What every stage script shares: its options, the progress bar, and errors told in one line."""

import argparse
import errno
import inspect
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

from tqdm import tqdm

from fmri2img.config import PARAMS_PATH
from fmri2img.exceptions import ConfigError, Fmri2imgError, MissingDataError
from fmri2img.params_file import load_params
from fmri2img.pipeline.checks import check_once
from fmri2img.provenance.accept import forget_acceptance
from fmri2img.provenance.lineage import changed_since_last_run, code_has_changed

Item = TypeVar("Item")
# Scripts that are one stage in dvc.yaml for each kind of encoders.
_OF_EACH_KIND = ("train", "predict", "evaluate")
_FLAGS = {
    "check": "read every raw byte anew and compare it with the receipt",
    "dry_run": "say what would be fetched and how large it is, and stop",
}


def run_stage(main: Callable[..., None], arguments: list[str] | None = None) -> None:
    """Run a stage's ``main``, taking its parameters from options of the same names; ``arguments``
    are the process's if left out.

    A known error ends the process with one line on standard error and exit code 1; ``--debug``
    shows the traceback.
    """
    stage = inspect.getmodule(main)
    parser = argparse.ArgumentParser(description=stage.__doc__ if stage else None)
    for name, parameter in inspect.signature(main).parameters.items():
        if parameter.annotation is bool:
            parser.add_argument(
                f"--{name.replace('_', '-')}", action="store_true", help=_FLAGS.get(name)
            )
        else:
            parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = vars(parser.parse_args(arguments))
    with tell_errors(debug=options.pop("debug")):
        check_once()
        _check_names(options)
        name = _stage_name(stage, options)
        try:
            main(**options)
        except MissingDataError as error:
            if hint := _changed_since_last_run(name):
                raise MissingDataError(f"{error}; {hint}") from error
            raise
        forget_acceptance(name)


def _stage_name(stage: ModuleType | None, options: dict[str, Any]) -> str:
    """Return a stage's name in ``dvc.yaml``."""
    script = Path(stage.__file__).stem if stage and stage.__file__ else ""
    if model := options.get("model") if script in _OF_EACH_KIND else None:
        kinds = load_params().models.by_kind()
        kind = next((kind for kind, names in kinds.items() if model in names), "latents")
        script += "" if kind == "latents" else f"_{kind}"
    item = "-".join(value for value in options.values() if isinstance(value, str))
    return script if not item else f"{script}_shared" if item == "shared" else f"{script}@{item}"


def _changed_since_last_run(name: str) -> str:
    """Say what changed since outputs that are here were made: whoever pulled them has no raw
    files to make them anew.
    """
    outs, changes = changed_since_last_run(name)
    if not outs or not all(Path(out).exists() for out in outs):
        return ""
    if changes:
        return (
            f"{', '.join(outs)} is kept, but params.yaml has changed since "
            f"({'; '.join(changes)}): to use it, set that back"
        )
    if code_has_changed(name):
        return (
            f"{', '.join(outs)} is kept, but its code has changed since (fmri2img why {name}): "
            "to keep using it, run fmri2img accept"
        )
    return ""


@contextmanager
def tell_errors(*, debug: bool) -> Iterator[None]:
    """Set up logging for a command, and end it with one line on standard error and exit code 1
    after an expected error.
    """
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO, format="%(message)s", stream=sys.stderr
    )
    for noisy in (
        "h5py",
        "matplotlib",
        "PIL",
        "alembic",
        "urllib3",
        "mlflow",
        "httpx",
        "filelock",
        "git",
        "boto3",
        "botocore",
        "dvc",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        yield
    except (Fmri2imgError, OSError, MemoryError, KeyboardInterrupt) as error:
        if debug:
            raise
        if isinstance(error, BrokenPipeError):  # as of "... | head": the reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        if isinstance(error, KeyboardInterrupt):
            print(
                "stopped; what was finished is kept, and the same command goes on from there",
                file=sys.stderr,
            )
            sys.exit(130)
        print(f"error: {_describe(error)}", file=sys.stderr)
        sys.exit(1)


def _describe(error: Fmri2imgError | OSError | MemoryError) -> str:
    if isinstance(error, Fmri2imgError):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            "the machine has no memory left; lower machine.n_jobs or the stage's batch_size in "
            "params.yaml, and run the same command"
        )
    return _describe_os_error(error)


def _describe_os_error(error: OSError) -> str:
    """Say in one line what the operating system refused; h5py wraps its number in text."""
    where = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        folder = Path(where).parent if error.filename else Path.cwd()
        free = shutil.disk_usage(folder if folder.exists() else Path.cwd()).free / 1e9
        return (
            f"{where}: the disk is full ({free:.1f} GB free there); make room and run the same "
            "command: finished work is kept"
        )
    if error.errno == errno.EACCES:
        return (
            f"{where}: not readable for you; ask its owner for access, or check the path in "
            "params.yaml"
        )
    reason = error.strerror or " ".join(str(error).split())
    return f"{where}: {reason}; check the disk and the path, or run with --debug for the traceback"


def _check_names(options: dict[str, str]) -> None:
    """Refuse a subject or model that ``params.yaml`` does not list; ``shared`` stands for all
    subjects.
    """
    params = load_params()
    for option, section, known in (
        ("subject", "subjects", ["shared", *params.subjects]),
        ("model", "models", list(params.models)),
    ):
        if (name := options.get(option)) is not None and name not in known:
            listed = ", ".join(item for item in known if item != "shared")
            raise ConfigError(
                f"{PARAMS_PATH}: {section}: there is no {name!r} among {listed}; add it there or "
                "name one of these"
            )


def progress(label: str) -> Callable[..., Iterator]:
    """Return a wrapper that shows how far an iterable is, with rate and time left; silent where
    nobody watches.

    The wrapper takes tqdm's options, such as ``total``, and ``desc`` for another label.
    """

    def wrap(items: Iterable[Item], **options: Any) -> Iterator[Item]:
        return iter(tqdm(items, **{"desc": label, "disable": None, "leave": False, **options}))

    return wrap


@contextmanager
def byte_progress(label: str, total: int, initial: int = 0) -> Iterator[Any]:
    """Open a bar of bytes, with rate and time left, that several threads may move; silent where
    nobody watches.
    """
    lock = threading.Lock()
    options: dict[str, Any] = {
        "unit": "B",
        "unit_scale": True,
        "unit_divisor": 1024,
        "disable": None if total else True,
        "leave": False,
    }
    with tqdm(desc=label, total=total, initial=initial, **options) as bar:

        def update(n_bytes: int) -> None:
            with lock:
                bar.update(n_bytes)

        yield SimpleNamespace(update=update, disable=bar.disable)

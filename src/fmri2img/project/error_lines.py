"""Report errors that a user can do something about, in one line."""

import errno
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fmri2img.project.exceptions import Fmri2imgError


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
        if isinstance(error, BrokenPipeError):  # as in "... | head": the reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        if isinstance(error, KeyboardInterrupt):
            print(
                "stopped; finished work is kept, and the same command continues from there",
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
            f"{where}: permission denied; ask its owner for access, or check the path in "
            "params.yaml"
        )
    reason = error.strerror or " ".join(str(error).split())
    return f"{where}: {reason}; check the disk and the path, or run with --debug for the traceback"

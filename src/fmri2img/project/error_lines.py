"""Report errors in one line: what a user can do, or where the traceback of an unexpected one is."""

import errno
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fmri2img.project.error_codes import code_for
from fmri2img.project.exceptions import (
    Fmri2imgError,
    MissingDataError,
    StageError,
    UnavailableError,
)

_LOGS = Path("logs") / "errors"


@contextmanager
def tell_errors(*, debug: bool) -> Iterator[None]:
    """Set up logging for a command, and end it with one line on standard error and exit code 1
    after an error.

    The traceback of an error that nobody expected is kept in ``logs/errors``.

    Parameters
    ----------
    debug : bool
        Let errors through, with their tracebacks.
    """
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO, format="%(message)s", stream=sys.stderr
    )
    for noisy in (
        "h5py",
        "matplotlib",
        "PIL",
        "fontTools",
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
        _check_current_folder()
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
        _tell(_known(error))
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        _tell(_without_memory(error) or _unexpected(error))
        sys.exit(1)


def _check_current_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:  # which names no path, and some libraries end the process
        raise MissingDataError(
            "the current folder was deleted or moved; go into the project's folder (cd) and run "
            "the same command"
        ) from error


def _tell(error: Fmri2imgError) -> None:
    words = " ".join(str(error).splitlines())  # what libraries say may have several lines
    code = code_for(error)
    print(f"error: {words} [{code}]" if code else f"error: {words}", file=sys.stderr)


def _without_memory(error: Exception) -> Fmri2imgError | None:
    """Say so if PyTorch found no memory: on a CPU it raises a plain RuntimeError, on a GPU one of
    its own. Its type is not asked for: to load PyTorch takes seconds.
    """
    if not isinstance(error, RuntimeError):
        return None
    if "can't allocate memory" in str(error):
        return _known(MemoryError())
    if "out of memory" in str(error):
        return UnavailableError(
            "the GPU has no memory left; lower the stage's batch_size in params.yaml "
            "(machine.generation_batch for pictures by Stable Diffusion), or end what else runs "
            "there (nvidia-smi), and run the same command"
        )
    return None


def _unexpected(error: Exception) -> Fmri2imgError:
    """Keep the traceback of an error, and say where it is."""
    text = "".join(traceback.format_exception(error))
    words = " ".join(str(error).split())
    reason = f"{type(error).__name__}: {words}" if words else type(error).__name__
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in (_LOGS, Path(tempfile.gettempdir()) / "fmri2img-errors"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(
                f"{' '.join(sys.argv)}\n\n{text}", encoding="utf-8", errors="replace"
            )
        except OSError:
            continue
        return StageError(
            f"unexpected {reason}; finished work is kept; if the input is as documented, this is a "
            f"fault of fmri2img: report it with {folder / name}, which holds the traceback"
        )
    return StageError(f"unexpected {reason}; run the same command with --debug for the traceback")


def _known(error: Fmri2imgError | OSError | MemoryError) -> Fmri2imgError:
    if isinstance(error, Fmri2imgError):
        return error
    if isinstance(error, MemoryError):
        return UnavailableError(
            "the machine has no memory left; lower machine.n_jobs or the stage's batch_size in "
            "params.yaml, and run the same command"
        )
    return _refused(error)


def _refused(error: OSError) -> Fmri2imgError:
    """Say what the operating system refused; h5py wraps its number in text."""
    where = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        folder = Path(where).parent if error.filename else Path()
        free = shutil.disk_usage(folder if folder.exists() else Path()).free / 1e9
        return UnavailableError(
            f"{where}: the disk is full ({free:.1f} GB free there); make room and run the same "
            "command: finished work is kept"
        )
    if error.errno == errno.EACCES:
        return UnavailableError(
            f"{where}: permission denied; ask its owner for access, or check the path in "
            "params.yaml"
        )
    reason = error.strerror or " ".join(str(error).split())
    return UnavailableError(
        f"{where}: {reason}; check the disk and the path, or run with --debug for the traceback"
    )

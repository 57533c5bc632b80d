"""Writing files so that a reader sees the old one or the new one, never half of one."""

import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fmri2img.project.exceptions import FormatError, MissingDataError

_BLOCK_BYTES = 1 << 22


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it there when the block ends well.

    The file is flushed to disk before it is renamed; after an error it is removed, and an existing
    file at ``path`` stays. The temporary name keeps the ending of ``path``, by which writers choose
    formats.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove partial copies of the same file that killed processes left behind."""
    for left in path.parent.glob(f".partial-*-{glob.escape(path.name)}"):
        pid = left.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            left.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` in one step."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8 in one step."""
    write_bytes(path, text.encode())


def json_bytes(value: Any) -> bytes:
    """Return indented JSON with sorted keys: the same value gives the same bytes."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON in one step."""
    write_bytes(path, json_bytes(value))


def read_text(path: Path, *, remedy: str) -> str:
    """Read a text file; ``remedy`` is the command that makes it.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If it is a folder, or is not UTF-8.
    """
    if not path.exists():
        raise MissingDataError(f"{path} not found; run: {remedy}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path}: byte {error.start} is {error.object[error.start]:#04x}, expected text in "
            f"UTF-8; run: {remedy}"
        ) from error
    except IsADirectoryError as error:
        raise FormatError(f"{path}: is a folder, expected a text file; run: {remedy}") from error


def read_json(path: Path, *, remedy: str) -> Any:
    """Read a JSON file.

    Parameters
    ----------
    path : Path
    remedy : str
        The command that makes the file, for the message.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If it is not JSON, or no object (names and values).
    """
    text = read_text(path, remedy=remedy)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}: not valid JSON ({error}); run: {remedy}") from error
    except RecursionError as error:
        raise FormatError(f"{path}: JSON of too many levels; run: {remedy}") from error
    if not isinstance(content, dict):
        raise FormatError(
            f"{path}: JSON holds a {type(content).__name__}, expected names and values; run: "
            f"{remedy}"
        )
    return content


def hash_file(
    path: Path, algorithm: str = "sha256", *, on_bytes: Callable[[int], object] = bool
) -> str:
    """Return the hexadecimal digest of a file's bytes.

    Parameters
    ----------
    path : Path
    algorithm : str
        Name of a ``hashlib`` algorithm.
    on_bytes : callable
        Called with the number of bytes of every block.

    Raises
    ------
    MissingDataError
        If the file is not there.
    """
    if not path.exists():
        raise MissingDataError(f"{path} not found; run: dvc checkout {path}")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()

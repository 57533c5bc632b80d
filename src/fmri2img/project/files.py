"""Writing files so that a reader sees the old ones or the new ones, never half of one and never a
mixture.
"""

import contextlib
import errno
import glob
import hashlib
import json
import os
import platform
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from fmri2img.project.exceptions import FormatError, MissingDataError, UnavailableError
from fmri2img.project.layout import JOURNALS

# Small texts that stand for files: start, tool, command that fetches the file.
_POINTERS = (
    (b"version https://git-lfs", "git-lfs", "git lfs pull --include"),
    (b"/annex/objects/", "git annex", "datalad get"),
    (b"../.git/annex/objects/", "git annex", "datalad get"),
)
_LONGEST_POINTER = 1024
Kinds = type | tuple[type, ...]
_BLOCK_BYTES = 1 << 22
# Part of temporary names: process numbers mean something on one machine only.
_HOST = re.sub(r"[^A-Za-z0-9]+", "_", platform.node()) or "host"
# Renaming takes milliseconds: whoever wrote a journal of this age is gone, on whatever machine.
_SECONDS_OF_A_JOURNAL = 60
_waiting: ContextVar[list[tuple[Path, Path]] | None] = ContextVar("waiting", default=None)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; move it there when the block ends well, or when that
    of `replacing_together` around it does.

    The file is flushed to disk before it is renamed; after an error it is removed, and an existing
    file at ``path`` stays. The temporary name keeps the ending of ``path``, by which writers choose
    formats.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    partial = path.with_name(f".partial-{_HOST}-{os.getpid()}-{path.name}")
    waiting = _waiting.get()
    is_kept = False
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        if waiting is None:
            partial.replace(path)
        else:
            waiting.append((partial, path))
            is_kept = True
    except OSError as error:
        # Say whose it is; an error in words, such as this project's, says it itself.
        if error.errno is not None and str(error.filename or partial) == str(partial):
            error.filename = os.fspath(path)
        raise
    finally:
        if not is_kept:
            partial.unlink(missing_ok=True)


@contextmanager
def replacing_together() -> Iterator[None]:
    """Hold back all files that are written in the block, and replace them when it ends well.

    After an error all earlier files stay. A process that is killed while it renames leaves a
    journal, by which `finish_replacing` renames the rest.
    """
    files: list[tuple[Path, Path]] = []
    journal = JOURNALS / f"{_HOST}-{os.getpid()}-{threading.get_ident()}.json"
    token = _waiting.set(files)
    try:
        yield
        _waiting.set(None)
        entries = [(str(partial), str(path), partial.stat().st_ino) for partial, path in files]
        if len(files) > 1:
            process = os.getpid()
            started = _start_of(process)
            write_json(
                journal,
                {"host": _HOST, "process": process, "started": started, "files": entries},
            )
    except BaseException:
        for partial, _ in files:
            partial.unlink(missing_ok=True)
        raise
    finally:
        _waiting.reset(token)
    _rename(entries)
    if len(files) > 1:
        journal.unlink(missing_ok=True)


def finish_replacing() -> list[str]:
    """Rename what processes that were killed while they renamed have left; returns the files.

    Raises
    ------
    UnavailableError
        If a file cannot be replaced.
    """
    finished = []
    for journal in sorted(JOURNALS.glob("[!.]*.json")):
        try:
            content = read_json(journal, remedy=f"rm {journal}")
            if not _is_left(journal, content):
                continue
        except (MissingDataError, FileNotFoundError):  # its process has just ended well
            continue
        try:
            finished += _rename(content["files"])
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise UnavailableError(
                f"{journal}: names results of a killed run that cannot be put in place "
                f"({error}); mend that and run the same command, or give them up: rm {journal}"
            ) from error
        journal.unlink(missing_ok=True)
    return finished


def _is_left(journal: Path, content: dict[str, Any]) -> bool:
    """Whether the process of a journal is gone; one of another machine is given the time that
    renaming may take.
    """
    host, process = content.get("host"), content.get("process")
    if _is_gone(host, process):
        return True
    # A container that starts again gives the same numbers to other processes.
    started, now = content.get("started"), _start_of(process)
    if host == _HOST and started and now and started != now:
        return True
    while time.time() - journal.stat().st_mtime <= _SECONDS_OF_A_JOURNAL:
        if host == _HOST:
            return False
        time.sleep(0.5)
    return True


def _rename(entries: list[tuple[str, str, int]]) -> list[str]:
    """Rename files, each an entry of a journal; returns the paths that were replaced.

    If a file was renamed before, and has been replaced since by something else, the rest belongs
    to what is gone, and is removed.
    """
    waiting = [(Path(partial), path) for partial, path, _ in entries if Path(partial).exists()]
    is_current = all(
        Path(partial).exists() or (Path(path).exists() and Path(path).stat().st_ino == inode)
        for partial, path, inode in entries
    )
    if not is_current:
        for partial, _ in waiting:
            partial.unlink()
        return []
    for partial, path in waiting:
        with contextlib.suppress(FileNotFoundError):  # another process follows the same journal
            partial.replace(path)
    return [path for _, path in waiting]


def _sweep(path: Path) -> None:
    """Remove partial copies of the same file that killed processes of this machine left behind."""
    for left in path.parent.glob(f".partial-{_HOST}-*-{glob.escape(path.name)}"):
        if _is_gone(_HOST, left.name.split("-")[2]):
            left.unlink(missing_ok=True)


def _is_gone(host: Any, process: Any) -> bool:
    """Whether a process ran on this machine, and does no longer."""
    is_number = str(process).isdigit()
    return (
        host == _HOST
        and is_number
        and Path("/proc/self").exists()
        and not Path(f"/proc/{process}").exists()
    )


def _start_of(process: Any) -> str:
    """Return when a process of this machine started, in clock ticks since the machine did; empty
    if the system does not say.
    """
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return state.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


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


def check_file(path: Path, remedy: str) -> None:
    """Refuse what is no file: opening a pipe would wait for ever.

    Raises
    ------
    MissingDataError
        If there is nothing.
    FormatError
        If it is a folder, a pipe or a device, or stands for a file that was not fetched.
    """
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink() and ".git/annex" in os.fspath(path.readlink()):
            raise MissingDataError(
                f"{path}: git annex has not fetched it; run: datalad get {path}"
            ) from error
        raise MissingDataError(f"{path} not found; run: {remedy}") from error
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise FormatError(f"{path}: is a link to itself; remove it, and run: {remedy}") from error
    if not stat.S_ISREG(state.st_mode):
        kind = "a folder" if stat.S_ISDIR(state.st_mode) else "a pipe or device"
        raise FormatError(f"{path}: is {kind}, expected a file; run: {remedy}")
    if state.st_size <= _LONGEST_POINTER:
        start = path.read_bytes()
        for begins, tool, command in _POINTERS:
            if start.startswith(begins):
                raise FormatError(
                    f"{path}: is a pointer of {tool}, not the file itself; run: {command} {path}"
                )


def read_text(path: Path, *, remedy: str) -> str:
    """Read a text file; ``remedy`` is the command that makes it.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If it is no file, or not UTF-8.
    """
    check_file(path, remedy)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path}: byte {error.start} is {error.object[error.start]:#04x}, expected text in "
            f"UTF-8; run: {remedy}"
        ) from error


def read_json(
    path: Path, *, remedy: str, fields: Mapping[str, type | tuple[type, ...]] | None = None
) -> Any:
    """Read a JSON file.

    Parameters
    ----------
    path : Path
    remedy : str
        The command that makes the file, for the message.
    fields : mapping of str to type or tuple of type, optional
        Names that it must hold, and the types of their values.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If it is not JSON, no object (names and values), or lacks a field.
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
    for name, kind in (fields or {}).items():
        if not isinstance(content.get(name), kind):
            got = repr(content[name])[:60] if name in content else "nothing"
            raise FormatError(
                f"{path}: {name}: got {got}, expected a {_names(kind)}; run: {remedy}"
            )
    return content


def _names(kind: Kinds) -> str:
    return " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))


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
    check_file(path, f"dvc checkout {path}")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()

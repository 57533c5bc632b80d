"""Locks between processes: who waits says for whom, and not for ever."""

import errno
import fcntl
import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from fmri2img.project.exceptions import UnavailableError

log = logging.getLogger(__name__)
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
_SECONDS_BEFORE_A_LINE = 1.0


@contextmanager
def locked(path: Path, purpose: str, *, seconds: float) -> Iterator[None]:
    """Hold a lock while the block runs, and say after a second for whom it waits.

    Where a file system has no locks (some NFS, Lustre and overlay mounts), the existence of a file
    stands for one, and a line says so.

    Parameters
    ----------
    path : Path
        The file of the lock; one beside it names its holder.
    purpose : str
        What the holder does, such as "fetching subj01 into /data".
    seconds : float
        Longest wait.

    Raises
    ------
    UnavailableError
        If it is still held then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_name(f"{path.name}.holder")
    lock: BaseFileLock = FileLock(path)
    if not _has_locks(path):
        # Beside the file itself, which other processes may be able to lock.
        lock = SoftFileLock(path.with_name(f"{path.name}.exists"))
        log.info("%s: the file system has no locks; the file %s stands for one", *_parts(lock))
    _acquire(lock, holder, purpose, seconds)
    try:
        me = {"process": os.getpid(), "host": platform.node(), "since": time.strftime("%H:%M")}
        holder.write_text(json.dumps(me), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _has_locks(path: Path) -> bool:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False
    return True


def _parts(lock: BaseFileLock) -> tuple[Path, str]:
    path = Path(lock.lock_file)
    return path.parent, path.name


def _acquire(lock: BaseFileLock, holder: Path, purpose: str, seconds: float) -> None:
    try:
        lock.acquire(timeout=min(seconds, _SECONDS_BEFORE_A_LINE))
    except Timeout:
        if seconds > _SECONDS_BEFORE_A_LINE:
            log.warning("%s is %s; waiting for it, %s", _who(holder), purpose, _limit(seconds))
            try:
                lock.acquire(timeout=seconds)
            except Timeout:
                pass
            else:
                return
        raise UnavailableError(
            f"{_who(holder)} is {purpose}; wait for it to end and run the same command, or stop it "
            f"(if it is gone already, delete {lock.lock_file})"
        ) from None


def _who(holder: Path) -> str:
    """Return the holder in words."""
    try:
        its = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {its['process']} on {its['host']}, since {its['since']},"
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun, or just ended
        return "another process"


def _limit(seconds: float) -> str:
    """Return the longest wait in words."""
    if seconds < 120:
        return f"{seconds:.0f} s at most"
    return (
        f"{seconds / 60:.0f} min at most" if seconds < 7200 else f"{seconds / 3600:.0f} h at most"
    )

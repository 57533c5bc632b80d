"""One step of a migration: what becomes of a file or folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileChange:
    """What becomes of one file or folder.

    Attributes
    ----------
    words : str
        Description for the user.
    do : callable
        Makes the change.
    was, now : Path
        Paths relative to the project; equal if only the contents change.
    md5 : (str, str) or None
        MD5 of the contents before and after; None if they do not change.
    size : int
        Number of bytes after a change of contents.
    """

    words: str
    do: Callable[[], None]
    was: Path
    now: Path
    md5: tuple[str, str] | None = None
    size: int = 0

"""A file being downloaded: parts in any order, a journal of the parts that are safely on disk, and
the check of the whole file.

ETags are MD5 sums of the whole object, or of the MD5 sums of its parts (Amazon S3 user guide,
"Checking object integrity").
"""

import hashlib
import json
import logging
import os
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

log = logging.getLogger(__name__)
_BLOCK_BYTES = 1 << 20
_IS_MD5 = re.compile(r"^[0-9a-f]{32}(-[0-9]+)?$")


@dataclass(frozen=True)
class RemoteFile:
    """One object: path relative to the NSD root, size in bytes, ETag without quotes."""

    path: PurePosixPath
    size: int
    etag: str


@dataclass(frozen=True)
class PartialFile:
    """A file being downloaded, and the journal of its parts.

    Attributes
    ----------
    target : Path
        Path of the complete file.
    file : RemoteFile
    part_bytes : int
    """

    target: Path
    file: RemoteFile
    part_bytes: int
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def open(cls, target: Path, file: RemoteFile, part_bytes: int) -> "PartialFile":
        """Continue the download of an earlier run, or start a new one."""
        partial = cls(target, file, max(part_bytes, 1))
        heading = json.dumps(
            {"etag": file.etag, "size": file.size, "part_bytes": partial.part_bytes}, sort_keys=True
        )
        if not partial.part_path.exists() or partial._journal_lines()[:1] != [heading]:
            target.parent.mkdir(parents=True, exist_ok=True)
            # The journal goes first: it must never list parts that the file does not hold.
            partial.journal_path.unlink(missing_ok=True)
            with partial.part_path.open("wb") as content:
                content.truncate(file.size)
            partial._append(heading)
        return partial

    @property
    def part_path(self) -> Path:
        """Path of the incomplete file."""
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def journal_path(self) -> Path:
        """Path of the list of parts that are on disk."""
        return self.target.with_name(f"{self.target.name}.part.journal")

    @property
    def n_parts(self) -> int:
        """Number of parts; an empty file has one, of no bytes."""
        return max(1, -(-self.file.size // self.part_bytes))

    def span(self, part: int) -> tuple[int, int]:
        """Return the first byte of a part and its end, exclusive."""
        return part * self.part_bytes, min((part + 1) * self.part_bytes, self.file.size)

    def missing(self) -> list[int]:
        """Return the parts that are not on disk yet."""
        done = set(self._journal_lines()[1:])
        return [part for part in range(self.n_parts) if str(part) not in done]

    def note(self, part: int) -> None:
        """Record that a part is on disk."""
        with self._lock:
            self._append(str(part))

    def discard(self) -> None:
        """Delete the incomplete file and its journal."""
        self.part_path.unlink(missing_ok=True)
        self.journal_path.unlink(missing_ok=True)

    def _append(self, line: str) -> None:
        with self.journal_path.open("a") as journal:
            journal.write(line + "\n")
            journal.flush()
            os.fsync(journal.fileno())

    def _journal_lines(self) -> list[str]:
        if not self.journal_path.exists():
            return []
        # A line cut off by power loss has no line end and does not count.
        return [
            line.rstrip("\n")
            for line in self.journal_path.read_text(encoding="utf-8").splitlines(keepends=True)
            if line.endswith("\n")
        ]


def hash_with_etag(path: Path, upload_parts: list[int] | None, etag: str) -> tuple[str, str]:
    """Read a file once; return its SHA-256 and the ETag that it would have in a bucket.

    Parameters
    ----------
    path : Path
    upload_parts : list of int or None
        Sizes of the parts that it was uploaded in; one if it was uploaded whole.
    etag : str
        ETag in the listing. If it cannot be compared (parts unknown, or not an MD5, as with
        server-side keys), it is returned unchanged, and the size must suffice.
    """
    comparable = upload_parts is not None and _IS_MD5.match(etag)
    parts = upload_parts if comparable and upload_parts else [path.stat().st_size]
    sha256, of_parts = hashlib.sha256(), []
    with path.open("rb") as content:
        for size in parts:
            one, left = hashlib.md5(usedforsecurity=False), size
            while left and (block := content.read(min(_BLOCK_BYTES, left))):
                left -= len(block)
                sha256.update(block)
                one.update(block)
            of_parts.append(one)
    if not comparable:
        log.warning(
            "%s: the bucket's ETag %s is not a checksum that can be compared here; the size agrees",
            path.name,
            etag,
        )
        return sha256.hexdigest(), etag
    if "-" not in etag:
        return sha256.hexdigest(), of_parts[0].hexdigest()
    joined = hashlib.md5(b"".join(digest.digest() for digest in of_parts), usedforsecurity=False)
    return sha256.hexdigest(), f"{joined.hexdigest()}-{len(of_parts)}"

"""Receipts: lists of the raw files that were used, with sizes and checksums; DVC versions them
instead of the files.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from threading import Lock
from types import SimpleNamespace
from typing import Any, Protocol, Self

from joblib import Parallel, delayed

from fmri2img.project.config import MachineParams
from fmri2img.project.exceptions import (
    ChangedDataError,
    FormatError,
    MismatchError,
    MissingDataError,
)
from fmri2img.project.files import hash_file, json_bytes, read_json, write_json
from fmri2img.project.layout import ANATOMY, ledger_path, receipt_path
from fmri2img.project.places import where_it_is
from fmri2img.project.plain_names import is_below

SIMULATED_NOTICE = PurePosixPath("SIMULATED.txt")
log = logging.getLogger(__name__)
_WORTH_SAYING_BYTES = 1 << 30


class Watch(Protocol):
    """Opens a progress bar of bytes: a context manager whose value has ``update(n)``."""

    def __call__(self, label: str, total: int, initial: int = 0) -> AbstractContextManager[Any]:
        """Open a bar."""


_SHA256 = re.compile(r"[0-9a-f]{64}")


@contextmanager
def unwatched(label: str, total: int, initial: int = 0) -> Iterator[Any]:  # noqa: ARG001
    """Show no progress: the default wherever a `Watch` is taken."""
    yield SimpleNamespace(update=bool, disable=True)


@dataclass(frozen=True)
class FileRecord:
    """One raw file: path relative to the folder of raw files, size in bytes, SHA-256."""

    path: str
    size: int
    sha256: str

    def fault(self) -> str:
        """Return what keeps this from being a record: receipts come from colleagues; empty if
        nothing does.
        """
        if not isinstance(self.path, str) or not is_below(self.path):
            return f"path {self.path!r:.80}, expected one below the folder of raw files"
        if not isinstance(self.size, int) or self.size < 0:
            return f"{self.path}: size {self.size!r:.40}, expected a number of bytes"
        if not isinstance(self.sha256, str) or not _SHA256.fullmatch(self.sha256):
            return f"{self.path}: sha256 {self.sha256!r:.80}, expected 64 hexadecimal digits"
        return ""


@dataclass(frozen=True)
class Receipt:
    """The raw files of one subject, or those that all subjects share.

    Attributes
    ----------
    name : str
        A subject, ``shared``, or a subject and a further test set, joined by a hyphen.
    data_source : str
        ``simulated``, or the dataset's name, such as ``nsd``, whether the files were downloaded or
        already there.
    files : tuple of FileRecord
        Sorted by path. No times and no absolute paths: the same files give the same receipt.
    """

    name: str
    data_source: str
    files: tuple[FileRecord, ...]

    @classmethod
    def of(
        cls,
        name: str,
        root: Path,
        paths: Iterable[PurePosixPath],
        ledger: "Ledger",
        *,
        data_source: str,
        watch: Watch = unwatched,
    ) -> Self:
        """Hash files under ``root``."""
        ordered = sorted({str(path) for path in paths})
        hashes = ledger.hash_all([root / path for path in ordered], watch=watch)
        records = [
            FileRecord(path, (root / path).stat().st_size, sha256)
            for path, sha256 in zip(ordered, hashes, strict=True)
        ]
        return cls(name, data_source, tuple(records))

    def save(self, path: Path) -> None:
        """Write the receipt as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def open(cls, path: Path, *, remedy: str) -> Self:
        """Read a receipt.

        Raises
        ------
        MissingDataError
            If it is not there.
        FormatError
            If it is not a receipt.
        """
        fields = {"name": str, "data_source": str, "files": list}
        values = read_json(path, remedy=remedy, fields=fields)
        try:
            records = tuple(FileRecord(**record) for record in values["files"])
        except TypeError as error:
            raise FormatError(
                f"{path}: not a receipt of raw files ({error}); run: {remedy}"
            ) from error
        for record in records:
            if fault := record.fault():
                raise FormatError(f"{path}: {fault}; run: {remedy}")
        return cls(values["name"], values["data_source"], records)

    @staticmethod
    def common_source(*receipts: "Receipt") -> str:
        """Return where the data of several receipts come from: if one is simulated, all of it
        is.
        """
        sources = [receipt.data_source for receipt in receipts]
        return "simulated" if "simulated" in sources else sources[0]

    def digest(self) -> str:
        """Return one SHA-256 over all records: it stands for every byte that was used."""
        text = "".join(f"{record.path} {record.size} {record.sha256}\n" for record in self.files)
        return hashlib.sha256(text.encode()).hexdigest()

    def md5(self) -> str:
        """Return the MD5 of the receipt's file, which DVC records."""
        return hashlib.md5(json_bytes(asdict(self)), usedforsecurity=False).hexdigest()

    @property
    def stage(self) -> str:
        """The DVC stage that brings these files."""
        return stage_of_raw(self.name)


def stage_of_raw(name: str) -> str:
    """Return the DVC stage that brings raw files."""
    if name == "shared":
        return "fetch_raw_shared"
    if name.endswith(ANATOMY):
        return f"collect_anatomy@{name.removesuffix(ANATOMY)}"
    return f"fetch_ood@{name}" if "-" in name else f"fetch_raw@{name}"


_LEDGER_ENTRY = ("size", "time", "inode", "sha256", "etag")


class Ledger:
    """Hashes of the raw files that this machine has read, so that 40 GB are read once and not at
    every stage.

    A file whose size, modification time and inode have not changed is assumed to hold the same
    bytes, as in git's index; ``fetch_raw --check`` reads every byte.

    Parameters
    ----------
    path : Path or None
        A JSON file outside everything that DVC versions; with None nothing is remembered.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = Lock()
        self._known: dict[str, list] = {}
        if path is not None and path.exists():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, RecursionError):  # a damaged ledger counts as none
                known = {}
            if isinstance(known, dict):
                self._known = {
                    file: entry
                    for file, entry in known.items()
                    if isinstance(entry, list) and len(entry) == len(_LEDGER_ENTRY)
                }

    def sha256(self, file: Path, *, on_bytes: Callable[[int], object] = bool) -> str:
        """Return a file's SHA-256, reading it only if it is not remembered."""
        if self._knows(file):
            return self._known[str(file.absolute())][3]
        before = self._state(file)
        sha256 = hash_file(file, on_bytes=on_bytes)
        if self._state(file) == before:  # else it was replaced while it was read
            self.remember(file, sha256)
        return sha256

    def vouches(self, file: Path, etag: str) -> bool:
        """Whether a file is unchanged since it was found to have this ETag."""
        return self._knows(file) and self._known[str(file.absolute())][4] == etag

    def _knows(self, file: Path) -> bool:
        key, state = self._state(file)
        return self._known.get(key, [])[:3] == state

    def remember(self, file: Path, sha256: str, etag: str = "") -> None:
        """Note the SHA-256 of a file that was just hashed, and the ETag if it came from a
        bucket.
        """
        key, state = self._state(file)
        with self._lock:
            known = self._known.get(key, [])
            # Hashed again, the same bytes keep the ETag they came with.
            kept = known[4] if known[3:4] == [sha256] else ""
            self._known[key] = [*state, sha256, etag or kept]
            if self._path is not None:
                write_json(self._path, self._known)

    def hash_all(self, files: list[Path], *, watch: Watch = unwatched) -> list[str]:
        """Return the SHA-256 of several files, unknown ones read on all cores."""
        unknown = [file for file in files if not self._knows(file)]
        total = sum(file.stat().st_size for file in unknown)
        if total > _WORTH_SAYING_BYTES:
            log.info("hashing %d files, %.1f GB, once", len(unknown), total / 1e9)
        with watch("hashing", total) as bar:
            return Parallel(n_jobs=-1, prefer="threads")(
                delayed(self.sha256)(file, on_bytes=bar.update) for file in files
            )

    @staticmethod
    def _state(file: Path) -> tuple[str, list[int]]:
        status = file.stat()
        return str(file.absolute()), [status.st_size, status.st_mtime_ns, status.st_ino]


@dataclass(frozen=True)
class RawFiles:
    """The files of a receipt on this machine.

    Attributes
    ----------
    receipt : Receipt
    root : Path
        Folder of raw files.
    ledger : Ledger
    """

    receipt: Receipt
    root: Path
    ledger: Ledger = field(repr=False)

    @property
    def name(self) -> str:
        """A subject, or ``shared``."""
        return self.receipt.name

    @property
    def remedy(self) -> str:
        """The command that brings the files; a damaged copy that was there before is no bucket's to
        mend.
        """
        return f"{self._fetch_again} (if the file is a copy of your own, replace it first)"

    @property
    def _fetch_again(self) -> str:
        return f"dvc repro --force --single-item {self.receipt.stage}"

    @property
    def _restore(self) -> str:
        return (
            "put the recorded file back; to fetch it again, or to accept your local copy as it "
            f"is now, run: {self._fetch_again}"
        )

    def lists(self, path: PurePosixPath) -> bool:
        """Whether the receipt names a file."""
        return any(record.path == str(path) for record in self.receipt.files)

    def folder(self, folder: PurePosixPath) -> list[PurePosixPath]:
        """Return the files that lie directly in a folder."""
        return [
            path
            for path in (PurePosixPath(record.path) for record in self.receipt.files)
            if path.parent == folder
        ]

    def locate(self, path: PurePosixPath) -> Path:
        """Return where a raw file lies, after checking that it is the one that was recorded.

        Raises
        ------
        MissingDataError
            If it is not in the receipt or not on disk.
        ChangedDataError
            If its size or checksum differs.
        """
        return self.locate_all([path])[0]

    def locate_all(self, paths: list[PurePosixPath], *, watch: Watch = unwatched) -> list[Path]:
        """Return where several raw files lie; those that are not remembered are hashed on all
        cores.
        """
        records = {record.path: record for record in self.receipt.files}
        for path in paths:
            if str(path) not in records:
                raise MissingDataError(
                    f"{path} is not in the receipt of {self.name} ({len(records)} files); "
                    "name it in params.yaml under datasets, or complete the copy, then "
                    f"run: {self._fetch_again}"
                )
        wanted = [records[str(path)] for path in paths]
        for record in wanted:
            if fault := self._fault_of_size(record):
                raise fault
        files = [self.root / record.path for record in wanted]
        for record, sha256 in zip(wanted, self.ledger.hash_all(files, watch=watch), strict=True):
            if fault := self._fault_of_hash(record, sha256):
                raise fault
        return files

    def check(self, *, watch: Watch = unwatched) -> None:
        """Read every byte of every file again.

        Raises
        ------
        ChangedDataError
            With the number of files that are missing or changed, and the first of them.
        """
        faults = [fault for record in self.receipt.files if (fault := self._fault_of_size(record))]
        there = [record for record in self.receipt.files if not self._fault_of_size(record)]
        hashes = Ledger(None).hash_all([self.root / record.path for record in there], watch=watch)
        for record, sha256 in zip(there, hashes, strict=True):
            if fault := self._fault_of_hash(record, sha256):
                faults.append(fault)
            else:
                self.ledger.remember(self.root / record.path, sha256)
        if faults:
            raise ChangedDataError(
                f"{len(faults)} of {len(self.receipt.files)} raw files of {self.name} are missing "
                f"or changed; first: {faults[0]}"
            )

    def _fault_of_size(self, record: FileRecord) -> MissingDataError | ChangedDataError | None:
        file = self.root / record.path
        if not file.exists():
            return MissingDataError(
                f"{file} not found, expected {record.size} bytes; put it back, or fetch it again: "
                f"{self._fetch_again}"
            )
        if (size := file.stat().st_size) != record.size:
            return ChangedDataError(
                f"{file}: got {size} bytes, expected {record.size} as in the receipt; "
                f"{self._restore}"
            )
        return None

    def _fault_of_hash(self, record: FileRecord, sha256: str) -> ChangedDataError | None:
        if sha256 == record.sha256:
            return None
        return ChangedDataError(
            f"{self.root / record.path}: got sha256 {sha256[:12]}, expected {record.sha256[:12]} "
            f"as in the receipt; {self._restore}"
        )


def raw_files(name: str, machine: MachineParams) -> RawFiles:
    """Open the raw files of a subject, of all (``shared``), or of a subject's further test set, as
    this project's receipt lists them.

    Raises
    ------
    MismatchError
        If the receipt is that of another subject.
    """
    path = receipt_path(name)
    remedy = f"dvc repro {stage_of_raw(name)}"
    receipt = Receipt.open(path, remedy=remedy)
    if receipt.name != name:
        raise MismatchError(f"{path} belongs to {receipt.name}, expected {name}; run: {remedy}")
    return RawFiles(receipt, machine.raw_folder, Ledger(where_it_is(ledger_path(name))))

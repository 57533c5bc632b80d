"""Receipts: the list of raw files that were used, with sizes and checksums; what DVC versions instead of the files."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from joblib import Parallel, delayed

from fmri2img.exceptions import ChangedDataError, MissingDataError
from fmri2img.files import hash_file, read_json, write_json


@dataclass(frozen=True)
class FileRecord:
    """One raw file: path relative to the NSD root, size in bytes, SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Receipt:
    """The raw files of one subject, or of all subjects.

    Attributes
    ----------
    name : str
        A subject, or ``shared``.
    source : str
        ``simulated``, ``s3`` or ``local``.
    files : tuple of FileRecord
        Sorted by path. No times and no absolute paths: the same files give the same receipt.
    """

    name: str
    source: str
    files: tuple[FileRecord, ...]

    @classmethod
    def of(cls, name: str, source: str, root: Path, paths: list[PurePosixPath]) -> Self:
        """Hash files under ``root``."""
        ordered = sorted(str(path) for path in paths)
        hashes = Parallel(n_jobs=-1, prefer="threads")(delayed(hash_file)(root / path) for path in ordered)
        records = [FileRecord(path, (root / path).stat().st_size, sha256) for path, sha256 in zip(ordered, hashes, strict=True)]
        return cls(name, source, tuple(records))

    def save(self, path: Path) -> None:
        """Write the receipt as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def open(cls, path: Path, *, remedy: str) -> Self:
        """Read a receipt."""
        values = read_json(path, remedy=remedy)
        return cls(values["name"], values["source"], tuple(FileRecord(**record) for record in values["files"]))

    def locate(self, root: Path, path: PurePosixPath) -> Path:
        """Return where a raw file lies, after checking that it is the one that was recorded.

        Raises
        ------
        MissingDataError
            If it is not in the receipt or not on disk.
        ChangedDataError
            If its size or checksum differs.
        """
        remedy = f"dvc repro --force --single-item {self.stage}"
        record = next((record for record in self.files if record.path == str(path)), None)
        if record is None:
            raise MissingDataError(
                f"{path} is not in the receipt of {self.name} ({len(self.files)} files); "
                f"name it in params.yaml under nsd and fetch_nsd, then run: dvc repro {self.stage}"
            )
        full = root / path
        if not full.exists():
            raise MissingDataError(f"{full} not found, expected {record.size} bytes; run: {remedy}")
        if (size := full.stat().st_size) != record.size:
            raise ChangedDataError(f"{full}: got {size} bytes, expected {record.size} as in the receipt; run: {remedy}")
        if (sha256 := hash_file(full)) != record.sha256:
            raise ChangedDataError(f"{full}: got sha256 {sha256[:12]}, expected {record.sha256[:12]} as in the receipt; run: {remedy}")
        return full

    def folder(self, folder: PurePosixPath) -> list[PurePosixPath]:
        """Return the files that lie directly in a folder."""
        return [path for path in (PurePosixPath(record.path) for record in self.files) if path.parent == folder]

    def digest(self) -> str:
        """Return one SHA-256 over all records: it stands for every byte that was used."""
        text = "".join(f"{record.path} {record.size} {record.sha256}\n" for record in self.files)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def stage(self) -> str:
        """The DVC stage that brings these files."""
        return "fetch_nsd_shared" if self.name == "shared" else f"fetch_nsd@{self.name}"

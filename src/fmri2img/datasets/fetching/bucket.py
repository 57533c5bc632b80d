"""Download from an S3 bucket, anonymously: parallel and resumable. A file gets its name only after
its bytes are verified.

A file grows in parts, in any order, as ``<name>.part``; a journal beside it names the parts that
are safely on disk. If the process ends early, at most the parts in flight are lost.
"""

import errno
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from fmri2img.datasets.fetching.partial import PartialFile, RemoteFile, hash_with_etag
from fmri2img.project.exceptions import (
    ChangedDataError,
    ConfigError,
    MissingDataError,
    UnavailableError,
)
from fmri2img.project.nsd_params import BucketParams
from fmri2img.provenance.receipts import Ledger

log = logging.getLogger(__name__)
_BLOCK_BYTES = 1 << 20
_MIB = 1 << 20
_ATTEMPTS = 6  # with pauses that grow: half a minute in all
OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class Bucket:
    """A bucket that anybody may read.

    Attributes
    ----------
    params : BucketParams
    n_connections : int
        Parts in flight at once.
    section : str
        Of ``params.yaml``, for messages.
    """

    params: BucketParams
    n_connections: int
    section: str = "datasets.nsd.s3"
    _clients: list = field(default_factory=list, repr=False, compare=False)

    @property
    def where(self) -> str:
        """Name of the bucket in messages."""
        return f"s3://{self.params.bucket}" + (
            f" at {self.params.endpoint_url}" if self.params.endpoint_url else ""
        )

    def list_folders(self, folders: Iterable[PurePosixPath]) -> dict[PurePosixPath, RemoteFile]:
        """List the objects that lie directly in some folders.

        Raises
        ------
        UnavailableError
            If the server does not answer or refuses.
        """
        return self._list(folders, {"Delimiter": "/"})

    def list_below(self, folders: Iterable[PurePosixPath]) -> dict[PurePosixPath, RemoteFile]:
        """List the objects that lie in some folders, or in folders of theirs; errors as
        `list_folders`.
        """
        return self._list(folders, {})

    def _list(
        self, folders: Iterable[PurePosixPath], options: dict[str, str]
    ) -> dict[PurePosixPath, RemoteFile]:
        objects = {}
        with self._told():
            for folder in folders:
                prefix = "" if folder == PurePosixPath() else f"{folder}/"
                pages = self._client.get_paginator("list_objects_v2").paginate(
                    Bucket=self.params.bucket, Prefix=prefix, **options
                )
                for item in (item for page in pages for item in page.get("Contents", [])):
                    path = PurePosixPath(item["Key"])
                    objects[path] = RemoteFile(path, item["Size"], item["ETag"].strip('"'))
        return objects

    def holds(self, path: Path, file: RemoteFile, ledger: Ledger) -> bool:
        """Whether a file on this machine has the bytes of an object; it is read only if the ledger
        does not vouch for it.
        """
        if not path.exists() or path.stat().st_size != file.size:
            return False
        if ledger.vouches(path, file.etag):
            return True
        with self._told():
            sha256, etag = hash_with_etag(path, self._upload_parts(file), file.etag)
        if etag != file.etag:
            return False
        ledger.remember(path, sha256, etag)
        return True

    def download(
        self,
        files: list[RemoteFile],
        root: Path,
        ledger: Ledger,
        *,
        on_bytes: OnBytes,
        on_file: Callable[[RemoteFile], None],
    ) -> None:
        """Download files to ``root``; each gets its own name once its bytes are verified.

        Parameters
        ----------
        files : list of RemoteFile
        root : Path
            NSD root on this machine.
        ledger : Ledger
            Records the SHA-256 of every file.
        on_bytes : callable
            Called with the number of bytes received, negative if they must be fetched again.
        on_file : callable
            Called with every completed file.

        Raises
        ------
        UnavailableError
            If the server stops answering; finished parts are kept.
        ChangedDataError
            If a file's bytes do not have the ETag that was listed; it is deleted.
        """
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.n_connections, thread_name_prefix="s3")
        try:
            with self._told():
                self._run(pool, files, root, ledger, stop, on_bytes, on_file)
        finally:
            stop.set()  # parts in flight end at their next block
            pool.shutdown(wait=True, cancel_futures=True)

    def _run(
        self,
        pool: ThreadPoolExecutor,
        files: list[RemoteFile],
        root: Path,
        ledger: Ledger,
        stop: threading.Event,
        on_bytes: OnBytes,
        on_file: Callable[[RemoteFile], None],
    ) -> None:
        """Keep the pool busy with the parts of the files, in order, and verify each file after its
        last part.
        """
        waiting = (
            job for file in files for job in self._jobs(file, root, ledger, stop, on_bytes, on_file)
        )
        running: set[Future] = set()
        for job in waiting:
            running.add(pool.submit(job))
            if len(running) >= 2 * self.n_connections:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                _raise_first(done)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            _raise_first(done)

    def _jobs(
        self,
        file: RemoteFile,
        root: Path,
        ledger: Ledger,
        stop: threading.Event,
        on_bytes: OnBytes,
        on_file: Callable[[RemoteFile], None],
    ) -> Iterator[Callable[[], None]]:
        partial = PartialFile.open(root / file.path, file, self.params.part_mib * _MIB)
        missing = partial.missing()
        left = _Countdown(len(missing))

        def fetch(part: int) -> None:
            self._fetch(partial, part, stop, on_bytes)
            if left.last():
                finish()

        def finish() -> None:
            if not stop.is_set():
                _finish(partial, self._upload_parts(file), ledger, self.where, on_bytes)
                on_file(file)

        yield from (lambda part=part: fetch(part) for part in missing)
        if not missing:
            yield finish

    def _fetch(
        self, partial: PartialFile, part: int, stop: threading.Event, on_bytes: OnBytes
    ) -> None:
        """Fetch one part; if the connection breaks, discard what was received and try again."""
        for attempt in range(1, _ATTEMPTS + 1):
            came = 0

            def count(n_bytes: int) -> None:
                nonlocal came
                came += n_bytes
                on_bytes(n_bytes)

            try:
                if self._fetch_once(partial, part, stop, count):
                    partial.note(part)
                else:
                    on_bytes(-came)
                return
            except ClientError as error:
                error.response["Error"].setdefault("Key", str(partial.file.path))
                raise
            except OSError as error:
                # A full disk is that of the raw files; connections have errors of other numbers.
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    error.filename = error.filename or str(partial.part_path)
                raise
            except (BotoCoreError, HTTPError) as error:
                on_bytes(-came)
                if attempt == _ATTEMPTS:
                    raise
                log.debug("%s, part %d, attempt %d: %s", partial.file.path, part, attempt, error)
                stop.wait(2**attempt / 4)

    def _fetch_once(
        self, partial: PartialFile, part: int, stop: threading.Event, on_bytes: OnBytes
    ) -> bool:
        """Fetch one part and write it to disk; return False if stopped before its end."""
        first, last = partial.span(part)
        if last == first:
            return True
        answer = self._client.get_object(
            Bucket=self.params.bucket,
            Key=str(partial.file.path),
            Range=f"bytes={first}-{last - 1}",
            IfMatch=f'"{partial.file.etag}"',
        )
        with partial.part_path.open("r+b") as target:
            target.seek(first)
            for block in answer["Body"].iter_chunks(_BLOCK_BYTES):
                if stop.is_set():
                    return False
                target.write(block)
                on_bytes(len(block))
            target.flush()
            os.fsync(target.fileno())
        return True

    def _upload_parts(self, file: RemoteFile) -> list[int] | None:
        """Return the sizes of the parts that the object was uploaded in; None if the server does
        not report them.
        """
        if "-" not in file.etag:
            return [file.size]
        n_parts = int(file.etag.split("-")[1])
        first = self._part_size(file, 1)
        if n_parts > 1 and first == file.size:  # the server ignores part numbers
            return None
        equal = [min(first, file.size - start) for start in range(0, file.size, first)]
        if len(equal) == n_parts and self._part_size(file, n_parts) == equal[-1]:
            return equal
        sizes = [first, *(self._part_size(file, number) for number in range(2, n_parts + 1))]
        return sizes if sum(sizes) == file.size else None

    def _part_size(self, file: RemoteFile, number: int) -> int:
        head = self._client.head_object(
            Bucket=self.params.bucket, Key=str(file.path), PartNumber=number
        )
        return int(head["ContentLength"])

    @property
    def _client(self) -> Any:
        if not self._clients:
            config = Config(
                signature_version=UNSIGNED,
                retries={"mode": "standard", "max_attempts": _ATTEMPTS},
                max_pool_connections=self.n_connections,
                connect_timeout=15,
                read_timeout=60,
            )
            try:
                self._clients.append(
                    boto3.client(
                        "s3",
                        region_name=self.params.region,
                        endpoint_url=self.params.endpoint_url,
                        config=config,
                    )
                )
            except ValueError as error:
                raise ConfigError(
                    f"params.yaml: {self.section}: {error}; correct endpoint_url or region"
                ) from error
        return self._clients[0]

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn errors of the S3 library into messages of one line."""
        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            key = error.response["Error"].get("Key", "")
            which = f"{key} in {self.where}" if key else self.where
            if code in ("PreconditionFailed", "412"):
                raise ChangedDataError(
                    f"{self.where}: an object changed during the transfer; run the same command "
                    "again"
                ) from error
            if code in ("NoSuchBucket", "NoSuchKey", "404"):
                raise MissingDataError(
                    f"{which}: not found ({code}); check {self.section} in params.yaml"
                ) from error
            raise UnavailableError(
                f"{which}: the server refused ({code}); check {self.section} in params.yaml"
            ) from error
        except (BotoCoreError, HTTPError) as error:
            reason = " ".join(str(error).split())
            raise UnavailableError(
                f"{self.where}: no connection ({reason}); check the network and {self.section} in "
                "params.yaml, then run the same command: "
                "finished parts are kept"
            ) from error


class _Countdown:
    """Tells the last of several threads that it is the last."""

    def __init__(self, count: int) -> None:
        self._count, self._lock = count, threading.Lock()

    def last(self) -> bool:
        with self._lock:
            self._count -= 1
            return self._count == 0


def _finish(
    partial: PartialFile,
    upload_parts: list[int] | None,
    ledger: Ledger,
    where: str,
    on_bytes: OnBytes,
) -> None:
    sha256, etag = hash_with_etag(partial.part_path, upload_parts, partial.file.etag)
    if etag != partial.file.etag:
        partial.discard()
        on_bytes(-partial.file.size)
        raise ChangedDataError(
            f"{partial.file.path}: got ETag {etag}, expected {partial.file.etag} as listed by "
            f"{where}; the downloaded bytes were deleted; run the same command again"
        )
    partial.part_path.replace(partial.target)
    partial.journal_path.unlink()
    ledger.remember(partial.target, sha256, etag)


def _raise_first(done: set[Future]) -> None:
    for future in done:
        future.result()


def needed_room(files: list[RemoteFile], root: Path) -> int:
    """Return the number of bytes still to be downloaded.

    Raises
    ------
    ConfigError
        If the disk under ``root`` has less free space.
    """
    needed = sum(max(0, file.size - _allocated(root / file.path)) for file in files)
    existing = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise ConfigError(
            f"{root}: {needed / 1e9:.1f} GB are still to be downloaded, but only {free / 1e9:.1f} "
            "GB are free; make room, set machine.raw_root to a larger disk, or name fewer sessions "
            "in params.yaml"
        )
    return needed


def _allocated(target: Path) -> int:
    partial = target.with_name(f"{target.name}.part")
    return partial.stat().st_blocks * 512 if partial.exists() else 0

"""COCO's caption files from its archive."""

import errno
import hashlib
import http.client
import logging
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tqdm import tqdm

from fmri2img.datasets.nsd.coco_captions import CAPTION_FILES
from fmri2img.project.exceptions import FormatError, UnavailableError
from fmri2img.project.files import replacing

log = logging.getLogger(__name__)
_ADVICE = (
    "fetch it by hand, and name the folder with its two caption files in params.yaml, "
    "fetch_captions.folder"
)
_BLOCK_BYTES, _LARGEST_BYTES = 1 << 20, 1 << 31
_SECONDS_OF_SILENCE = 60
# COCO's server has no certificate of its own name: the digest vouches for what it sends.
_COCO = "//images.cocodataset.org/annotations/annotations_trainval2017.zip"
_COCO_SHA1 = "8551ee4bb5860311e79dace7e79cb91e432e78b3"


def fetch_captions(url: str, folder: Path) -> None:
    """Download the files of `CAPTION_FILES` into a folder, unless they are there; the archive
    (250 MB for COCO's) is not kept.

    Raises
    ------
    UnavailableError
        If the archive cannot be downloaded.
    FormatError
        If it lacks the files, is too large, or is not the one that COCO published.
    """
    if all((folder / name).exists() for name in CAPTION_FILES.values()):
        return
    log.info("fetching captions from %s", url)
    with tempfile.TemporaryFile() as archive:
        _download(url, archive)
        try:
            with zipfile.ZipFile(archive) as content:
                members = {Path(name).name: name for name in content.namelist()}
                for name in CAPTION_FILES.values():
                    _unpack(content, members[name], folder / name)
        except (zipfile.BadZipFile, zlib.error, KeyError, RuntimeError) as error:
            raise FormatError(
                f"{url}: not an archive with {', '.join(CAPTION_FILES.values())} ({error}); "
                f"{_ADVICE}"
            ) from error


def _download(url: str, archive: IO[bytes]) -> None:
    """Copy what is at an address, of at most `_LARGEST_BYTES`, and check COCO's own archive."""
    digest = hashlib.sha1(usedforsecurity=False)
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS_OF_SILENCE) as response:  # noqa: S310
            total = int(response.headers.get("Content-Length") or 0)
            with tqdm(
                total=total or None, desc="captions", unit="B", unit_scale=True, disable=None
            ) as bar:
                for block in _blocks(response, url):
                    archive.write(block)
                    digest.update(block)
                    bar.update(len(block))
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            error.filename = tempfile.gettempdir() + "/"
            raise
        raise UnavailableError(f"{url}: cannot be downloaded ({error}); {_ADVICE}") from error
    if archive.tell() < total:
        raise UnavailableError(
            f"{url}: broke off after {archive.tell()} of {total} bytes; run the same command again"
        )
    if url.endswith(_COCO) and digest.hexdigest() != _COCO_SHA1:
        raise FormatError(
            f"{url}: SHA-1 {digest.hexdigest()}, expected {_COCO_SHA1} as published; {_ADVICE}"
        )


def _unpack(content: zipfile.ZipFile, member: str, target: Path) -> None:
    with content.open(member) as packed, replacing(target) as partial, partial.open("wb") as file:
        for block in _blocks(packed, member):
            file.write(block)


def _blocks(source: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield what a stream holds, unless that is more than any caption file."""
    n_bytes = 0
    while block := source.read(_BLOCK_BYTES):
        n_bytes += len(block)
        if n_bytes > _LARGEST_BYTES:
            raise FormatError(
                f"{name}: more than {_LARGEST_BYTES >> 20} MiB, expected captions; {_ADVICE}"
            )
        yield block

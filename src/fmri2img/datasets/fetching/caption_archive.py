"""COCO's caption files from its archive."""

import http.client
import logging
import shutil
import tempfile
import urllib.request
import zipfile
import zlib
from pathlib import Path

from tqdm import tqdm

from fmri2img.datasets.nsd.coco_captions import CAPTION_FILES
from fmri2img.project.exceptions import FormatError, UnavailableError
from fmri2img.project.files import write_bytes

log = logging.getLogger(__name__)


def fetch_captions(url: str, folder: Path) -> None:
    """Download the files of `CAPTION_FILES` into a folder, unless they are there; the archive
    (250 MB for COCO's) is not kept.

    Raises
    ------
    UnavailableError
        If the archive cannot be downloaded.
    FormatError
        If it lacks the files.
    """
    if all((folder / name).exists() for name in CAPTION_FILES.values()):
        return
    log.info("fetching captions from %s", url)
    advice = (
        "fetch it by hand, and name the folder with its two caption files in params.yaml, "
        "fetch_captions.folder"
    )
    with tempfile.TemporaryFile() as archive:
        try:
            with urllib.request.urlopen(url) as response:  # noqa: S310 (the user named it)
                total = int(response.headers.get("Content-Length") or 0) or None
                with tqdm.wrapattr(
                    response, "read", total=total, desc="captions", disable=None, leave=False
                ) as watched:
                    shutil.copyfileobj(watched, archive)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise UnavailableError(f"{url}: cannot be downloaded ({error}); {advice}") from error
        try:
            with zipfile.ZipFile(archive) as content:
                members = {Path(name).name: name for name in content.namelist()}
                for name in CAPTION_FILES.values():
                    write_bytes(folder / name, content.read(members[name]))
        except (zipfile.BadZipFile, zlib.error, KeyError) as error:
            raise FormatError(
                f"{url}: not an archive with {', '.join(CAPTION_FILES.values())} ({error}); "
                f"{advice}"
            ) from error

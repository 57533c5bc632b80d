"""Hashes as ``dvc.lock`` records them."""

import hashlib
import json
from pathlib import Path

from fmri2img.project.files import hash_file


def hash_as_dvc(path: Path) -> str:
    """Return the MD5 of a file, or that of a folder's list of files, which ends in ``.dir``."""
    if not path.is_dir():
        return hash_file(path, "md5")
    files = [file.relative_to(path) for file in path.rglob("*") if file.is_file()]
    listed = [
        {"md5": hash_file(path / file, "md5"), "relpath": file.as_posix()}
        for file in sorted(files, key=lambda file: file.as_posix())
    ]
    text = json.dumps(listed, sort_keys=True)
    return f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}.dir"

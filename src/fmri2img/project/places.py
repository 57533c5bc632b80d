"""Where named files are: relative to the project, also in a copy in which DVC runs an experiment.

``dvc exp run --temp`` and ``--queue`` work in copies below ``.dvc/tmp/exps``, which hold what git
and DVC hold. Raw files, one's own regions and local networks stay in the original.
"""

import errno
from pathlib import Path

_DVC_COPIES = (".dvc", "tmp", "exps")


def project_root() -> Path:
    """Return the project's folder; in a copy in which DVC runs an experiment, the folder of the
    original project.
    """
    parts = Path.cwd().parts
    for place in range(len(parts) - len(_DVC_COPIES)):
        if parts[place : place + len(_DVC_COPIES)] == _DVC_COPIES:
            return Path(*parts[:place])
    return Path.cwd()


def where_it_is(name: str | Path) -> Path:
    """Return the path of a named file or folder; ``~`` is the user's home.

    What a copy lacks, and the original has, is the original's; any other path stays as it is.
    """
    path = with_home(name)
    return path if path.exists() else original_of(path)


def with_home(name: str | Path) -> Path:
    """Return a path whose ``~`` is replaced by the user's home.

    Raises
    ------
    FileNotFoundError
        If ``~`` names nobody's home.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        words = "there is no such user's home here, write the whole path"
        raise FileNotFoundError(errno.ENOENT, words, str(name)) from error


def original_of(path: Path) -> Path:
    """Return the same path in the original of a copy, if it is there."""
    original = project_root() / path
    is_copy = project_root() != Path.cwd()
    return original if is_copy and original.exists() else path


def own_rois() -> Path:
    """Return the folder of the user's regions, ``<subject>/<name>.nii.gz``; git may not hold
    them.
    """
    path = Path("rois")
    if any(entry.is_dir() for entry in path.glob("*")) or project_root() == Path.cwd():
        return path
    return project_root() / path

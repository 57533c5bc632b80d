"""Restore files as a commit recorded them, from DVC's cache or a remote, without checking out the
commit.
"""

import logging
from pathlib import Path

from fmri2img.models.registry import SEEDS_NAME
from fmri2img.project.exceptions import ChangedDataError, ConfigError, MismatchError
from fmri2img.project.files import hash_file, replacing_together, write_bytes

logger = logging.getLogger(__name__)


def fetch_recorded(
    commit: str, md5s: dict[str, str], folder: Path, remote: str | None, root: Path = Path()
) -> list[str]:
    """Copy files as they were at a commit, and verify them; returns the paths that are neither in
    the cache nor in the remote.

    Parameters
    ----------
    commit : str
        Full hash.
    md5s : dict of str to str
        MD5 by path.
    folder : Path
        Receives each file under its own name, without the folders of its path.
    remote : str or None
        A DVC remote; None: the default one.
    root : Path
        The project.

    Raises
    ------
    ChangedDataError
        If a file does not have the recorded bytes.
    ConfigError
        If there is no such remote.
    """
    from dvc.api import DVCFileSystem  # takes a second to load
    from dvc.exceptions import DvcException

    missing = []
    system = DVCFileSystem(str(root.resolve()), rev=commit, remote=remote)
    if remote is not None and remote not in system.repo.config["remote"]:
        raise ConfigError(
            f"--remote: there is no DVC remote {remote!r}; choose from: "
            f"{', '.join(system.repo.config['remote']) or 'none'}"
        )
    for path, md5 in md5s.items():
        target = folder / Path(path).name
        try:
            system.get_file(path, str(target))
        except (DvcException, OSError) as error:
            logger.debug("%s at %s: %s", path, commit, error)
            missing.append(path)
            continue
        if (actual := hash_file(target, "md5")) != md5:
            raise ChangedDataError(
                f"{path} at commit {commit[:10]}: DVC's cache or remote gave bytes with MD5 "
                f"{actual}, expected {md5}; they are not used; "
                "have the remote's owner run fmri2img share again"
            )
    return missing


def put_in_place(files: dict[str, Path], folder: Path, *, replace: bool) -> list[Path]:
    """Copy files into a folder, all of them or none; returns where they are.

    Parameters
    ----------
    files : dict of str to Path
        Files by name.
    folder : Path
    replace : bool
        Whether existing files with other bytes are replaced.

    Raises
    ------
    MismatchError
        If there are such files, and they are not to be replaced.
    """
    md5s = {name: hash_file(path, "md5") for name, path in files.items()}
    others = [
        folder / name
        for name, md5 in md5s.items()
        if (folder / name).exists() and hash_file(folder / name, "md5") != md5
    ]
    if others and not replace:
        raise MismatchError(
            f"{others[0]} differs from this encoder's file; name another folder with --to, or "
            "replace it with --force (dvc checkout brings back what dvc.lock names)"
        )
    with replacing_together():
        for name, path in files.items():
            if not (folder / name).exists() or hash_file(folder / name, "md5") != md5s[name]:
                write_bytes(folder / name, path.read_bytes())
    if others and SEEDS_NAME not in files:
        (folder / SEEDS_NAME).unlink(missing_ok=True)  # of the replaced encoder
    return [folder / name for name in files]

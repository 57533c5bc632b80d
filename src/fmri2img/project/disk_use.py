"""What takes room in a project's folder, and what may be cleared."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 512  # bytes in which systems count what a file takes


@dataclass(frozen=True)
class Place:
    """Part of a project.

    Attributes
    ----------
    paths : tuple of str
        Relative to the project's folder.
    title : str
    clearing : str
        Whether and how it may be cleared.
    """

    paths: tuple[str, ...]
    title: str
    clearing: str


PLACES = (
    Place(
        ("data/raw",),
        "raw files",
        "simulated ones are made anew; yours are nowhere else",
    ),
    Place(
        ("data/voxels", "data/examples", "data/latents", "data/targets"),
        "voxels, examples, latents, targets",
        "in DVC's cache too: dvc checkout brings them back",
    ),
    Place(
        ("data/reconstructions", "reports"),
        "reconstructions and pages",
        "in DVC's cache too: dvc checkout brings them back",
    ),
    Place(("models",), "encoders", "in DVC's cache too: dvc checkout brings them back"),
    Place(
        (".dvc/cache",),
        "DVC's cache, earlier results among them",
        "dvc gc --workspace keeps what dvc.lock names now",
    ),
    Place(
        ("mlflow.db", "mlruns", "mlartifacts"),
        "MLflow: runs, pictures, registry",
        "fmri2img track makes runs anew, without their history",
    ),
    Place(
        (".checkpoints",),
        "unfinished trainings, extractions, pictures",
        "safe to delete when nothing is to go on",
    ),
    Place(("logs",), "what stages printed, and how long they took", "safe to delete"),
    Place((".venv",), "Python's packages", "make install brings them back"),
)


def disk_use(root: Path = Path()) -> Iterator[tuple[Place, int]]:
    """Yield each place that is there, and the bytes that it takes on the disk.

    A file with several names counts where it is met first: DVC's cache may share its files.
    """
    known: set[tuple[int, int]] = set()
    for place in PLACES:
        size = sum(_size(root / path, known) for path in place.paths)
        if size:
            yield place, size


def _size(path: Path, known: set[tuple[int, int]]) -> int:
    if path.is_dir() and not path.is_symlink():
        inside = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
        return sum(_size(each, known) for each in inside)
    try:
        status = path.lstat()
    except OSError:  # not there, or gone in between
        return 0
    identity = status.st_dev, status.st_ino
    if identity in known:
        return 0
    known.add(identity)
    return status.st_blocks * _BLOCK

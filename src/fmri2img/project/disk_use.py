"""What takes up disk space in a project's folder, and what may be cleared."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 512  # bytes, the unit of st_blocks


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
        "simulated files can be made again; there may be no other copy of yours",
    ),
    Place(
        (
            "data/voxels",
            "data/examples",
            "data/ood",
            "data/anatomy",
            "data/latents",
            "data/targets",
        ),
        "voxels, examples, latents, targets",
        "in DVC's cache too: dvc checkout brings them back",
    ),
    Place(
        ("data/reconstructions", "data/maps", "reports"),
        "reconstructions, maps and pages",
        "in DVC's cache too: dvc checkout brings them back",
    ),
    Place(("models",), "encoders", "in DVC's cache too: dvc checkout brings them back"),
    Place(
        (".dvc/cache",),
        "DVC's cache, with earlier results",
        "dvc gc --workspace keeps what dvc.lock names now",
    ),
    Place(
        ("mlflow.db", "mlruns", "mlartifacts"),
        "MLflow: runs, pictures, registry",
        "fmri2img track logs the runs again, without their history",
    ),
    Place(
        (".checkpoints",),
        "unfinished trainings, extractions, pictures",
        "safe to delete if no interrupted work is to be resumed",
    ),
    Place(("logs",), "what stages printed, and how long they took", "safe to delete"),
    Place((".venv",), "Python's packages", "make install brings them back"),
)


def disk_use(root: Path = Path()) -> Iterator[tuple[Place, int]]:
    """Yield each place that exists, and the bytes that it takes up on disk.

    A file with several names counts where it is found first: DVC's cache may share its files.
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

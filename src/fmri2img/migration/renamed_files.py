"""Migrate files of version 0.1 whose name or layout has changed."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fmri2img.evaluation.metrics_document import MetricsDocument, Score
from fmri2img.evaluation.table_rows import ROWS
from fmri2img.migration.file_change import FileChange
from fmri2img.project.config import ModelLists
from fmri2img.project.exceptions import FormatError
from fmri2img.project.files import json_bytes, write_bytes

# Paths that contain the model's name, as a folder or as a file's name without its ending.
_BY_MODEL = (
    *("models/*/{}", "data/reconstructions/*/{}.h5", "data/targets/*/{}.h5", "reports/*/*/{}.*"),
    *("logs/*/{}.jsonl", "logs/*/{}-seeds.jsonl", "data/captions/{}.json"),
)
_DOCUMENTS = ("reports/metrics/*/*.json", "reports/references/*.json")
_PAGES = ("reports/gallery/*/{}.html", "reports/runs/*/{}.html")


def changes_of_files(root: Path, models: ModelLists, names: dict[str, str]) -> list[FileChange]:
    """Return the changes of a project's files: contents first, then names.

    Parameters
    ----------
    root : Path
        The project.
    models : ModelLists
        Its models, by today's names.
    names : dict of str to str
        Earlier names of models, and today's.
    """
    return [*_contents(root, names), *_placeholders(root, models, names), *_names(root, names)]


def _contents(root: Path, names: dict[str, str]) -> Iterator[FileChange]:
    """Yield changes of documents in the earlier layout, and of pages with a model's old name."""
    for path in (path for pattern in _DOCUMENTS for path in sorted(root.glob(pattern))):
        content = path.read_bytes()
        try:
            document = json.loads(content)
        except ValueError as error:
            raise FormatError(
                f"{path}: not JSON ({error}); bring it back: dvc checkout {path}"
            ) from error
        if document.get("version", 1) == 1:
            renewed = json_bytes(_upgrade(document).to_json())
            yield _rewritten(root, path, content, renewed, "metrics document of version 2")
    for old, new in names.items():
        for path in (path for pattern in _PAGES for path in sorted(root.glob(pattern.format(old)))):
            content = path.read_bytes()
            subject = path.parent.name
            renewed = content.replace(f"{subject} · {old}".encode(), f"{subject} · {new}".encode())
            if renewed != content:
                yield _rewritten(root, path, content, renewed, f"titles say {new}")


def _upgrade(document: dict[str, Any]) -> MetricsDocument:
    """Return a document of version 0.1 in today's layout; no number changes.

    Parameters
    ----------
    document : dict
        Contents of a file in ``reports/metrics`` or ``reports/references``.
    """
    about = dict(document["about"])
    is_simulated = about.get("data_source") == "simulated"
    retrieval = {
        name: document[f"retrieval_{name}"]
        for name in ("raw", "centred")
        if f"retrieval_{name}" in document
    }
    return MetricsDocument(
        absent=about.pop("absent"),
        about=about,
        rows={
            name: _scores(document[row.key], document["interval"].get(row.key, {}))
            for name, row in ROWS.items()
            if row.key in document
        },
        p_values=document.get("p", {}),
        latent=document.get("latent", {}),
        retrieval=retrieval,
        repetitions=document.get("repetitions", {}),
        seeds=document.get("seeds", {}),
        brain=document.get("brain", {}),
        halves=document.get("halves", {}),
        samples=document.get("identification_by_samples", {}),
        notes=("Simulated data: these numbers come from a simulated brain.",)
        if is_simulated
        else (),
    )


def _scores(means: dict[str, float], intervals: dict[str, list[float]]) -> dict[str, Score]:
    return {
        metric: Score(value, *intervals.get(metric, (None, None)))
        for metric, value in means.items()
    }


def _rewritten(root: Path, path: Path, was: bytes, now: bytes, words: str) -> FileChange:
    where = path.relative_to(root)
    return FileChange(
        f"{where}: {words}",
        lambda: write_bytes(path, now),
        where,
        where,
        (_md5(was), _md5(now)),
        len(now),
    )


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _placeholders(root: Path, models: ModelLists, earlier: dict[str, str]) -> Iterator[FileChange]:
    """Yield removals of the empty files that version 0.1 wrote for models that need none."""
    names = {*models.latents, *models.pixels, *earlier}
    for pattern in ("data/targets/*/{}.h5", "data/captions/{}.json"):
        for path in (path for name in sorted(names) for path in root.glob(pattern.format(name))):
            where = path.relative_to(root)
            yield FileChange(f"{where}: removed, because it is empty", path.unlink, where, where)


def _names(root: Path, names: dict[str, str]) -> Iterator[FileChange]:
    """Yield changes of files and folders that have a model's earlier name."""
    for old, new in names.items():
        for path in (
            path for pattern in _BY_MODEL for path in sorted(root.glob(pattern.format(old)))
        ):
            if path.match("data/targets/*/*") or path.match("data/captions/*"):
                continue  # removed, or of no use
            target = path.with_name(path.name.replace(old, new, 1))
            where, there = path.relative_to(root), target.relative_to(root)
            yield FileChange(f"{where} -> {there}", _moving(path, target), where, there)


def _moving(path: Path, target: Path) -> Callable[[], None]:
    def move() -> None:
        if target.is_dir() and path.is_dir():  # left by an interrupted call
            shutil.rmtree(target)
        path.replace(target)

    return move

"""The import graph of the stage scripts, to hold ``dvc.yaml`` against."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"

# Library files whose edit cannot change what a stage writes, each with its reason.
CANNOT_CHANGE_OUTPUTS = {
    "src/fmri2img/command.py": "options, progress bars and error lines",
    "src/fmri2img/config.py": "checks params.yaml, whose values DVC follows by themselves",
    "src/fmri2img/exceptions.py": "error types",
    "src/fmri2img/files.py": "hashing and atomic writing",
    "src/fmri2img/fetching/bucket.py": "bytes that do not have the listed checksum never get a name",
    "src/fmri2img/fetching/partial.py": "the same",
    "src/fmri2img/layout.py": "paths, which dvc.yaml names itself",
    "src/fmri2img/lineage.py": "tells where files come from",
    "src/fmri2img/parallel.py": "where jobs run, not what they do",
    "src/fmri2img/receipts.py": "checks raw files; receipts are outputs followed by themselves",
    "src/fmri2img/tracking/live.py": "MLflow, which is no output",
    "src/fmri2img/tracking/runs.py": "the same",
    "src/fmri2img/training/processes.py": "in how many processes a training runs",
}


def imported_files(script: Path) -> set[str]:
    """Return the project's files that a script imports, directly or not, as paths from the root; not those that only excused ones do."""
    seen: set[str] = set()
    waiting = [script]
    while waiting:
        for path in _imports(waiting.pop()):
            name = path.relative_to(ROOT).as_posix()
            if name not in seen and path.name != "__init__.py":
                seen.add(name)
                waiting += [] if name in CANNOT_CHANGE_OUTPUTS else [path]
    return seen


def _imports(path: Path) -> list[Path]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        files = (SOURCE.joinpath(*name.split(".")).with_suffix(".py") for name in names)
        found += [file for file in files if file.exists()]
    return found

"""The verb of ``fmri2img`` that says where a file comes from, and what was made from it."""

import argparse
import json
import os
import sys
from pathlib import Path

from fmri2img.project.exceptions import MissingDataError, UnavailableError
from fmri2img.project.layout import FINGERPRINTS
from fmri2img.provenance.lineage import (
    LOCK_PATH,
    Origin,
    first_commit,
    read_lock,
    trace_back,
    trace_forward,
)
from fmri2img.provenance.notes import read_notes
from fmri2img.provenance.receipts import Receipt
from fmri2img.sharing.voxel_file import open_voxels


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verb to the command."""
    verb = verbs.add_parser(
        "lineage",
        help="say from which raw bytes, parameters and code a file was made, or what was made from "
        "it",
    )
    verb.add_argument("file")
    verb.add_argument("--json", action="store_true", help="print the answer as JSON")
    verb.set_defaults(run=show_lineage)


def show_lineage(options: argparse.Namespace) -> None:
    """Print what a file was made from, back to the receipts, and what was made from it."""
    path = options.file.removeprefix("./")
    if Path(path).is_absolute() and Path(path).is_relative_to(Path.cwd()):
        path = str(Path(path).relative_to(Path.cwd()))
    is_voxel_file = Path(path).suffix == ".h5" and Path(path).exists()
    stages = {} if is_voxel_file and not LOCK_PATH.exists() else read_lock()
    makes = {out for stage in stages.values() for out in stage.outs}
    if path not in makes and (receipts := _receipts_that_list(path, Path("data/receipts"))):
        onwards = {str(receipt): trace_forward(str(receipt), stages) for receipt in receipts}
        _print_onwards(path, onwards, as_json=options.json)
        return
    if path not in makes and is_voxel_file:
        voxels = open_voxels(path)
        print(
            voxels,
            "made from:",
            json.dumps(voxels.trials.provenance, indent=2, sort_keys=True),
            sep="\n",
        )
        return
    if path not in makes:
        raise MissingDataError(
            f"{path}: neither an output in dvc.lock nor a raw file of a receipt; name one, such as "
            "data/voxels/subj01.h5"
        )
    origin = trace_back(path, stages)
    if options.json:
        files: dict[str, dict] = {}
        _collect(origin, files)
        answer = {
            "file": path,
            "made_from": files,
            "made_from_it": trace_forward(path, stages),
            "runs": _runs_of(origin),
        }
        print(json.dumps(answer, indent=2))
        return
    _print_origin(origin, 0, set())
    print(
        "made from it:",
        *(f"  {out}" for out in trace_forward(path, stages) or ["nothing"]),
        sep="\n",
    )
    if runs := _runs_of(origin):
        print("in MLflow:", *(f"  {line}" for line in runs), sep="\n")


def _print_onwards(path: str, onwards: dict[str, list[str]], *, as_json: bool) -> None:
    """Print what was made from the receipts that list a raw file."""
    if as_json:
        print(json.dumps(onwards, indent=2))
        return
    for receipt, outs in onwards.items():
        print(
            f"{path}\n  is listed in {receipt}; made from the files of that receipt:",
            *(f"    {out}" for out in outs),
            sep="\n",
        )


def _runs_of(origin: Origin) -> list[str]:
    """Return lines on the MLflow runs that made or read a file; none for other kinds of files, or
    without a store.
    """
    kinds = ("models/", "data/examples/", "data/splits/", "data/latents/")
    if not origin.path.startswith(kinds) or not (
        os.environ.get("MLFLOW_TRACKING_URI") or Path("mlflow.db").exists()
    ):
        return []
    from fmri2img.tracking.runs import runs_of
    from fmri2img.tracking.store import open_store, required

    try:
        with required():
            return runs_of(*open_store(), origin.md5)
    except UnavailableError as error:  # the rest of the answer does not need it
        print(f"note: {error}", file=sys.stderr)
        return []


def _print_origin(origin: Origin, depth: int, printed: set[str]) -> None:
    indent = "  " * depth
    print(f"{indent}{origin.path}  md5 {origin.md5}  ({origin.state})")
    if origin.path in printed:
        print(f"{indent}  as above")
        return
    printed.add(origin.path)
    if origin.stage is None:
        return
    if depth == 0 and (commit := first_commit(origin.md5)):
        print(f"{indent}  first recorded in commit {commit}")
    print(f"{indent}  by {origin.stage.command}")
    for key, value in origin.stage.params.items():
        print(f"{indent}  with {key}: {json.dumps(value)}")
    for dep, md5 in origin.code.items():
        is_code = dep.startswith(f"{FINGERPRINTS}/")
        print(f"{indent}  {f'code: fingerprint {md5}' if is_code else f'with {dep}: md5 {md5}'}")
    if (note := read_notes().get(origin.stage.name)) and note["outs"] == origin.stage.outs:
        print(
            f"{indent}  made by {note['made_by']}; kept although today's code differs in: "
            f"{', '.join(note['differs_in'])}"
        )
    if (receipt := _receipt_summary(origin.path)) is not None:
        print(f"{indent}  raw: {receipt}")
    for item in origin.inputs:
        _print_origin(item, depth + 1, printed)


def _receipt_summary(path: str) -> str | None:
    if not path.startswith("data/receipts/") or not Path(path).exists():
        return None
    receipt = Receipt.open(Path(path), remedy=f"dvc checkout {path}")
    size = sum(record.size for record in receipt.files)
    return (
        f"{len(receipt.files)} files, {size / 1e9:.2f} GB, {receipt.data_source}; each with its "
        f"SHA-256 in {path}"
    )


def _collect(origin: Origin, files: dict[str, dict]) -> None:
    """Describe a file and everything that it was made from, each once."""
    if origin.path in files:
        return
    files[origin.path] = {
        "md5": origin.md5,
        "state": origin.state,
        "command": origin.stage.command if origin.stage else None,
        "params": origin.stage.params if origin.stage else {},
        "code": origin.code,
        "inputs": [item.path for item in origin.inputs],
    }
    for item in origin.inputs:
        _collect(item, files)


def _receipts_that_list(raw: str, folder: Path) -> list[Path]:
    """Return the receipts that name a raw file, given by its path below the folder of raw
    files or any longer path.
    """
    receipts = []
    for path in sorted(folder.glob("*.json")):
        listed = [record.path for record in Receipt.open(path, remedy=f"dvc checkout {path}").files]
        if any(raw == name or raw.endswith(f"/{name}") for name in listed):
            receipts.append(path)
    return receipts

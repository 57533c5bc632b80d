"""The command ``fmri2img``: look into voxel files, share them, score reconstructions, handle
encoders, tell where files come from.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from fmri2img.command import tell_errors
from fmri2img.encoder_verbs import add_encoder_verbs, track_encoders
from fmri2img.exceptions import ConfigError, MissingDataError, UnavailableError
from fmri2img.files import write_json
from fmri2img.layout import FINGERPRINTS, truth_path
from fmri2img.lineage import LOCK_PATH, Origin, first_commit, read_lock, trace_back, trace_forward
from fmri2img.pipeline_verbs import add_pipeline_verbs
from fmri2img.provenance.accept import read_notes
from fmri2img.receipts import Receipt, receipts_that_list
from fmri2img.sharing.export import EXPORTERS
from fmri2img.sharing.remotes import (
    ALL_STAGES,
    MODEL_STAGES,
    SHARED_STAGES,
    data_source_of,
    differing_params,
    plan,
    pull,
    share,
)
from fmri2img.sharing.voxel_file import open_voxels


def main(arguments: list[str] | None = None) -> None:
    """Run one verb; ``arguments`` are those of the process if left out."""
    options = make_parser()[0].parse_args(arguments)
    with tell_errors(debug=options.debug):
        options.run(options)


def make_parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser of all verbs, and their names."""
    parser = argparse.ArgumentParser(prog="fmri2img", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_voxels(verbs)
    _add_moves(verbs)
    _add_evaluate(verbs)
    add_encoder_verbs(verbs)
    add_pipeline_verbs(verbs)
    lineage = verbs.add_parser(
        "lineage",
        help="say from which raw bytes, parameters and code a file was made, or what was made from "
        "it",
    )
    lineage.add_argument("file")
    lineage.add_argument("--json", action="store_true", help="the same for programs")
    lineage.set_defaults(run=show_lineage)
    for verb in verbs.choices.values():
        verb.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser, list(verbs.choices)


def _add_voxels(verbs: argparse._SubParsersAction) -> None:
    show = verbs.add_parser("voxels", help="say what a voxel file holds")
    show.add_argument("file", type=Path)
    show.set_defaults(run=lambda options: print(open_voxels(options.file)))
    export = verbs.add_parser("export", help="write a voxel file in a form that other code reads")
    export.add_argument("file", type=Path)
    export.add_argument(
        "--format",
        choices=EXPORTERS,
        default="npz",
        help="npz: one file; takagi, brain-diffuser: a folder as their scripts make it",
    )
    export.add_argument("--to", type=Path, required=True, help="the .npz file or the folder")
    export.add_argument("--rois", nargs="+", help="keep these regions only")
    export.set_defaults(run=export_voxels)


def _add_moves(verbs: argparse._SubParsersAction) -> None:
    for name, run, what in (
        (
            "share",
            push_files,
            "push receipts, regions, voxels, examples, splits and latents to your group's remote",
        ),
        ("pull", pull_files, "pull them; then dvc repro goes on from there, without NSD"),
    ):
        verb = verbs.add_parser(name, help=what)
        verb.add_argument("--remote", help="a DVC remote; the default one if left out")
        what_else = verb.add_mutually_exclusive_group()
        what_else.add_argument(
            "--models",
            dest="stages",
            action="store_const",
            const=MODEL_STAGES,
            default=SHARED_STAGES,
            help="trained encoders too",
        )
        what_else.add_argument(
            "--everything",
            dest="stages",
            action="store_const",
            const=ALL_STAGES,
            help="encoders, pictures and reports too",
        )
        verb.add_argument("--dry-run", action="store_true", help="say what would move, and stop")
        verb.set_defaults(run=run)
        if name == "share":
            verb.add_argument(
                "--members-only",
                action="store_true",
                help="only people who accepted NSD's agreement can read the remote",
            )


def _add_evaluate(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        "evaluate", help="score reconstructions of any origin against the pictures that were seen"
    )
    verb.add_argument(
        "reconstructions",
        type=Path,
        help="folder of pictures named by id, or HDF5 file with image_ids and images",
    )
    verb.add_argument(
        "truth",
        type=Path,
        nargs="?",
        default=truth_path(),
        help="the same; if left out, data/truth.h5: NSD's test images",
    )
    verb.add_argument(
        "--subset",
        action="store_true",
        help="leave out images without a reconstruction, which are an error otherwise",
    )
    verb.add_argument("--to", type=Path, help="write all numbers there as JSON")
    verb.add_argument(
        "--networks",
        nargs="*",
        default=["effnet_lite0"],
        metavar="NAME",
        help="networks in whose features to compare: effnet_lite0, which comes along, alexnet, "
        "inception, clip, effnet_b, swav, or all; "
        "the others are fetched from their makers' hubs",
    )
    verb.add_argument(
        "--weights",
        type=Path,
        help="folder that holds the networks' weights, instead of fetching them",
    )
    verb.set_defaults(run=evaluate)


def evaluate(options: argparse.Namespace) -> None:
    """Print scores beside their floors."""
    from fmri2img.evaluation.folders import (
        evaluate_pictures,
        join,
        read_pictures,
    )  # starts torch, which other verbs need not wait for
    from fmri2img.evaluation.networks import NETWORK_NAMES, open_networks

    names = NETWORK_NAMES if options.networks == ["all"] else options.networks
    if unknown := [name for name in names if name not in NETWORK_NAMES]:
        raise ConfigError(
            f"--networks: there is no {unknown[0]!r}; choose from: {', '.join(NETWORK_NAMES)}, all"
        )
    truth, predicted = read_pictures(options.truth), read_pictures(options.reconstructions)
    joined = join(truth, predicted, subset=options.subset)
    document = evaluate_pictures(*joined, open_networks(names, options.weights))
    if options.to:
        write_json(options.to, document)
    width = max(map(len, document["scores"])) + 2
    about, left = document["about"], len(truth.ids) - document["about"]["n_images"]
    print(
        f"{about['n_images']} images{f', {left} without a reconstruction left out' if left else ''}"
    )
    print(f"{'':{width}s}{'score':>7s}  {'95 % interval':17s}{'shuffled':>9s}{'grey':>7s}")
    for metric, value in document["scores"].items():
        low, high = document["interval"][metric]
        floors = [document[floor].get(metric) for floor in ("floor_shuffled", "floor_grey")]
        cells = "".join(
            f"{'' if floor is None else f'{floor:.3f}':>{width}s}"
            for floor, width in zip(floors, (9, 7), strict=True)
        )
        print(f"{metric:{width}s}{value:7.3f}  {f'{low:.3f} to {high:.3f}':17s}{cells}")
    print("distances: lower is better; two-way: chance 0.5")
    print(
        "p of pairing at random: "
        f"{', '.join(f'{metric} {value:.4f}' for metric, value in document['p'].items())}"
    )
    if about["constant_reconstructions"]:
        print(
            f"{about['constant_reconstructions']} reconstructions are of one grey throughout; "
            "their PixCorr counts as 0"
        )


def export_voxels(options: argparse.Namespace) -> None:
    """Write an export, and say what was written."""
    voxels = open_voxels(options.file)
    if options.rois:
        voxels = voxels.select(options.rois)
    for path in EXPORTERS[options.format](voxels, options.to):
        print(path)
    if not voxels.is_simulated:
        print(
            "components of NSD: not for people who have not accepted its agreement", file=sys.stderr
        )


def push_files(options: argparse.Namespace) -> None:
    """Push, after saying what."""
    shipment = plan(options.remote, options.stages)
    print(*shipment.describe(), sep="\n")
    if not options.dry_run:
        share(shipment, data_source_of(), members_only=options.members_only)


def pull_files(options: argparse.Namespace) -> None:
    """Pull, after saying what, and whether the parameters are those of the files."""
    shipment = plan(options.remote, options.stages)
    print(*shipment.describe(), sep="\n")
    if differences := differing_params():
        print(
            f"note: params.yaml is not that of the pulled files: {'; '.join(differences)}; to use "
            "them, set it back "
            "(git checkout params.yaml): otherwise dvc repro will ask for NSD's raw files",
            file=sys.stderr,
        )
    if not options.dry_run:
        pull(shipment)
        if options.stages is not SHARED_STAGES:
            try:
                track_encoders()
            except UnavailableError as error:  # the files are here all the same
                print(f"note: {error}; later run: fmri2img track", file=sys.stderr)


def show_lineage(options: argparse.Namespace) -> None:
    """Print the way back to the receipts, or from a raw file or receipt onwards."""
    path = options.file.removeprefix("./")
    if Path(path).is_absolute() and Path(path).is_relative_to(Path.cwd()):
        path = str(Path(path).relative_to(Path.cwd()))
    is_voxel_file = Path(path).suffix == ".h5" and Path(path).exists()
    stages = {} if is_voxel_file and not LOCK_PATH.exists() else read_lock()
    makes = {out for stage in stages.values() for out in stage.outs}
    if path not in makes and (receipts := receipts_that_list(path, Path("data/receipts"))):
        onwards = {str(receipt): trace_forward(str(receipt), stages) for receipt in receipts}
        if options.json:
            print(json.dumps(onwards, indent=2))
        for receipt, outs in () if options.json else onwards.items():
            print(
                f"{path}\n  is pinned by {receipt}; made from files of that receipt:",
                *(f"    {out}" for out in outs),
                sep="\n",
            )
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
        found = {
            "file": path,
            "made_from": files,
            "made_from_it": trace_forward(path, stages),
            "runs": _runs_of(origin),
        }
        print(json.dumps(found, indent=2))
        return
    _print_origin(origin, 0, set())
    print(
        "made from it:",
        *(f"  {out}" for out in trace_forward(path, stages) or ["nothing"]),
        sep="\n",
    )
    if runs := _runs_of(origin):
        print("in MLflow:", *(f"  {line}" for line in runs), sep="\n")


def _runs_of(origin: Origin) -> list[str]:
    """Say which runs of MLflow made or read a file; nothing of files that runs do not deal with,
    or where there is no store.
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
    except UnavailableError as error:  # the rest of the answer stands without it
        print(f"note: {error}", file=sys.stderr)
        return []


def _print_origin(origin: Origin, depth: int, seen: set[str]) -> None:
    indent = "  " * depth
    print(f"{indent}{origin.path}  md5 {origin.md5}  ({origin.state})")
    if origin.path in seen:
        print(f"{indent}  as above")
        return
    seen.add(origin.path)
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
            f"{indent}  made by {note['made_by']} and kept under that code, which differs in: "
            f"{', '.join(note['differs_in'])}"
        )
    if (receipt := _receipt_summary(origin.path)) is not None:
        print(f"{indent}  raw: {receipt}")
    for item in origin.inputs:
        _print_origin(item, depth + 1, seen)


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
    """Describe a file and all that it was made from, each once."""
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


if __name__ == "__main__":
    main()

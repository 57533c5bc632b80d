"""The verbs of ``fmri2img`` that look into voxel files and export them."""

import argparse
import sys
from pathlib import Path

from fmri2img.project.exceptions import ConfigError
from fmri2img.sharing.export import EXPORTERS
from fmri2img.sharing.voxel_file import open_voxels


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verbs to the command."""
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


def export_voxels(options: argparse.Namespace) -> None:
    """Write an export, and say what was written."""
    voxels = open_voxels(options.file)
    if options.rois:
        voxels = voxels.select(options.rois)
    if options.format == "npz" and options.to.is_dir():
        raise ConfigError(
            f"--to: {options.to} is a folder, expected a file; name the .npz file in it"
        )
    for path in EXPORTERS[options.format](voxels, options.to):
        print(path)
    if voxels.terms and not voxels.is_simulated:
        print(voxels.terms, file=sys.stderr)

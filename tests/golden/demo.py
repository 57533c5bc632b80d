"""The demo's data, from its raw files to its splits: made in this process, without the models."""

from importlib import import_module

from fmri2img.project.files import read_json
from golden.collect import describe_files, flatten
from miniature import REPOSITORY, copy_project, inside, stages

UP_TO = ("fetch_raw", "convert_roi", "extract_betas", "create_examples", "split_examples")


def make_demo_examples(folder):
    """Run the first stages of the demo, with the parameters that the repository ships."""
    copy_project(REPOSITORY, folder)
    with inside(folder):
        for _, script, options in stages():
            if script in UP_TO:
                import_module(f"stages.{script}").main(**options)
    return folder


def collect_demo(folder):
    """Every array of the demo's regions, voxels and examples, and its splits."""
    paths = [
        path
        for pattern in ("data/rois/*.gz", "data/voxels/*.h5", "data/examples/*.h5")
        for path in folder.glob(pattern)
    ]
    splits = {
        path.stem: read_json(path, remedy="")
        for path in sorted((folder / "data/splits").glob("*.json"))
    }
    return describe_files(folder, paths) | {
        f"data/splits/{name}": value for name, value in flatten(splits).items()
    }

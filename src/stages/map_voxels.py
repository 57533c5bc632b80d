"""Map a subject's voxels: NIfTI volumes, the same on fsaverage, and a page that shows them."""

from fmri2img.pipeline.map_subject import map_subject
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.params_file import load_params


def main(subject: str) -> None:
    """Write the maps of one subject."""
    map_subject(subject, load_params())


if __name__ == "__main__":
    run_stage(main)

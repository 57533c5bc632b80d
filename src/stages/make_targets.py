"""Compute a model's further targets: Stable Diffusion's encodings of pictures and captions."""

from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject_targets import make_targets_of
from fmri2img.project.params_file import load_params


def main(subject: str, model: str) -> None:
    """Write the targets of all images that the subject saw; targets in an earlier file are kept."""
    make_targets_of(subject, model, load_params())


if __name__ == "__main__":
    run_stage(main)

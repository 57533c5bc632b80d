"""Compute what a model learns beside latents: Stable Diffusion's view of pictures and captions."""

from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject_targets import make_targets_of
from fmri2img.project.params_file import load_params


def main(subject: str, model: str) -> None:
    """Write the targets of all images that the subject saw; what an earlier file has is kept."""
    make_targets_of(subject, model, load_params())


if __name__ == "__main__":
    run_stage(main)

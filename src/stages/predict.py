"""Reconstruct the test images, and show them beside the truth."""

from fmri2img.pipeline.reconstruct_subject import reconstruct_subject
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.params_file import load_params


def main(subject: str, model: str) -> None:
    """Write reconstructions and the gallery of one encoder."""
    reconstruct_subject(subject, model, load_params())


if __name__ == "__main__":
    run_stage(main)

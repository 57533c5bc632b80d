"""Collect the captions of a subject's pictures, for a model that learns from text."""

from fmri2img.pipeline.picture_captions import collect_captions
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.params_file import load_params


def main(subject: str, model: str) -> None:
    """Write the captions."""
    collect_captions(subject, model, load_params())


if __name__ == "__main__":
    run_stage(main)

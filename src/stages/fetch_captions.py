"""Collect the captions of all subjects' pictures, by 73k id, for a model that learns from them."""

from fmri2img.pipeline.picture_captions import collect_captions
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.params_file import load_params


def main(model: str) -> None:
    """Write the captions; none for a model that does without."""
    collect_captions(model, load_params())


if __name__ == "__main__":
    run_stage(main)

"""Put all subjects and models side by side, and name each subject's champion."""

from fmri2img.params_file import load_params
from fmri2img.pipeline.compare_subjects import compare_subjects
from fmri2img.pipeline.stage import run_stage


def main() -> None:
    """Write the comparison; propose the best encoder of each subject as champion."""
    compare_subjects(load_params())


if __name__ == "__main__":
    run_stage(main)

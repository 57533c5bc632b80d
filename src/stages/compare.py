"""Compare all subjects and models, and name each subject's champion."""

from fmri2img.pipeline.compare_subjects import compare_subjects
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.params_file import load_params


def main() -> None:
    """Write the comparison; propose the best encoder of each subject as champion."""
    params = load_params()
    best = compare_subjects(params)
    # MLflow takes seconds to load, and nothing above may wait for it.
    from fmri2img.tracking.runs import log_comparison

    log_comparison(params, best)


if __name__ == "__main__":
    run_stage(main)

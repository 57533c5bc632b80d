"""Score the references for every encoder of a subject: floors, ceilings and ridge."""

from fmri2img.pipeline.evaluate_subject import score_references_of
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.params_file import load_params


def main(subject: str) -> None:
    """Write the scores of the subject's reference rows."""
    score_references_of(subject, load_params())


if __name__ == "__main__":
    run_stage(main)

"""Score an encoder on the test images, beside floors and ceiling."""

from fmri2img.params_file import load_params
from fmri2img.pipeline.evaluate_subject import evaluate_subject
from fmri2img.pipeline.stage import run_stage


def main(subject: str, model: str) -> None:
    """Write the metrics of one encoder, and only then add them to its run."""
    evaluate_subject(subject, model, load_params())


if __name__ == "__main__":
    run_stage(main)

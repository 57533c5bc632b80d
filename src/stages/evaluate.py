"""Score an encoder on the test images, with floors and ceiling."""

from fmri2img.pipeline.evaluate_subject import evaluate_subject
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.params_file import load_params


def main(subject: str, model: str) -> None:
    """Write the metrics of one encoder, and only then add them to its MLflow run."""
    evaluate_subject(subject, model, load_params())
    # MLflow takes seconds to load, and nothing above may wait for it.
    from fmri2img.tracking.runs import log_encoder

    log_encoder(subject, model)


if __name__ == "__main__":
    run_stage(main)

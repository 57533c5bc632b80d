"""Score an encoder on a further test set, of images of another kind."""

from fmri2img.pipeline.ood_subject import evaluate_ood
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.params_file import load_params


def main(subject: str, model: str, test: str) -> None:
    """Write the scores of one encoder, and only then add them to its MLflow run."""
    evaluate_ood(subject, model, test, load_params())
    # MLflow takes seconds to load, and nothing above may wait for it.
    from fmri2img.tracking.runs import log_encoder

    log_encoder(subject, model)


if __name__ == "__main__":
    run_stage(main)

"""Score an encoder on a further test set, of images of another kind."""

from fmri2img.pipeline.ood_subject import evaluate_ood
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.params_file import load_params


def main(subject: str, model: str, test: str) -> None:
    """Write the scores of one encoder; the comparison adds them to its MLflow run."""
    evaluate_ood(subject, model, test, load_params())


if __name__ == "__main__":
    run_stage(main)

"""Train one encoder for one subject, and register it."""

from fmri2img.params_file import load_params
from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.train_subject import train_subject


def main(subject: str, model: str) -> None:
    """Train, save, and only then tell MLflow."""
    train_subject(subject, model, load_params())


if __name__ == "__main__":
    run_stage(main)

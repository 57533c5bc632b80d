"""Train one encoder for one subject, and register it."""

from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.train_subject import train_subject
from fmri2img.project.params_file import load_params


def main(subject: str, model: str) -> None:
    """Train and save, and only then log and register the encoder in MLflow."""
    live_run = train_subject(subject, model, load_params())
    if live_run is not None:
        # MLflow takes seconds to load, and nothing above may wait for it or fail with it.
        from fmri2img.tracking.runs import log_encoder

        log_encoder(subject, model, is_new=True, live_run=live_run, evaluation=False)


if __name__ == "__main__":
    run_stage(main)

"""Train one encoder for one subject, and register it."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

from fmri2img.command import run_stage
from fmri2img.config import AutoencoderParams, load_params
from fmri2img.containers import Examples, Latents
from fmri2img.files import read_json, write_json, write_text
from fmri2img.layout import (
    CHECKPOINTS,
    LOGS,
    curve_path,
    encoder_folder,
    examples_path,
    latents_path,
    prior_path,
    roi_table_path,
    split_path,
    training_path,
    validation_path,
)
from fmri2img.models.registry import check_settings, model_class, save_encoder, save_seeds
from fmri2img.responses.splits import Split
from fmri2img.tracking.live import LiveCurve, live_curve
from fmri2img.training.checkpoints import EpochRecord
from fmri2img.training.fit import fit_encoder, fit_other_seeds, make_training_set, remove_checkpoints
from fmri2img.training.loop import validation_scores
from fmri2img.training.processes import is_main_process, launch_again
from fmri2img.training.report import EpochLog, describe_encoder, training_metrics, validation_table, write_curve

if TYPE_CHECKING:
    from fmri2img.pretrained.autoencoder import FrozenAutoencoder


def main(subject: str, model: str) -> None:
    """Train, save, and only then tell MLflow."""
    params = load_params()
    settings, kind = check_settings(model, params.train[model]), model_class(model)
    if kind.trained_by_gradient:
        launch_again(params.machine.launch)
    examples = Examples.open(examples_path(subject), remedy=f"dvc repro create_examples@{subject}", on_disk=["images"])
    split = Split.open(split_path(subject), remedy=f"dvc repro split_examples@{subject}")
    latents = Latents.open(latents_path(subject), remedy=f"dvc repro encode_latents@{subject}")
    prior = Latents.open(prior_path(), remedy="dvc repro collect_prior")
    roi = read_json(roi_table_path(subject), remedy=f"dvc repro convert_roi@{subject}")["roi"]
    checkpoint = CHECKPOINTS / subject / f"{model}.safetensors"
    data = make_training_set(examples, split, latents, prior, with_pictures=getattr(settings, "loss", "latents") != "latents")
    how: dict = {
        "load_decoder": lambda: _load_decoder(params.autoencoder, latents),
        "checkpoint": checkpoint,
        "owner": f"{subject}/{model} on {examples.n_voxels} voxels of {' + '.join(roi) if isinstance(roi, list) else roi}",
    }
    about = describe_encoder(examples, split, latents, roi)
    del examples, prior  # gigabytes at the real size, and training has its own
    with live_curve(subject, model, about) if kind.trained_by_gradient and is_main_process() else nullcontext() as live:
        encoder, result = fit_encoder(kind, settings, data, on_epoch=_log(subject, model, live), **how)
        others = fit_other_seeds(kind, settings, data, on_epoch=_log(subject, f"{model}-seeds"), **how)
    if not is_main_process():
        return
    folder = encoder_folder(subject, model)
    save_encoder(encoder, model, folder, about)
    write_curve(curve_path(subject, model), result.history)
    write_json(training_path(subject, model), training_metrics(result))
    write_text(validation_path(subject, model), validation_table(validation_scores(encoder, data.validation), split))
    save_seeds(others, folder)
    remove_checkpoints(checkpoint)
    # Imported last: MLflow takes seconds to load, and nothing above may wait for it or fail with it.
    from fmri2img.tracking.runs import log_encoder

    log_encoder(subject, model, is_new=True, live_run=live.close() if live else "", evaluation=False)


def _log(subject: str, name: str, live: LiveCurve | None = None) -> Callable[[EpochRecord], None]:
    if not is_main_process():
        return lambda _: None
    return EpochLog(LOGS / subject / f"{name}.jsonl", label=f"{subject} {name}", then=live.add if live else None)


def _load_decoder(params: AutoencoderParams, latents: Latents) -> "FrozenAutoencoder":
    from fmri2img.pretrained.autoencoder import check_same_autoencoder, load_autoencoder  # takes seconds; only a pixel loss needs it

    return check_same_autoencoder(latents.provenance["autoencoder"], load_autoencoder(params.source, params.revision))


if __name__ == "__main__":
    run_stage(main)

"""Train one encoder for one subject, and register it."""

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fmri2img.config import AutoencoderParams
from fmri2img.containers import DiffusionTargets, Examples, Latents
from fmri2img.files import read_json, write_json, write_text
from fmri2img.layout import (
    CHECKPOINTS,
    curve_path,
    encoder_folder,
    examples_path,
    latents_path,
    prior_path,
    roi_table_path,
    split_path,
    targets_path,
    training_path,
    validation_path,
)
from fmri2img.models.catalogue import check_settings, model_class, save_encoder, save_seeds
from fmri2img.params_file import load_params
from fmri2img.pipeline.stage import run_stage
from fmri2img.responses.splits import Split
from fmri2img.tracking.live import live_curve
from fmri2img.training.fit import fit_encoder, fit_other_seeds, remove_checkpoints
from fmri2img.training.loop import predict_validation, validation_scores
from fmri2img.training.processes import is_main_process, launch_again
from fmri2img.training.records import (
    describe_encoder,
    epoch_log,
    judge_by_latents,
    training_metrics,
    validation_table,
    write_curve,
)
from fmri2img.training.training_set import make_diffusion_set, make_training_set

if TYPE_CHECKING:
    from fmri2img.pretrained.autoencoder import FrozenAutoencoder

_BATCH = 8


def main(subject: str, model: str) -> None:
    """Train, save, and only then tell MLflow."""
    params = load_params()
    settings, kind = check_settings(model, params.train[model]), model_class(model)
    if kind.trained_by_gradient:
        launch_again(params.machine.launch)
    examples = Examples.open(
        examples_path(subject), remedy=f"dvc repro create_examples@{subject}", on_disk=["images"]
    )
    split = Split.open(split_path(subject), remedy=f"dvc repro split_examples@{subject}")
    latents = Latents.open(latents_path(subject), remedy=f"dvc repro encode_latents@{subject}")
    roi = read_json(roi_table_path(subject), remedy=f"dvc repro convert_roi@{subject}")["roi"]
    checkpoint = CHECKPOINTS / subject / f"{model}.safetensors"
    about = describe_encoder(examples, split, latents, roi)
    if kind.uses_diffusion:
        targets = DiffusionTargets.open(
            targets_path(subject, model), remedy=f"dvc repro make_targets@{subject}-{model}"
        )
        data = make_diffusion_set(examples, split, targets)
        about |= targets.provenance["about"]
        del targets
    else:
        prior = Latents.open(prior_path(), remedy="dvc repro collect_prior")
        data = make_training_set(
            examples,
            split,
            latents,
            prior,
            with_pictures=getattr(settings, "loss", "latents") != "latents",
        )
        del prior
    how: dict = {
        "load_decoder": lambda: _load_decoder(params.autoencoder, latents),
        "checkpoint": checkpoint,
        "owner": f"{subject}/{model} on {examples.n_voxels} voxels of "
        f"{' + '.join(roi) if isinstance(roi, list) else roi}",
    }
    side = examples.images.shape[1]
    del examples  # gigabytes at the real size, and training has its own
    with (
        live_curve(subject, model, about)
        if kind.trained_by_gradient and is_main_process()
        else nullcontext() as live
    ):
        encoder, result = fit_encoder(
            kind,
            settings,
            data,
            on_epoch=epoch_log(subject, model, live.add if live else None),
            **how,
        )
        others = fit_other_seeds(
            kind, settings, data, on_epoch=epoch_log(subject, f"{model}-seeds"), **how
        )
    if not is_main_process():
        return
    validation = data.validation
    del data  # writing weights takes as much memory again as they have
    scores = validation_scores(encoder, validation)
    if kind.uses_diffusion:
        decoded = predict_validation(encoder, validation).numpy()
        seen = _see(decoded, about, _load_decoder(params.autoencoder, latents), side)
        result, scores = judge_by_latents(
            result,
            latents.of(split.ids("validation")),
            seen,
            latents.of(split.ids("train")).mean(axis=0),
        )
    folder = encoder_folder(subject, model)
    save_encoder(encoder, model, folder, about)
    write_curve(curve_path(subject, model), result.history)
    write_json(training_path(subject, model), training_metrics(result))
    write_text(validation_path(subject, model), validation_table(scores, split))
    save_seeds(others, folder)
    remove_checkpoints(checkpoint)
    # Imported last: MLflow takes seconds to load, and nothing above may wait for it or fail with
    # it.
    from fmri2img.tracking.runs import log_encoder

    log_encoder(
        subject, model, is_new=True, live_run=live.close() if live else "", evaluation=False
    )


def _see(
    latents: np.ndarray, about: dict, autoencoder: "FrozenAutoencoder", side: int
) -> np.ndarray:
    """Return the project's latents of the pictures of z, in which encoders of all kinds can be
    compared.
    """
    from fmri2img.features.vae_latents import encode_images
    from fmri2img.generation.pictures import latents_of_pictures
    from fmri2img.pretrained.autoencoder import load_autoencoder_of

    encode = partial(encode_images, autoencoder=autoencoder, batch_size=_BATCH)
    return latents_of_pictures(latents, load_autoencoder_of(about), encode, side)


def _load_decoder(params: AutoencoderParams, latents: Latents) -> "FrozenAutoencoder":
    from fmri2img.pretrained.autoencoder import (
        check_same_autoencoder,
        load_autoencoder,
    )  # takes seconds; only a pixel loss needs it

    return check_same_autoencoder(
        latents.provenance["autoencoder"], load_autoencoder(params.source, params.revision)
    )


if __name__ == "__main__":
    run_stage(main)

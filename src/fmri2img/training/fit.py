"""Training any encoder: finding its weights, validating them and measuring its error."""

import hashlib
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils.memory import should_reduce_batch_size

from fmri2img.models._joint import JointEncoder
from fmri2img.models.base import Encoder, GradientSettings, TrainingTensors
from fmri2img.project.exceptions import MismatchError, UnavailableError
from fmri2img.provenance.stage_fingerprints import code_digest
from fmri2img.training.checkpoints import Checkpoint, EpochRecord
from fmri2img.training.data import TrainingResult, TrainingSet, ValidationTensors
from fmri2img.training.loop import Trainer, validate
from fmri2img.training.memory import closed_form, out_of_memory_advice
from fmri2img.training.objectives import Objective, Targets, squared_error
from fmri2img.training.precision import pick_precision
from fmri2img.training.processes import process_state

if TYPE_CHECKING:  # diffusers takes seconds to load, and most trainings do without
    from fmri2img.pretrained.autoencoder import FrozenAutoencoder

logger = logging.getLogger(__name__)
_TRIALS_AT_ONCE = 2000


def fit_encoder(
    kind: type[Encoder],
    settings: Any,
    data: TrainingSet,
    *,
    load_decoder: Callable[[], "FrozenAutoencoder"],
    checkpoint: Path,
    on_epoch: Callable[[EpochRecord], None],
    owner: str = "an encoder",
) -> tuple[Encoder, TrainingResult]:
    """Build an encoder and find its weights.

    Parameters
    ----------
    kind : subclass of Encoder
    settings : Params
        Settings of the encoder.
    data : TrainingSet
    load_decoder : callable
        Loads the frozen autoencoder; called only if the loss needs pictures.
    checkpoint : Path
    on_epoch : callable
        Called with the record of each epoch.
    owner : str
        Subject, model and voxels in words; a checkpoint of another owner is refused.

    Returns
    -------
    encoder : Encoder
    result : TrainingResult

    Raises
    ------
    MismatchError
        If the encoder's output does not have the latents' shape, the checkpoint belongs to another
        encoder, or training diverges.
    UnavailableError
        If the device has too little memory.
    """
    torch.manual_seed(settings.seed)
    channels, height, width = data.train.latents.shape[1:]
    latent_shape = (channels, height, width)
    encoder = kind(data.train.betas.shape[1], latent_shape, settings)
    n_clipped = encoder.normalizer.fit(data.train.betas)
    with torch.no_grad():
        given = tuple(encoder.eval()(data.validation.image_betas[:1]).shape[1:])
    if given != latent_shape:
        raise MismatchError(
            f"the encoder gives latents of shape {given}, expected {latent_shape} as in the "
            "latents file; "
            f"choose its settings or create_examples.image_size to match"
        )
    if isinstance(encoder, JointEncoder):
        history, facts = _join(encoder, data, load_decoder, checkpoint, on_epoch, owner)
    elif encoder.trained_by_gradient:
        place = Checkpoint(checkpoint, owner, _fingerprint(encoder, settings, data))
        history, facts = _train(encoder, settings, data, load_decoder, place, on_epoch)
    else:
        history, facts = _solve(encoder, data)
        on_epoch(history[0])
    if encoder.normalizer.clip_mads:
        facts |= {"clipped_betas": float(n_clipped)}
    best = min(history, key=lambda record: record.validation_loss)
    encoder = encoder.cpu().eval()
    if name := encoder.not_finite():
        raise MismatchError(
            f"{owner}, seed {settings.seed}: {name} of the trained encoder holds NaN or infinity; "
            "nothing was replaced; check its settings in params.yaml, such as penalties and "
            "learning rate"
        )
    _measure_spread(encoder, data.validation)
    return encoder, TrainingResult(
        history, facts, best.validation_loss, best.validation_pattern_correlation
    )


def _solve(encoder: Encoder, data: TrainingSet) -> tuple[list[EpochRecord], dict[str, float]]:
    """Find weights in closed form."""
    with closed_form(data.train.betas.shape[1]):
        facts = encoder.solve(data.train)
    return [_only_record(encoder, data)], facts


def _only_record(encoder: Encoder, data: TrainingSet) -> EpochRecord:
    """Return the record of an encoder without epochs."""
    loss, correlation = validate(
        encoder.eval(), data.validation, squared_error(data.validation.latents)
    )
    return EpochRecord(0, _train_loss(encoder, data.train), loss, correlation)


def _join(
    joint: JointEncoder,
    data: TrainingSet,
    load_decoder: Callable[[], "FrozenAutoencoder"],
    checkpoint: Path,
    on_epoch: Callable[[EpochRecord], None],
    owner: str,
) -> tuple[list[EpochRecord], dict[str, float]]:
    """Train the encoders of a joint one after the other, then weigh them."""
    facts: dict[str, float] = {}
    for name, kind in joint.parts.items():
        joint.members[name], result = fit_encoder(
            kind,
            getattr(joint.settings, name),
            data,
            load_decoder=load_decoder,
            checkpoint=_beside(checkpoint, name),
            on_epoch=on_epoch,
            owner=f"{owner}, {name}",
        )
        facts |= {f"{name}_{fact}": value for fact, value in result.facts.items()}
    validation = data.validation
    facts |= joint.weigh(validation.image_betas, validation.repetitions, validation.latents)
    record = _only_record(joint, data)
    on_epoch(record)
    return [record], facts


def _train(
    encoder: Encoder,
    settings: GradientSettings,
    data: TrainingSet,
    load_decoder: Callable[[], "FrozenAutoencoder"],
    checkpoint: Checkpoint,
    on_epoch: Callable[[EpochRecord], None],
) -> tuple[list[EpochRecord], dict[str, float]]:
    """Train by gradient descent."""
    accelerator = _accelerator(settings)
    if settings.batch_size > (
        n_samples := len(
            data.train.betas if settings.repetitions == "single" else data.train.latents
        )
    ):
        logger.info(
            "batch_size %d is more than the %d samples: each epoch is one step",
            settings.batch_size,
            n_samples,
        )
    device = accelerator.device
    try:
        autoencoder = None
        if settings.loss != "latents":
            autoencoder = load_decoder().ready_to_train(
                device, pick_precision(settings, device), settings.compile
            )
        objectives = _objectives(settings, data, autoencoder, device)
        trainer = Trainer(
            encoder,
            data.train,
            data.validation,
            objectives,
            settings,
            checkpoint=checkpoint,
            accelerator=accelerator,
        )
        if autoencoder is not None and settings.decoder_batch == "auto":
            # With data, weights and all that training keeps already on the device.
            decoder_batch = objectives[0].find_decoder_batch(
                accelerator, -(-settings.batch_size // accelerator.num_processes)
            )
            for objective in objectives:
                objective.decoder_batch = decoder_batch
        history = trainer.run(on_epoch)
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        raise UnavailableError(out_of_memory_advice(accelerator.device)) from error
    if not all(math.isfinite(record.validation_loss) for record in history):
        raise MismatchError(
            f"training diverged: the validation loss is {history[-1].validation_loss} after epoch "
            f"{history[-1].epoch}; "
            f"lower learning_rate, now {settings.learning_rate}, in params.yaml"
        )
    best = min(history, key=lambda record: record.validation_loss)
    return history, {"epochs": float(len(history)), "best_epoch": float(best.epoch)}


def fit_other_seeds(
    kind: type[Encoder],
    settings: Any,
    data: TrainingSet,
    *,
    load_decoder: Callable[[], "FrozenAutoencoder"],
    checkpoint: Path,
    on_epoch: Callable[[EpochRecord], None],
    owner: str = "an encoder",
) -> list[Encoder]:
    """Train the same encoder from the following seeds, ``settings.n_seeds`` in all with the main
    one.

    They show how much scores vary with the seed; none of them is selected.

    Parameters
    ----------
    kind, settings, data, load_decoder, on_epoch, owner
        As for `fit_encoder`.
    checkpoint : Path
        Checkpoint of the main encoder; those of the others are stored next to it.

    Returns
    -------
    list of Encoder
        Empty for an encoder in closed form.
    """
    seeds = (
        range(settings.seed + 1, settings.seed + settings.n_seeds)
        if kind.trained_by_gradient
        else ()
    )
    encoders = []
    for seed in seeds:
        seed_checkpoint = _beside(checkpoint, f"seed{seed}")
        again = settings.model_copy(update={"seed": seed})
        encoders.append(
            fit_encoder(
                kind,
                again,
                data,
                load_decoder=load_decoder,
                checkpoint=seed_checkpoint,
                on_epoch=on_epoch,
                owner=owner,
            )[0]
        )
    return encoders


def _beside(checkpoint: Path, part: str) -> Path:
    """Return the checkpoint of another seed, or of an encoder that is part of this one."""
    return checkpoint.with_name(f"{checkpoint.stem}-{part}{checkpoint.suffix}")


def remove_checkpoints(checkpoint: Path) -> None:
    """Delete the checkpoints of an encoder, of its other seeds and of its parts: their results are
    saved.
    """
    for path in (checkpoint, *checkpoint.parent.glob(_beside(checkpoint, "*").name)):
        path.unlink(missing_ok=True)


@torch.no_grad()
def _train_loss(encoder: Encoder, train: TrainingTensors) -> float:
    """Return the mean squared error over single training trials, in parts: the latents of 30 000
    trials take gigabytes.
    """
    rows = torch.arange(len(train.betas)).split(_TRIALS_AT_ONCE)
    errors = [
        (
            (
                encoder(train.betas[part], torch.ones(len(part)))
                - train.latents[train.trial_images[part]]
            )
            ** 2
        ).sum(dtype=torch.float64)
        for part in rows
    ]
    return float(torch.stack(errors).sum()) / (len(train.betas) * train.latents[0].numel())


@torch.no_grad()
def _measure_spread(encoder: Encoder, validation: ValidationTensors) -> None:
    """Set the encoder's ``latent_sd`` from its errors on validation images, unless `solve` has
    set it.
    """
    if encoder.states_its_spread:
        return
    errors = encoder(validation.image_betas, validation.repetitions) - validation.latents
    encoder.latent_sd.copy_((errors**2).mean(0).sqrt())


def _accelerator(settings: GradientSettings) -> Accelerator:
    """Return the device, the processes and the mixed precision of a training."""
    device = process_state().device
    mixed = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}
    on_gpu = device.type == "cuda"
    return Accelerator(
        cpu=not on_gpu, mixed_precision=mixed[pick_precision(settings, device)] if on_gpu else "no"
    )


def _objectives(
    settings: GradientSettings,
    data: TrainingSet,
    autoencoder: "FrozenAutoencoder | None",
    device: torch.device,
) -> tuple[Objective, Objective]:
    """Return the loss over training images and over validation images."""
    parts = (
        (data.train.latents, data.train_images),
        (data.validation.latents, data.validation_images),
    )
    objectives = []
    for latents, images in parts:
        pictures = torch.from_numpy(images if autoencoder else images[:0]).permute(0, 3, 1, 2)
        objectives.append(
            Objective(
                settings,
                Targets(latents, pictures, data.validation.train_mean_latent).to(device),
                autoencoder,
            )
        )
        if settings.decoder_batch != "auto":
            objectives[-1].decoder_batch = settings.decoder_batch
    return objectives[0], objectives[1]


def _fingerprint(encoder: Encoder, settings: Any, data: TrainingSet) -> str:
    digest = hashlib.sha256(json.dumps(settings.model_dump(), sort_keys=True).encode())
    # Weights must not come partly from one version of the code and partly from another.
    digest.update(
        code_digest(
            "fmri2img.training.fit.fit_encoder", f"{type(encoder).__module__}.Model"
        ).encode()
    )
    digest.update(
        json.dumps(
            [(name, list(value.shape)) for name, value in encoder.state_dict().items()]
        ).encode()
    )
    for betas in data.train.betas.split(_TRIALS_AT_ONCE):
        digest.update(np.ascontiguousarray(betas).data)
    for tensor in (
        data.train.trial_images,
        data.train.latents,
        data.validation.image_betas,
        data.validation.latents,
    ):
        digest.update(np.ascontiguousarray(tensor).data)
    if settings.loss != "latents":
        digest.update(np.ascontiguousarray(data.train_images).data)
    return digest.hexdigest()

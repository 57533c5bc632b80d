"""Training any encoder: what it may see, how its weights are found, what is known of it afterwards."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fmri2img.containers import Examples, Latents
from fmri2img.exceptions import MismatchError
from fmri2img.models.base import Encoder, TrainingTensors
from fmri2img.responses.repetitions import average_repetitions
from fmri2img.responses.splits import Split
from fmri2img.training.loop import EpochRecord, LoopSettings, ValidationTensors, fit_by_gradient, validate
from fmri2img.training.objectives import Objective, latent_objective, pixel_objective, weighted_sum

if TYPE_CHECKING:  # diffusers takes seconds to load, and most trainings do without
    from fmri2img.pretrained.autoencoder import FrozenAutoencoder


@dataclass(frozen=True)
class TrainingSet:
    """All that training may see; test images and their trials are left out when it is built.

    Attributes
    ----------
    train : TrainingTensors
    validation : ValidationTensors
    train_images, validation_images : ndarray, shape (n, side, side, 3), uint8
    """

    train: TrainingTensors
    validation: ValidationTensors
    train_images: np.ndarray
    validation_images: np.ndarray


@dataclass(frozen=True)
class TrainingResult:
    """What training left behind, beside the weights.

    Attributes
    ----------
    history : list of EpochRecord
    facts : dict of str to float
        What the encoder's solver or the loop found worth telling.
    validation_loss, validation_pattern_correlation : float
        Of the weights that were kept.
    """

    history: list[EpochRecord]
    facts: dict[str, float]
    validation_loss: float
    validation_pattern_correlation: float


def make_training_set(examples: Examples, split: Split, latents: Latents) -> TrainingSet:
    """Collect the trials of training images and the averages of validation images."""
    train_ids, validation_ids = split.ids("train"), split.ids("validation")
    trials = examples.trials_of(train_ids)
    betas, trial_ids = examples.percent(trials), examples.trial_image_ids[trials]
    train_latents = torch.from_numpy(latents.of(train_ids))
    train = TrainingTensors(
        betas=torch.from_numpy(betas),
        trial_images=torch.from_numpy(np.searchsorted(train_ids, trial_ids)),
        image_betas=torch.from_numpy(average_repetitions(betas, trial_ids, train_ids)),
        latents=train_latents,
    )
    validation = ValidationTensors(
        image_betas=torch.from_numpy(averaged_betas(examples, validation_ids)),
        latents=torch.from_numpy(latents.of(validation_ids)),
        train_mean_latent=train_latents.mean(0),
    )
    images = (examples.images[examples.rows_of(ids)] for ids in (train_ids, validation_ids))
    return TrainingSet(train, validation, *images)


def averaged_betas(examples: Examples, image_ids: np.ndarray) -> np.ndarray:
    """Return percent signal change averaged over the repetitions of each image, shape (n_images, n_voxels), float32."""
    trials = examples.trials_of(image_ids)
    return average_repetitions(examples.percent(trials), examples.trial_image_ids[trials], image_ids)


def fit_encoder(
    kind: type[Encoder],
    settings: Any,
    data: TrainingSet,
    *,
    load_decoder: Callable[[], "FrozenAutoencoder"],
    checkpoint: Path,
    on_epoch: Callable[[EpochRecord], None],
) -> tuple[Encoder, TrainingResult]:
    """Build an encoder and find its weights.

    Parameters
    ----------
    kind : subclass of Encoder
    settings : Params
        The encoder's own.
    data : TrainingSet
    load_decoder : callable
        Gives the frozen autoencoder; called only if the loss needs pictures.
    checkpoint : Path
    on_epoch : callable
        Told of each epoch.

    Returns
    -------
    encoder : Encoder
    result : TrainingResult

    Raises
    ------
    MismatchError
        If the encoder's output does not have the latents' shape.
    """
    torch.manual_seed(settings.seed)
    channels, height, width = data.train.latents.shape[1:]
    latent_shape = (channels, height, width)
    encoder = kind(data.train.betas.shape[1], latent_shape, settings)
    encoder.normalizer.fit(data.train.betas)
    with torch.no_grad():
        given = tuple(encoder.eval()(data.validation.image_betas[:1]).shape[1:])
    if given != latent_shape:
        raise MismatchError(
            f"the encoder gives latents of shape {given}, expected {latent_shape} as in the latents file; "
            f"choose its settings or create_examples.image_size to match"
        )
    to_validation = latent_objective(data.validation.latents)
    if not encoder.trained_by_gradient:
        facts = encoder.solve(data.train)
        loss, correlation = validate(encoder.eval(), data.validation, to_validation)
        train_loss = _train_loss(encoder, data.train)
        history = [EpochRecord(0, train_loss, loss, correlation)]
        on_epoch(history[0])
        return encoder, TrainingResult(history, facts, loss, correlation)
    objectives = _objectives(settings, data, load_decoder)
    loop = LoopSettings(**{name: getattr(settings, name) for name in LoopSettings.__dataclass_fields__})
    history = fit_by_gradient(
        encoder,
        data.train,
        data.validation,
        objectives,
        loop,
        checkpoint=checkpoint,
        fingerprint=_fingerprint(encoder, settings, data),
        on_epoch=on_epoch,
    )
    if not all(math.isfinite(record.validation_loss) for record in history):
        raise MismatchError(
            f"training diverged: the validation loss is {history[-1].validation_loss} after epoch {history[-1].epoch}; "
            f"lower learning_rate, now {settings.learning_rate}, in params.yaml"
        )
    best = min(history, key=lambda record: record.validation_loss)
    facts = {"epochs": float(len(history)), "best_epoch": float(best.epoch)}
    return encoder.cpu().eval(), TrainingResult(history, facts, best.validation_loss, best.validation_pattern_correlation)


def fit_other_seeds(
    kind: type[Encoder],
    settings: Any,
    data: TrainingSet,
    *,
    load_decoder: Callable[[], "FrozenAutoencoder"],
    checkpoint: Path,
    on_epoch: Callable[[EpochRecord], None],
) -> list[Encoder]:
    """Train the same encoder from the following seeds, ``settings.n_seeds`` in all with the one that counts.

    How much scores vary with the seed is a fact about training; nothing is chosen among them.

    Parameters
    ----------
    kind, settings, data, load_decoder, on_epoch
        As `fit_encoder` takes them.
    checkpoint : Path
        Of the encoder that counts; those of the others stand beside it.

    Returns
    -------
    list of Encoder
        Empty for an encoder in closed form.
    """
    seeds = range(settings.seed + 1, settings.seed + settings.n_seeds) if kind.trained_by_gradient else ()
    found = []
    for seed in seeds:
        own = checkpoint.with_name(f"{checkpoint.stem}-seed{seed}{checkpoint.suffix}")
        again = settings.model_copy(update={"seed": seed})
        found.append(fit_encoder(kind, again, data, load_decoder=load_decoder, checkpoint=own, on_epoch=on_epoch)[0])
    return found


@torch.no_grad()
def _train_loss(encoder: Encoder, train: TrainingTensors) -> float:
    return torch.nn.functional.mse_loss(encoder(train.betas), train.latents[train.trial_images]).item()


def _objectives(settings: Any, data: TrainingSet, load_decoder: Callable[[], "FrozenAutoencoder"]) -> tuple[Objective, Objective]:
    """Return the loss over training images and over validation images."""
    latents = [latent_objective(part.latents) for part in (data.train, data.validation)]
    if settings.loss == "latents":
        return latents[0], latents[1]
    decoder = load_decoder()
    images = [torch.from_numpy(part).permute(0, 3, 1, 2) for part in (data.train_images, data.validation_images)]
    pixels = [pixel_objective(part, decoder) for part in images]
    if settings.loss == "pixels":
        return pixels[0], pixels[1]
    mixed = [weighted_sum([(1.0, first), (settings.pixel_weight, second)]) for first, second in zip(latents, pixels, strict=True)]
    return mixed[0], mixed[1]


def _fingerprint(encoder: Encoder, settings: Any, data: TrainingSet) -> str:
    digest = hashlib.sha256(json.dumps(settings.model_dump(), sort_keys=True).encode())
    digest.update(json.dumps([(name, list(value.shape)) for name, value in encoder.state_dict().items()]).encode())
    for tensor in (data.train.betas, data.train.trial_images, data.train.latents, data.validation.image_betas, data.validation.latents):
        digest.update(tensor.numpy().tobytes())
    if settings.loss != "latents":
        digest.update(data.train_images.tobytes())
    return digest.hexdigest()

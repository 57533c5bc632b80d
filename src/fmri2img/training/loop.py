"""Gradient training with validation at each epoch, early stopping, and a checkpoint that survives a kill."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save

from fmri2img.files import write_bytes
from fmri2img.models.base import Encoder, TrainingTensors
from fmri2img.training.objectives import Objective

_VALIDATION_BATCH = 64
_STORE_SECONDS = 20  # between checkpoints, which hold four times the weights: written after each short epoch they took half the time


@dataclass
class EpochRecord:
    """Scores of one epoch; for an encoder solved in closed form there is one record."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_pattern_correlation: float


@dataclass(frozen=True)
class ValidationTensors:
    """Training images that are set aside to choose the checkpoint.

    Attributes
    ----------
    image_betas : Tensor, shape (n_images, n_voxels)
        Averages over repetitions.
    latents : Tensor, shape (n_images, 4, h, w)
    train_mean_latent : Tensor, shape (4, h, w)
    """

    image_betas: torch.Tensor
    latents: torch.Tensor
    train_mean_latent: torch.Tensor


@dataclass(frozen=True)
class LoopSettings:
    """Settings of the optimiser and of stopping."""

    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int


@dataclass
class TrainingState:
    """Progress so far; with the tensors, all that a resumed run needs."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    history: list[EpochRecord] = field(default_factory=list)

    def wants_more(self, settings: LoopSettings) -> bool:
        """Return whether there are epochs left and the validation loss has fallen lately."""
        return self.epoch < settings.epochs and self.epoch - self.best_epoch < settings.patience


def fit_by_gradient(
    encoder: Encoder,
    data: TrainingTensors,
    validation: ValidationTensors,
    objectives: tuple[Objective, Objective],
    settings: LoopSettings,
    *,
    checkpoint: Path,
    fingerprint: str,
    on_epoch: Callable[[EpochRecord], None],
) -> list[EpochRecord]:
    """Train an encoder on single trials; leave the weights of the best epoch in it.

    Parameters
    ----------
    encoder : Encoder
        Its normaliser is already fitted.
    data : TrainingTensors
    validation : ValidationTensors
    objectives : tuple of Objective
        Over training images and over validation images.
    settings : LoopSettings
    checkpoint : Path
        Written after epochs, at most every 20 s, and at the end; a run that finds one with the same fingerprint goes on from it.
    fingerprint : str
        Of data and settings.
    on_epoch : callable
        Told of each epoch, those of an earlier run included.

    Returns
    -------
    list of EpochRecord
    """
    accelerator = Accelerator()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    network, optimizer = accelerator.prepare(encoder, optimizer)
    state, best = _resume(checkpoint, fingerprint, encoder, optimizer)
    for record in state.history:
        on_epoch(record)
    best = best or _weights(encoder)
    stored = time.monotonic()
    while state.wants_more(settings):
        train_loss = _train_epoch(network, data, objectives[0], optimizer, accelerator, settings, state.epoch)
        loss, correlation = validate(encoder, validation, objectives[1])
        state.epoch += 1
        state.history.append(EpochRecord(state.epoch, train_loss, loss, correlation))
        if loss < state.best_loss:
            state.best_loss, state.best_epoch, best = loss, state.epoch, _weights(encoder)
        if accelerator.is_main_process and (time.monotonic() - stored > _STORE_SECONDS or not state.wants_more(settings)):
            stored = time.monotonic()
            _store(checkpoint, fingerprint, state, encoder, optimizer, best)
        on_epoch(state.history[-1])
    encoder.load_state_dict(best)
    return state.history


def _train_epoch(
    network: torch.nn.Module,
    data: TrainingTensors,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    settings: LoopSettings,
    epoch: int,
) -> float:
    network.train()
    # The seed holds the epoch: a resumed run draws what an uninterrupted one would have drawn.
    torch.manual_seed(settings.seed * 100_003 + epoch)
    order = torch.randperm(len(data.betas))
    total = 0.0
    for batch in order.split(settings.batch_size):
        # Every process must have as many rows as the others, or none.
        whole = len(batch) - len(batch) % accelerator.num_processes
        rows = batch[:whole][accelerator.process_index :: accelerator.num_processes]
        if not len(rows):
            continue
        betas = data.betas[rows].to(accelerator.device)
        loss = objective(network(betas), data.trial_images[rows])
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        optimizer.step()
        total += loss.item() * len(rows)
    return total * accelerator.num_processes / len(order)


@torch.no_grad()
def validate(encoder: Encoder, validation: ValidationTensors, objective: Objective) -> tuple[float, float]:
    """Return the objective and the mean centred pattern correlation on validation images."""
    encoder.eval()
    device = next(encoder.buffers()).device
    predicted = encoder(validation.image_betas.to(device))
    # In batches: the decoder's activations of a thousand pictures would take many gigabytes.
    parts = torch.arange(len(predicted)).split(_VALIDATION_BATCH)
    loss = torch.stack([len(rows) * objective(predicted[rows], rows) for rows in parts]).sum() / len(predicted)
    centre = validation.train_mean_latent.flatten()
    truth = validation.latents.flatten(1) - centre
    centred = predicted.cpu().flatten(1) - centre
    correlation = torch.nn.functional.cosine_similarity(truth - truth.mean(1, keepdim=True), centred - centred.mean(1, keepdim=True))
    return loss.item(), correlation.mean().item()


def _weights(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in encoder.state_dict().items()}


def _store(
    checkpoint: Path, fingerprint: str, state: TrainingState, encoder: Encoder, optimizer: torch.optim.Optimizer, best: dict
) -> None:
    tensors = {f"encoder.{name}": value for name, value in _weights(encoder).items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value.detach().cpu().clone() for name, value in moments.items()}
    metadata = json.dumps({"fingerprint": fingerprint, "state": asdict(state)})
    write_bytes(checkpoint, save(tensors, metadata={"training": metadata}))


def _resume(
    checkpoint: Path, fingerprint: str, encoder: Encoder, optimizer: torch.optim.Optimizer
) -> tuple[TrainingState, dict[str, torch.Tensor] | None]:
    if not checkpoint.exists():
        return TrainingState(), None
    with safe_open(checkpoint, framework="pt") as file:
        metadata = json.loads(file.metadata()["training"])
        if metadata["fingerprint"] != fingerprint:  # of other data or settings
            return TrainingState(), None
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    parts: dict[str, dict] = {"encoder": {}, "best": {}, "optimizer": {}}
    for name, value in tensors.items():
        part, rest = name.split(".", 1)
        parts[part][rest] = value
    encoder.load_state_dict(parts["encoder"])
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in parts["optimizer"].items():
        index, moment = name.split(".", 1)
        moments.setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    values = metadata["state"]
    history = [EpochRecord(**record) for record in values.pop("history")]
    return TrainingState(**values, history=history), parts["best"]

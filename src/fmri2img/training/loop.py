"""Gradient training with validation at each epoch, early stopping, and checkpoints that survive a
kill.

The loop runs in one process or in several (``accelerate launch``), each of which takes its part of
every step.
"""

import logging
import time
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import nn

from fmri2img.models.base import Encoder, GradientSettings, TrainingTensors
from fmri2img.project.exceptions import MismatchError
from fmri2img.training.batches import Batch, TrialBatches
from fmri2img.training.checkpoints import Checkpoint, EpochRecord, Progress
from fmri2img.training.data import ValidationTensors
from fmri2img.training.objectives import Objective

logger = logging.getLogger(__name__)
# Between checkpoints, which are several times as large as the weights: writing one after each short
# epoch took half the time.
STORE_SECONDS = 20.0
_VALIDATION_BATCH = 256


class _Trained(nn.Module):
    """What all processes keep equal: the encoder, with z-scoring and averaging of its input."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self, betas: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Z-score the repetitions (n, r, n_voxels) of each sample, average them with ``weights``
        (n, r), and predict.
        """
        voxels = torch.einsum("nrv,nr->nv", self.encoder.normalizer(betas), weights)
        latents, embeddings = self.encoder.training_outputs(voxels)
        return latents.float(), None if embeddings is None else embeddings.float()


class Trainer:
    """One training, from its first step or from a checkpoint to the weights of the best epoch.

    Parameters
    ----------
    encoder : Encoder
        Its normaliser is already fitted. It ends with the weights of the best epoch, on the device.
    data : TrainingTensors
    validation : ValidationTensors
    objectives : tuple of Objective
        Losses over training images and over validation images.
    settings : GradientSettings
    checkpoint : Checkpoint
    accelerator : Accelerator
    """

    def __init__(
        self,
        encoder: Encoder,
        data: TrainingTensors,
        validation: ValidationTensors,
        objectives: tuple[Objective, Objective],
        settings: GradientSettings,
        *,
        checkpoint: Checkpoint,
        accelerator: Accelerator,
    ) -> None:
        self.validation, self.objectives, self.settings = validation, objectives, settings
        self.checkpoint, self.accelerator = checkpoint, accelerator
        self.batches = TrialBatches(
            data,
            repetitions=settings.repetitions,
            batch_size=settings.batch_size,
            seed=settings.seed,
            device=accelerator.device,
            process=accelerator.process_index,
            n_processes=accelerator.num_processes,
        )
        optimizer = torch.optim.AdamW(
            encoder.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.encoder = encoder
        self.network, self.optimizer = accelerator.prepare(_Trained(encoder), optimizer)
        self.progress = Progress()
        self.average = _copy(encoder) if settings.ema_decay else {}
        self.best: dict[str, torch.Tensor] = {}
        self.stored = time.monotonic()
        # Sum over samples; reading it from the device at each step would make it wait.
        self.loss_sum = torch.zeros((), device=accelerator.device)

    def run(self, on_epoch: Callable[[EpochRecord], None]) -> list[EpochRecord]:
        """Train; ``on_epoch`` is called for each epoch, including those of an earlier run."""
        self._resume()
        for record in self.progress.history:
            on_epoch(record)
        while self._wants_more():
            self._run_epoch()
            self._validate_epoch()
            if not self._wants_more() or time.monotonic() - self.stored > STORE_SECONDS:
                self._store()
            on_epoch(self.progress.history[-1])
        self.encoder.load_state_dict(self.best)
        return self.progress.history

    def _wants_more(self) -> bool:
        """Return whether there are epochs left and the validation loss has fallen lately."""
        progress = self.progress
        return (
            progress.epoch < self.settings.epochs
            and progress.epoch - progress.best_epoch < self.settings.patience
        )

    def _run_epoch(self) -> None:
        self.network.train()
        progress = self.progress
        for batch in self.batches.epoch(progress.epoch, progress.step):
            self.batches.seed_step(progress.epoch, progress.step)
            self.loss_sum += batch.n_samples * self._step(batch)  # the last step may have fewer
            progress.step += 1
            progress.total_steps += 1
            if time.monotonic() - self.stored > STORE_SECONDS and progress.step < len(self.batches):
                self._store()

    def _step(self, batch: Batch) -> torch.Tensor:
        """Take one step; returns the mean loss of its samples over all processes."""
        settings, rate = (
            self.settings,
            learning_rate_factor(self.progress.total_steps, self.settings, len(self.batches)),
        )
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate
        with self.accelerator.autocast():
            outputs = self.network(batch.betas, batch.weights)
        loss = self.objectives[0].backward(
            self.encoder,
            outputs,
            batch.rows,
            share=batch.share,
            accelerator=self.accelerator,
            seed=batch.seed,
        )
        if settings.max_gradient_norm:
            self.accelerator.clip_grad_norm_(self.encoder.parameters(), settings.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if settings.ema_decay:
            self._follow()
        return self.accelerator.reduce(loss * batch.share, "mean")

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running average of weights towards the current ones; at first faster, so that it
        forgets the initial ones.
        """
        steps = self.progress.total_steps + 1
        decay = min(self.settings.ema_decay, steps / (steps + 10))
        for name, value in self.encoder.state_dict().items():
            self.average[name] = self.average[name].to(value.device)
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:  # such as a counter
                self.average[name].copy_(value)

    def _validate_epoch(self) -> None:
        progress = self.progress
        train_loss = float(self.loss_sum) / self.batches.n_samples
        self.loss_sum.zero_()
        current = _copy(self.encoder) if self.average else {}
        if self.average:
            self.encoder.load_state_dict(self.average)
        loss, correlation = validate(
            self.encoder, self.validation, self.objectives[1].evaluate, self.accelerator
        )
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.history.append(EpochRecord(progress.epoch, train_loss, loss, correlation))
        if loss < progress.best_loss or not self.best:
            progress.best_loss, progress.best_epoch, self.best = (
                loss,
                progress.epoch,
                _copy(self.encoder),
            )
        if current:
            self.encoder.load_state_dict(current)

    def _store(self) -> None:
        self.stored = time.monotonic()
        self.progress.loss_sum = float(self.loss_sum)
        if not self.accelerator.is_main_process:
            return
        moments = {
            f"{index}.{name}": value
            for index, named in self.optimizer.state_dict()["state"].items()
            for name, value in named.items()
        }
        parts = {
            "encoder": self.encoder.state_dict(),
            "best": self.best,
            "average": self.average,
            "optimizer": moments,
        }
        scaler = self.accelerator.scaler
        self.checkpoint.store(
            self.progress, parts, {"scaler": scaler.state_dict() if scaler is not None else {}}
        )

    def _resume(self) -> None:
        stored = self.checkpoint.resume()
        steps = torch.tensor(
            [stored[0].total_steps if stored else 0], device=self.accelerator.device
        )
        everyone = self.accelerator.gather(steps)  # also: none may write before all have read
        if int(everyone.min()) != int(everyone.max()):
            raise MismatchError(
                f"{self.checkpoint.path}: the processes found checkpoints of different steps, "
                f"{everyone.tolist()}; "
                "put the project's folder where all nodes see it, or delete the file on each of "
                "them"
            )
        if stored is None:
            return
        self.progress, parts, extra = stored
        self.loss_sum += self.progress.loss_sum
        self.encoder.load_state_dict(parts["encoder"])
        self.best = parts.get("best", {})
        self.average = {
            name: value.to(self.accelerator.device)
            for name, value in parts.get("average", {}).items()
        }
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in parts.get("optimizer", {}).items():
            index, _, moment = name.partition(".")
            moments.setdefault(int(index), {})[moment] = value
        self.optimizer.load_state_dict(
            {"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]}
        )
        if self.accelerator.scaler is not None and extra["scaler"]:
            self.accelerator.scaler.load_state_dict(extra["scaler"])
        logger.info(
            "resuming from %s: epoch %d, step %d",
            self.checkpoint.path,
            self.progress.epoch + 1,
            self.progress.step,
        )


def learning_rate_factor(step: int, settings: GradientSettings, steps_per_epoch: int) -> float:
    """Return the factor of the learning rate at a step, counted from 0 over all epochs.

    ``one_cycle`` rises from a 25th over the first 30 % and falls to 0, both by a half cosine (Smith
    & Topin 2018, arXiv:1708.07120).
    """
    total = settings.epochs * steps_per_epoch
    if settings.schedule == "one_cycle":
        peak = max(1, round(0.3 * total))
        if step < peak:
            return 1 / 25 + (1 - 1 / 25) * _half_cosine(1 - step / peak)
        return _half_cosine((step - peak) / max(1, total - peak))
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    if settings.schedule == "constant":
        return warm
    return warm * _half_cosine(
        max(0, step - settings.warmup_steps) / max(1, total - settings.warmup_steps)
    )


def _half_cosine(share: float) -> float:
    """Fall from 1 at 0 to 0 at 1."""
    return float((1 + torch.cos(torch.tensor(torch.pi * share))) / 2)


@torch.no_grad()
def validate(
    encoder: Encoder,
    validation: ValidationTensors,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    accelerator: Accelerator | None = None,
) -> tuple[float, float]:
    """Return a loss and the mean centred pattern correlation on validation images; each process
    scores its part.

    Parameters
    ----------
    encoder : Encoder
    validation : ValidationTensors
    loss_of : callable
        Takes predicted latents (n, 4, h, w) and the rows of their images; returns their mean loss.
    accelerator : Accelerator, optional
    """
    encoder.eval()
    device = encoder.normalizer.mean.device
    process, n_processes = (
        (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    )
    n_images = len(validation.latents)
    sums = torch.zeros(2, dtype=torch.float64)
    mine = torch.arange(n_images)[process::n_processes]
    for rows in mine.split(_VALIDATION_BATCH) if len(mine) else ():
        predicted = encoder(validation.image_betas[rows].to(device), validation.repetitions[rows])
        correlations = latent_correlations(
            validation.latents[rows], predicted.cpu(), validation.train_mean_latent
        )
        sums += torch.stack(
            [len(rows) * loss_of(predicted, rows).cpu().double(), correlations.double().sum()]
        )
    if accelerator is not None and n_processes > 1:
        sums = accelerator.reduce(sums.float().to(device), "sum").cpu()
    loss, correlation = (sums / n_images).tolist()
    return loss, correlation


@torch.no_grad()
def predict_validation(encoder: Encoder, validation: ValidationTensors) -> torch.Tensor:
    """Return the predicted latents of validation images, shape (n_images, 4, h, w)."""
    predicted: torch.Tensor = encoder.eval()(validation.image_betas, validation.repetitions)
    return predicted


@torch.no_grad()
def validation_scores(encoder: Encoder, validation: ValidationTensors) -> torch.Tensor:
    """Return the centred pattern correlation of each validation image, shape (n_images,)."""
    return latent_correlations(
        validation.latents, predict_validation(encoder, validation), validation.train_mean_latent
    )


def latent_correlations(
    truth: torch.Tensor, predicted: torch.Tensor, centre: torch.Tensor
) -> torch.Tensor:
    """Return the correlation over latent numbers, shape (n,), after subtracting ``centre``."""
    wanted, ours = ((latents - centre).flatten(1) for latents in (truth, predicted))
    return nn.functional.cosine_similarity(
        wanted - wanted.mean(1, keepdim=True), ours - ours.mean(1, keepdim=True)
    )


def _copy(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in encoder.state_dict().items()}

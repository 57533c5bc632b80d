"""Which trials make up each training step, and how they reach the device."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import torch

from fmri2img.models.base import TrainingTensors
from fmri2img.training.memory import fits

Repetitions = Literal["single", "mean", "mixup"]
# A random weighted mean, the mean, or a single trial: shares of MindEye's low-level model
# (metrics-protocol, Scotti et al. 2023).
_MIXUP_SHARES = torch.tensor([0.5, 0.3, 0.2])


@dataclass(frozen=True)
class Batch:
    """The part of one training step that belongs to this process.

    Attributes
    ----------
    betas : Tensor, shape (n, n_repetitions, n_voxels)
        Percent signal change, on the device; NaN where invalid.
    weights : Tensor, shape (n, n_repetitions)
        Weights of the mean over trials, which are z-scored first.
    rows : Tensor, shape (n,), int64
        Images, rows of the latents; on the CPU.
    share : float
        Weight of this process's mean loss, so that the mean over processes is that of the whole
        step.
    n_samples : int
        Samples of the whole step, over all processes.
    seed : int
        Seed of what all processes draw alike in this step.
    """

    betas: torch.Tensor
    weights: torch.Tensor
    rows: torch.Tensor
    share: float
    n_samples: int
    seed: int


class TrialBatches:
    """Training data in steps, shuffled again each epoch; an epoch has the same steps whether it is
    run in one go or resumed.

    Data stay on the device if they fit; otherwise the next step is gathered and copied while the
    device computes.

    Parameters
    ----------
    data : TrainingTensors
    repetitions : str
        As in `models.base.GradientSettings`.
    batch_size : int
        Samples per step, over all processes.
    seed : int
    device : device
    process, n_processes : int
        Index of this process, and number of processes.
    """

    def __init__(
        self,
        data: TrainingTensors,
        *,
        repetitions: Repetitions,
        batch_size: int,
        seed: int,
        device: torch.device,
        process: int = 0,
        n_processes: int = 1,
    ) -> None:
        self.repetitions, self.batch_size, self.seed, self.device = (
            repetitions,
            batch_size,
            seed,
            device,
        )
        self.process, self.n_processes = process, n_processes
        self.trial_images = data.trial_images
        self.is_resident = fits(data.betas, device)
        self.betas = data.betas.to(device) if self.is_resident else data.betas
        self.trials = _trials_of_images(data.trial_images, len(data.latents))
        self.n_samples = len(data.betas) if repetitions == "single" else len(data.latents)

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        return -(-self.n_samples // self.batch_size)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """Yield the steps of an epoch from the step ``first`` on."""
        order = torch.randperm(
            self.n_samples, generator=torch.Generator().manual_seed(self._seed(number, 0))
        )
        steps = list(order.split(self.batch_size))
        jobs = range(first, len(steps))
        if self.is_resident:
            yield from (self._make(steps[job], number, job) for job in jobs)
            return
        with ThreadPoolExecutor(1) as pool:
            waiting = [pool.submit(self._make, steps[job], number, job) for job in jobs[:1]]
            for job in jobs:
                batch = waiting.pop().result()
                waiting += (
                    [pool.submit(self._make, steps[job + 1], number, job + 1)]
                    if job + 1 < len(steps)
                    else []
                )
                yield batch

    def _seed(self, epoch: int, step: int) -> int:
        # Everything that is drawn follows from seed, epoch and step: a resumed run draws what an
        # uninterrupted one would have drawn.
        return ((self.seed * 100_003 + epoch) * 1_000_003 + step) % (1 << 50)

    def seed_step(self, epoch: int, step: int) -> None:
        """Seed what the network itself draws (dropout, augmentation) in this process."""
        torch.manual_seed(self._seed(epoch, step) * 1009 + self.process)

    def _make(self, samples: torch.Tensor, epoch: int, step: int) -> Batch:
        generator = torch.Generator().manual_seed(self._seed(epoch, step + 1))
        trials, weights, rows = self._choose(samples, generator)
        mine = torch.arange(len(samples))[self.process :: self.n_processes]
        share = len(mine) * self.n_processes / len(samples)
        if not len(mine):  # every process takes part in every step, even without samples
            mine = torch.zeros(1, dtype=torch.long)
        trials, weights, rows = trials[mine], weights[mine], rows[mine]
        betas = self.betas[trials.flatten().to(self.betas.device)].unflatten(
            0, trials.shape
        )  # (n, n_repetitions, n_voxels)
        if not self.is_resident:
            betas = betas.pin_memory().to(self.device, non_blocking=True)
        return Batch(
            betas, weights.to(self.device), rows, share, len(samples), self._seed(epoch, step)
        )

    def _choose(
        self, samples: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return trials (n, r), their weights (n, r) and images (n,) of some samples."""
        if self.repetitions == "single":
            return samples[:, None], torch.ones(len(samples), 1), self.trial_images[samples]
        trials = self.trials[samples]
        known = (trials >= 0).float()
        mean = known / known.sum(1, keepdim=True)
        if self.repetitions == "mean":
            return trials.clamp(min=0), mean, samples
        random = known * torch.rand(known.shape, generator=generator).clamp(min=1e-3)
        one_trial = torch.nn.functional.one_hot(
            torch.multinomial(known, 1, generator=generator).squeeze(1), known.shape[1]
        ).float()
        kinds = torch.multinomial(
            _MIXUP_SHARES, len(samples), replacement=True, generator=generator
        )
        choices = torch.stack([random / random.sum(1, keepdim=True), mean, one_trial])  # (3, n, r)
        return trials.clamp(min=0), choices[kinds, torch.arange(len(samples))], samples


def _trials_of_images(trial_images: torch.Tensor, n_images: int) -> torch.Tensor:
    """Return the trials of each image, shape (n_images, most repetitions), filled up with -1."""
    order = torch.argsort(trial_images, stable=True)
    counts = torch.bincount(trial_images, minlength=n_images)
    table = torch.full((n_images, int(counts.max())), -1)
    within = torch.arange(len(order)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    table[trial_images[order], within] = order
    return table

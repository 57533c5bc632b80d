"""What training minimises: errors of latents, of decoded pictures, or both; and a contrastive term.

The decoder is by far the largest network here. It sees the predictions of a step a few at a time;
the gradient of the latents is collected, and goes through the encoder once. So memory is needed for
a few pictures only, whatever the step's size.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from fmri2img.models.base import Encoder, GradientSettings
from fmri2img.project.exceptions import UnavailableError
from fmri2img.training.memory import fits, out_of_memory_advice

if TYPE_CHECKING:  # diffusers takes seconds to load, and most trainings do without
    from fmri2img.pretrained.autoencoder import FrozenAutoencoder

logger = logging.getLogger(__name__)
# Activations of more pictures exceed the processor's cache (benchmarks/training.py).
_CPU_DECODER_BATCH = 4
_ERRORS: dict[str, Callable[..., torch.Tensor]] = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
}


@dataclass(frozen=True)
class Targets:
    """What predictions are compared with.

    Attributes
    ----------
    latents : Tensor, shape (n_images, 4, h, w)
    images : Tensor, shape (n_images, 3, 8 h, 8 w), uint8
        Empty if the loss is on latents alone.
    centre : Tensor, shape (4, h, w)
        Mean latent of training images, which the contrastive term subtracts.
    """

    latents: torch.Tensor
    images: torch.Tensor
    centre: torch.Tensor

    def to(self, device: torch.device) -> "Targets":
        """Return the same targets, moving those that fit to the device."""
        latents, images, centre = (
            part.to(device) if fits(part, device) else part
            for part in (self.latents, self.images, self.centre)
        )
        return Targets(latents, images, centre)


class Objective:
    """The loss of predicted latents.

    Whole batches go through the terms on latents; a pixel term goes through the decoder
    ``decoder_batch`` pictures at a time.

    Parameters
    ----------
    settings : GradientSettings
    targets : Targets
    autoencoder : FrozenAutoencoder or None
        Needed for a pixel loss; its weights get no gradient, and have the precision from
        `pick_precision`.
    decoder_batch : int
        Pictures decoded at a time.
    """

    def __init__(
        self,
        settings: GradientSettings,
        targets: Targets,
        autoencoder: "FrozenAutoencoder | None",
        *,
        decoder_batch: int = _CPU_DECODER_BATCH,
    ) -> None:
        self.settings, self.targets, self.autoencoder, self.decoder_batch = (
            settings,
            targets,
            autoencoder,
            decoder_batch,
        )
        self.error = _ERRORS[settings.norm]
        self.latent_weight = 0.0 if settings.loss == "pixels" else 1.0
        self.pixel_weight = {"latents": 0.0, "pixels": 1.0, "both": settings.pixel_weight}[
            settings.loss
        ]
        self.augment = _augmentation(settings)

    def backward(
        self,
        encoder: Encoder,
        outputs: tuple[torch.Tensor, torch.Tensor | None],
        rows: torch.Tensor,
        *,
        share: float,
        seed: int,
        accelerator: Any,
    ) -> torch.Tensor:
        """Compute gradients of one step; returns the mean loss of its samples, detached.

        Parameters
        ----------
        encoder : Encoder
            Embeds true latents for the contrastive term.
        outputs : tuple of Tensor
            Predicted latents (n, 4, h, w) and embeddings (n, d) from ``training_outputs``.
        rows : Tensor, shape (n,), int64
            Rows of the images.
        share : float
            Weight of this process's samples (`batches.Batch`).
        seed : int
            Seed of the window, which is the same in all processes.
        accelerator : Accelerator
        """
        predicted, embeddings = outputs
        part = predicted.new_zeros(())
        if self.latent_weight:
            part = part + self.latent_weight * self.error(predicted, self._latents(rows, predicted))
        loss = part.detach()
        if self.pixel_weight:
            gradient, pixel_loss = self._pixel_gradient(predicted, rows, accelerator, seed)
            loss = loss + pixel_loss
            # It has the pixel term's gradient without a second pass through the decoder.
            part = part + (predicted.float() * gradient).sum()
        total = share * part
        if self.settings.contrastive_weight:
            views = self._views(encoder, predicted, embeddings, rows)
            contrast = self.settings.contrastive_weight * self._contrast(
                *views, rows.to(predicted.device), share > 0, accelerator
            )
            loss = loss + contrast.detach()
            # Each process has the loss of all, and the gradient of its own samples; averaging over
            # processes divides it by their number.
            total = total + accelerator.num_processes * contrast
        accelerator.backward(total)
        return loss

    def _views(
        self,
        encoder: Encoder,
        predicted: torch.Tensor,
        embeddings: torch.Tensor | None,
        rows: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return predicted and true vectors for the contrastive term, each of shape (n, d): the
        encoder's embeddings, or centred latents.
        """
        centre = self.targets.centre.to(predicted.device)
        truth = self._latents(rows, predicted) - centre
        if embeddings is None:
            return (predicted - centre).flatten(1), truth.flatten(1)
        return embeddings, encoder.embed_latents(truth)

    def _contrast(
        self,
        ours: torch.Tensor,
        theirs: torch.Tensor,
        images: torch.Tensor,
        counts: bool,
        accelerator: Any,
    ) -> torch.Tensor:
        """Return the contrastive loss over the samples of all processes; those of the others are
        constants here.
        """
        if accelerator.num_processes == 1:
            return contrastive_loss(ours, theirs, images, self.settings.temperature)
        # Images are numbered from 1, so that 0 marks padding; a process without a sample takes part
        # with one that does not count.
        marks = images + 1 if counts else torch.zeros_like(images)
        parts = [
            accelerator.gather(accelerator.pad_across_processes(part.detach().contiguous()))
            for part in (ours, theirs, marks)
        ]
        start = accelerator.process_index * (len(parts[2]) // accelerator.num_processes)
        for whole, mine in zip(parts, (ours, theirs), strict=False):
            whole[start : start + len(mine)] = mine
        real = parts[2] > 0
        return contrastive_loss(
            parts[0][real], parts[1][real], parts[2][real], self.settings.temperature
        )

    def _pixel_gradient(
        self, predicted: torch.Tensor, rows: torch.Tensor, accelerator: Any, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weighted pixel term's gradient in the predicted latents, and the term."""
        leaf = predicted.detach().float().requires_grad_()
        # Unscaled fp16 gradients would vanish.
        scale = accelerator.scaler.get_scale() if accelerator.scaler is not None else 1.0
        total = leaf.new_zeros(())
        window = _draw_window(
            leaf.shape[2:], self.settings.pixel_window, torch.Generator().manual_seed(seed)
        )
        truth = self._pictures(rows, leaf.device)
        if self.augment is not None:
            truth = self.augment(truth)
        for part in torch.arange(len(leaf), device=leaf.device).split(self.decoder_batch):
            term = (
                self.pixel_weight
                * self._pixel_error(leaf[part], truth[part], window)
                * len(part)
                / len(leaf)
            )
            (scale * term).backward()
            total += term.detach()
        assert leaf.grad is not None  # noqa: S101  (for the type checker)
        return leaf.grad / scale, total

    def _pictures(self, rows: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Return true pictures (n, 3, 8 h, 8 w), -1 to 1."""
        return (
            self.targets.images[rows.to(self.targets.images.device)].to(device).float() / 127.5 - 1
        )

    def _pixel_error(
        self, latents: torch.Tensor, truth: torch.Tensor, window: tuple[slice, slice]
    ) -> torch.Tensor:
        assert self.autoencoder is not None  # noqa: S101  (the caller sees to it)
        pixels = [slice(8 * side.start, 8 * side.stop) for side in window]
        decoded = self.autoencoder.decode(latents[:, :, window[0], window[1]])
        return self.error(decoded.float(), truth[:, :, pixels[0], pixels[1]])

    @torch.no_grad()
    def evaluate(self, predicted: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of predicted latents (n, 4, h, w) and of whole pictures, without
        augmentation and without the contrastive term.
        """
        loss = (
            self.latent_weight * self.error(predicted, self._latents(rows, predicted))
            if self.latent_weight
            else predicted.new_zeros(())
        )
        if self.pixel_weight:
            whole = (slice(0, predicted.shape[2]), slice(0, predicted.shape[3]))
            errors = [
                len(part)
                * self._pixel_error(
                    predicted[part].float(),
                    self._pictures(rows[part.to(rows.device)], predicted.device),
                    whole,
                )
                for part in torch.arange(len(predicted), device=predicted.device).split(
                    self.decoder_batch
                )
            ]
            loss = loss + self.pixel_weight * torch.stack(errors).sum() / len(predicted)
        return loss

    def find_decoder_batch(self, accelerator: Any, n_samples: int) -> int:
        """Find how many pictures the device can decode at a time, with gradients; all processes
        use the smallest answer.

        Raises
        ------
        UnavailableError
            If there is not enough memory for one picture.
        """
        if accelerator.device.type == "cpu":
            return min(_CPU_DECODER_BATCH, n_samples)
        from accelerate.utils import find_executable_batch_size

        shrinking = find_executable_batch_size(starting_batch_size=n_samples)

        @shrinking  # type: ignore[untyped-decorator]
        def try_out(batch_size: int) -> int:
            self.decoder_batch = batch_size
            rows = torch.zeros(batch_size, dtype=torch.long)
            self._pixel_gradient(
                self.targets.latents[rows].to(accelerator.device), rows, accelerator, seed=0
            )
            return batch_size

        try:
            largest = try_out()
        except RuntimeError as error:
            if "No executable batch size" not in str(error):
                raise
            raise UnavailableError(out_of_memory_advice(accelerator.device)) from error
        torch.cuda.empty_cache()
        agreed: int = (
            accelerator.gather(torch.tensor([largest], device=accelerator.device)).min().item()
        )
        logger.info("the decoder takes %d pictures at a time", agreed)
        return agreed

    def _latents(self, rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return self.targets.latents[rows.to(self.targets.latents.device)].to(like.device)


def squared_error(latents: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the loss for validating encoders in closed form: the mean squared error of
    predictions (n, 4, h, w) of some rows of ``latents``.
    """
    return lambda predicted, rows: functional.mse_loss(predicted.cpu(), latents[rows])


def contrastive_loss(
    predicted: torch.Tensor, truth: torch.Tensor, images: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return the mean cross-entropy of finding each prediction's image among those of the batch,
    and each image's prediction.

    Parameters
    ----------
    predicted, truth : Tensor, shape (n, d)
        Embeddings, compared by cosine similarity.
    images : Tensor, shape (n,), int64
        Trials of the same image share the probability: they are not negatives of each other.
    temperature : float

    Returns
    -------
    Tensor, scalar
        The symmetric InfoNCE loss of CLIP (Radford et al. 2021, arXiv:2103.00020).
    """
    similarity = (
        functional.normalize(predicted, dim=1) @ functional.normalize(truth, dim=1).T / temperature
    )  # (n, n)
    same = (images[:, None] == images).float()
    wanted = same / same.sum(1, keepdim=True)
    return (
        functional.cross_entropy(similarity, wanted)
        + functional.cross_entropy(similarity.T, wanted)
    ) / 2


def _draw_window(
    grid: tuple[int, ...] | torch.Size, side: int, generator: torch.Generator
) -> tuple[slice, slice]:
    """Return a random square window of the latent grid; all of it if ``side`` reaches its size."""
    starts = [
        int(torch.randint(0, extent - side + 1, (), generator=generator)) if side < extent else 0
        for extent in grid
    ]
    rows, columns = (
        slice(start, start + min(side, extent)) for start, extent in zip(starts, grid, strict=True)
    )
    return rows, columns


def _augmentation(settings: GradientSettings) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return a random blur and enlargement of pictures (n, 3, side, side), on their device; None if
    both are off.

    The original scripts blurred by an SD of 0 to 3 of 425 pixels and enlarged by 1 to 1.2.
    """
    if settings.loss == "latents" or (settings.blur == 0 and settings.zoom == 1):
        return None
    from kornia import augmentation

    steps: list[Any] = []
    if settings.blur > 0:
        kernel = 2 * max(1, round(3 * settings.blur)) + 1
        steps.append(
            augmentation.RandomGaussianBlur((kernel, kernel), (1e-3, settings.blur), p=1.0)
        )
    if settings.zoom > 1:
        steps.append(
            augmentation.RandomAffine(
                degrees=0.0, scale=(1.0, settings.zoom), padding_mode="border", p=1.0
            )
        )
    return augmentation.AugmentationSequential(*steps, data_keys=["input"])

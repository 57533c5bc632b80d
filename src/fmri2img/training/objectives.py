"""What training minimises: errors of latents, of decoded pictures, or both."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:  # see training/fit.py
    from fmri2img.pretrained.autoencoder import FrozenAutoencoder

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes predicted latents (n, 4, h, w) and the rows of their images; returns a scalar."""


def latent_objective(latents: torch.Tensor) -> Objective:
    """Return the mean squared error of latents, given the true ones, shape (n_images, 4, h, w)."""

    def loss(predicted: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.mse_loss(predicted, latents[rows].to(predicted.device))

    return loss


def pixel_objective(images: torch.Tensor, autoencoder: "FrozenAutoencoder") -> Objective:
    """Return the mean squared error of pictures decoded from predicted latents.

    Parameters
    ----------
    images : Tensor, shape (n_images, 3, side, side), uint8
    autoencoder : FrozenAutoencoder
        Its weights get no gradient.
    """

    def loss(predicted: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        truth = images[rows].to(predicted.device).float() / 127.5 - 1
        return torch.nn.functional.mse_loss(autoencoder.decode(predicted), truth)

    return loss


def weighted_sum(terms: list[tuple[float, Objective]]) -> Objective:
    """Return the sum of objectives, each times its weight."""

    def loss(predicted: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return torch.stack([weight * term(predicted, rows) for weight, term in terms]).sum()

    return loss

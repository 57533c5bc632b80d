"""The contract of all encoders: raw betas in, latents out, voxel normalisation inside."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from fmri2img.config import Params

LATENT_SHAPE = (4, 16, 16)


@dataclass(frozen=True)
class TrainingTensors:
    """What an encoder may learn from; holds no test image and no test trial.

    Attributes
    ----------
    betas : Tensor, shape (n_trials, n_voxels)
        Percent signal change, NaN where invalid.
    trial_images : Tensor, shape (n_trials,), int64
        Row of each trial's image.
    image_betas : Tensor, shape (n_images, n_voxels)
        Averages over the repetitions of each image.
    latents : Tensor, shape (n_images, 4, h, w)
    """

    betas: torch.Tensor
    trial_images: torch.Tensor
    image_betas: torch.Tensor
    latents: torch.Tensor


class VoxelNormalizer(nn.Module):
    """Z-score voxels with the mean and SD of training trials; a missing value becomes the training mean.

    Parameters
    ----------
    n_voxels : int
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, n_voxels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_voxels))
        self.register_buffer("std", torch.ones(n_voxels))

    def fit(self, betas: torch.Tensor) -> None:
        """Take mean and SD from training trials, shape (n_trials, n_voxels), ignoring NaN."""
        valid = torch.isfinite(betas)
        count = valid.sum(0).clamp(min=1)
        filled = torch.where(valid, betas, 0.0).double()
        mean = filled.sum(0) / count
        variance = (torch.where(valid, betas.double() - mean, 0.0) ** 2).sum(0) / count
        self.mean.copy_(mean)
        # A voxel that never varies says nothing; dividing by 1 leaves it at 0.
        self.std.copy_(torch.where(variance > 0, variance.sqrt(), 1.0))

    def forward(self, betas: torch.Tensor) -> torch.Tensor:
        """Return z-scores, shape (n, n_voxels)."""
        return torch.nan_to_num((betas - self.mean) / self.std, nan=0.0)


class Encoder(nn.Module):
    """Base of all encoders.

    A subclass in a file of its own names a ``Settings`` class (its section of ``params.yaml``), builds itself from
    ``(n_voxels, latent_shape, settings)`` and maps z-scored voxels to latents in `decode_voxels`. It is
    trained by gradient descent unless it overrides `solve`.

    Parameters
    ----------
    n_voxels : int
    latent_shape : tuple of int
        (4, h, w).
    settings : Params
        Its own settings.
    """

    Settings: ClassVar[type[Params]]
    trained_by_gradient: ClassVar[bool] = True

    def __init__(self, n_voxels: int, latent_shape: tuple[int, int, int], settings: Any) -> None:
        super().__init__()
        self.n_voxels, self.latent_shape, self.settings = n_voxels, tuple(latent_shape), settings
        self.normalizer = VoxelNormalizer(n_voxels)

    def decode_voxels(self, voxels: torch.Tensor) -> torch.Tensor:  # noqa: ARG002  (for subclasses)
        """Map z-scored voxels (n, n_voxels) to latents (n, 4, h, w)."""
        raise TypeError(f"{type(self).__name__} must define decode_voxels")

    def forward(self, betas: torch.Tensor) -> torch.Tensor:
        """Predict latents.

        Parameters
        ----------
        betas : Tensor, shape (n, n_voxels), float32
            Percent signal change; NaN where missing.

        Returns
        -------
        Tensor, shape (n, 4, h, w), float32
            In scaled units.
        """
        return self.decode_voxels(self.normalizer(betas))

    def solve(self, data: TrainingTensors) -> dict[str, float]:  # noqa: ARG002  (for subclasses)
        """Find the weights in closed form; only for encoders with ``trained_by_gradient = False``.

        Returns
        -------
        dict of str to float
            What is worth knowing about the solution.
        """
        raise TypeError(f"{type(self).__name__} is trained by gradient descent")

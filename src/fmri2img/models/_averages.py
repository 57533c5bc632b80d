"""Averages over the trials of each image."""

import torch

_VOXELS_AT_ONCE = 512


def average_trials(betas: torch.Tensor, images: torch.Tensor, n_images: int) -> torch.Tensor:
    """Return averages (n_images, n_voxels) of betas (n_trials, n_voxels) over the trials of each
    image, NaN where none is valid.

    Trials are added in their order, as in `containers.repetitions`.

    Parameters
    ----------
    betas : Tensor, shape (n_trials, n_voxels)
        NaN where invalid.
    images : Tensor, shape (n_trials,), int64
        Row of each trial's image.
    n_images : int
    """
    averages = betas.new_empty(n_images, betas.shape[1])
    for start in range(0, betas.shape[1], _VOXELS_AT_ONCE):
        part = betas[:, start : start + _VOXELS_AT_ONCE]
        valid = torch.isfinite(part)
        total = part.new_zeros(n_images, part.shape[1])
        count = torch.zeros_like(total)
        total.index_add_(0, images, torch.where(valid, part, 0.0))
        count.index_add_(0, images, valid.to(part.dtype))
        averages[:, start : start + _VOXELS_AT_ONCE] = total / count
    return averages

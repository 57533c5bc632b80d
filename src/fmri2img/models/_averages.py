"""Averages over the trials of each image."""

import torch

from fmri2img.models._stored import Betas

_VOXELS_AT_ONCE = 512


def average_trials(betas: Betas, images: torch.Tensor, n_images: int) -> torch.Tensor:
    """Return averages (n_images, n_voxels) of betas (n_trials, n_voxels) over the trials of each
    image, NaN where none is valid.

    Trials are added in the order of `containers.repetitions`, the first one of an image to the sum
    of the others, so that both round alike for up to eight trials.

    Parameters
    ----------
    betas : Tensor or StoredBetas, shape (n_trials, n_voxels)
        NaN where invalid.
    images : Tensor, shape (n_trials,), int64
        Row of each trial's image.
    n_images : int
    """
    rows = torch.arange(len(images))
    first = rows.new_full((n_images,), len(images)).scatter_reduce(0, images, rows, "amin")
    is_first = rows == first[images]
    averages = torch.empty(n_images, betas.shape[1])
    for start in range(0, betas.shape[1], _VOXELS_AT_ONCE):
        part = betas[:, start : start + _VOXELS_AT_ONCE]
        valid = torch.isfinite(part)
        part = torch.where(valid, part, 0.0)
        nothing = part.new_zeros(n_images, part.shape[1])
        total, others = (
            nothing.index_add(0, images[mine], part[mine]) for mine in (is_first, ~is_first)
        )
        count = nothing.index_add(0, images, valid.to(part.dtype))
        averages[:, start : start + _VOXELS_AT_ONCE] = (total + others) / count
    return averages

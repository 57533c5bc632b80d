"""Clipping and z-scoring of voxels, fitted on training trials alone."""

import torch
from torch import nn

from fmri2img.models._stored import Betas

_VOXELS_AT_ONCE = 512
_NO_LIMIT = 1e30  # in percent signal change, and finite, as weights must be


class VoxelNormalizer(nn.Module):
    """Clip voxels to what training trials hold as a rule, and z-score them with the mean and SD
    of training trials; a missing value becomes the training mean.

    A single saturated trial of a voxel can weigh as much as hundreds of others. Averages of trials
    are clipped as averages.

    Parameters
    ----------
    n_voxels : int
    clip_mads : float
        Reach of the limits around the median, in median absolute deviations (MAD); 0: no limits.
    """

    mean: torch.Tensor
    std: torch.Tensor
    lowest: torch.Tensor
    highest: torch.Tensor

    def __init__(self, n_voxels: int, clip_mads: float = 0.0) -> None:
        super().__init__()
        self.clip_mads = clip_mads
        self.register_buffer("mean", torch.zeros(n_voxels))
        self.register_buffer("std", torch.ones(n_voxels))
        if clip_mads:  # encoders of earlier versions have no limits among their weights
            self.register_buffer("lowest", torch.full((n_voxels,), -_NO_LIMIT))
            self.register_buffer("highest", torch.full((n_voxels,), _NO_LIMIT))

    def fit(self, betas: Betas) -> int:
        """Take limits, mean and SD from training trials, shape (n_trials, n_voxels), ignoring
        NaN; returns how many betas lie beyond the limits.
        """
        n_clipped = 0
        for start in range(0, betas.shape[1], _VOXELS_AT_ONCE):  # blocks: float64, several copies
            block = slice(start, start + _VOXELS_AT_ONCE)
            part = betas[:, block]
            if self.clip_mads:
                self.lowest[block], self.highest[block] = _limits(part, self.clip_mads)
                clipped = part.clamp(self.lowest[block], self.highest[block])
                n_clipped += int((torch.isfinite(part) & (clipped != part)).sum())
                part = clipped
            part = part.double()
            valid = torch.isfinite(part)
            count = valid.sum(0).clamp(min=1)
            mean = torch.where(valid, part, 0.0).sum(0) / count
            variance = (torch.where(valid, part - mean, 0.0) ** 2).sum(0) / count
            self.mean[block] = mean
            # A voxel that never varies says nothing; dividing by 1 leaves it at 0.
            self.std[block] = torch.where(variance > 0, variance.sqrt(), 1.0)
        return n_clipped

    def forward(self, betas: torch.Tensor) -> torch.Tensor:
        """Return z-scores, shape (n, n_voxels)."""
        if self.clip_mads:
            betas = betas.clamp(self.lowest, self.highest)
        return torch.nan_to_num((betas - self.mean) / self.std, nan=0.0)


def _limits(betas: torch.Tensor, clip_mads: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the lowest and the highest value of each voxel, shape (n_voxels,) each; a voxel that
    has one value in most trials has no limits.
    """
    by_voxel = betas.T.contiguous()
    median = by_voxel.nanmedian(dim=1).values
    mad = (by_voxel - median[:, None]).abs_().nanmedian(dim=1).values
    reach = torch.where(mad > 0, clip_mads * mad, _NO_LIMIT)  # also where nothing was measured
    return (median - reach).nan_to_num(-_NO_LIMIT), (median + reach).nan_to_num(_NO_LIMIT)

"""Ridge regression from single trials to many numbers of the image that was seen, all penalties from one decomposition.

At NSD's size (27 000 trials of 6000 voxels, 59 136 numbers of 9000 images) targets repeated for each trial have 6 GB, and himalaya holds
the solutions of every penalty. Here a fold's Gram matrix is decomposed once, in double precision; everything that follows is a product
with as many rows as there are images.
"""

import logging
from dataclasses import dataclass, replace

import torch

logger = logging.getLogger(__name__)
_ROWS_AT_ONCE, _TARGETS_AT_ONCE = 1024, 4096


@dataclass(frozen=True)
class ImageRidge:
    """What `solve_image_ridge` found.

    Attributes
    ----------
    weights : Tensor, shape (n_targets, n_voxels)
    bias : Tensor, shape (n_targets,)
    penalties : Tensor, shape (n_targets,)
        That ``weights`` were solved with.
    r2 : dict of str to float
        Name of a list of penalties to the share of variance over held-out training images that its best penalties explain, mean over the
        targets that vary; empty if none does. Penalties were chosen on the same images, so it is a little too high.
    """

    weights: torch.Tensor
    bias: torch.Tensor
    penalties: torch.Tensor
    r2: dict[str, float]


@dataclass(frozen=True)
class _Rotated:
    """A set of trials in the axes of its own Gram matrix: (X^T X + a)^-1 X^T Y = V ((S V)^T Y / (eigenvalues + a))."""

    axes: torch.Tensor  # V, (n_voxels, n_voxels), float32
    inverse: dict[float, torch.Tensor]  # penalty to 1 / (eigenvalues + penalty), (n_voxels,); 0 where there are no data
    sums: torch.Tensor  # S V, (n_images, n_voxels): of each image's trials


def solve_image_ridge(
    voxels: torch.Tensor,
    trial_images: torch.Tensor,
    targets: torch.Tensor,
    folds: torch.Tensor,
    grids: dict[str, list[float]],
    chosen: str,
) -> ImageRidge:
    """Fit ridge regressions on single trials; the penalty of each target is chosen on averages of held-out images.

    Parameters
    ----------
    voxels : Tensor, shape (n_trials, n_voxels), float32
        Changed: centred in place.
    trial_images : Tensor, shape (n_trials,), int64
        Row of each trial's image; every image has a trial.
    targets : Tensor, shape (n_images, n_targets)
        Of any floating type.
    folds : Tensor, shape (n_images,), int64
        Number of the fold in which an image is held out.
    grids : dict of str to list of float
        Lists of penalties: each is scored.
    chosen : str
        The list that weights are solved with.

    Returns
    -------
    ImageRidge
    """
    voxel_mean = torch.stack([part.double().sum(0) for part in voxels.split(_ROWS_AT_ONCE)]).sum(0) / len(voxels)
    voxels -= voxel_mean.float()
    counts = torch.bincount(trial_images, minlength=len(targets))
    penalties = sorted({penalty for grid in grids.values() for penalty in grid})
    sums = torch.zeros(len(targets), voxels.shape[1]).index_add_(0, trial_images, voxels)
    whole = _gram(voxels)
    rotated, held_out = [], []
    for fold in folds.unique():
        out = folds == fold
        own = _rotate(whole - _gram(voxels[out[trial_images]]), sums, penalties)
        rotated.append(replace(own, axes=own.axes[:0]))  # only the final solution needs them
        held_out.append((torch.nonzero(out).squeeze(1), torch.nonzero(~out).squeeze(1)))
    del voxels  # what is left to do needs sums over trials alone
    final = _rotate(whole, sums, penalties)
    del whole
    weights, bias = torch.empty(targets.shape[1], sums.shape[1]), torch.empty(targets.shape[1])
    best_penalties, explained = torch.empty(targets.shape[1]), {name: torch.zeros(targets.shape[1]) for name in grids}
    for start in range(0, targets.shape[1], _TARGETS_AT_ONCE):
        block = slice(start, start + _TARGETS_AT_ONCE)
        values = targets[:, block].float()
        mean = (values.double() * counts[:, None]).sum(0) / counts.sum()
        values = values - mean.float()
        errors = torch.zeros(len(penalties), values.shape[1])
        for own, (out, kept) in zip(rotated, held_out, strict=True):
            turned = own.sums[kept].T @ values[kept]
            averages = own.sums[out] / counts[out, None]
            for row, penalty in enumerate(penalties):
                errors[row] += ((values[out] - averages @ (own.inverse[penalty][:, None] * turned)) ** 2).sum(0)
        power = (values**2).sum(0)
        for name, grid in grids.items():
            rows = torch.tensor([penalties.index(penalty) for penalty in grid])
            least, place = errors[rows].min(0)
            explained[name][block] = torch.where(power > 0, 1 - least / power, torch.nan)
            if name == chosen:
                best = rows[place]
        turned = final.sums.T @ values
        scale = torch.stack([final.inverse[penalty] for penalty in penalties])[best]  # (n_block, n_voxels)
        weights[block] = (scale * turned.T) @ final.axes.T
        best_penalties[block] = torch.tensor(penalties)[best]
        bias[block] = mean.float() - weights[block] @ voxel_mean.float()
        logger.info("ridge: %d of %d numbers", min(block.stop, targets.shape[1]), targets.shape[1])
    r2 = {name: float(values[torch.isfinite(values)].mean()) for name, values in explained.items() if torch.isfinite(values).any()}
    return ImageRidge(weights, bias, best_penalties, r2)


def _gram(rows: torch.Tensor) -> torch.Tensor:
    """Return X^T X in float64, a few rows at a time: in float32 its small eigenvalues would be noise."""
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for part in rows.split(_ROWS_AT_ONCE):
        total.addmm_(part.double().T, part.double())
    return total


def _rotate(gram: torch.Tensor, sums: torch.Tensor, penalties: list[float]) -> _Rotated:
    values, axes = torch.linalg.eigh(gram)
    # Directions in which there are no data: with more voxels than trials even the smallest penalty must not divide noise.
    present = values > values.max() * len(values) * torch.finfo(torch.float32).eps * 1e-3
    inverse = {penalty: torch.where(present, 1 / (values.clamp(min=0) + penalty), 0.0).float() for penalty in penalties}
    turned = torch.cat([part.double() @ axes for part in sums.split(_ROWS_AT_ONCE)])
    return _Rotated(axes.float(), inverse, turned.float())

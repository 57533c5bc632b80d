"""Ridge regression from single trials to many targets per image, with all penalties from one
decomposition.

At NSD's size (27 000 trials of 6000 voxels, 59 136 targets of 9000 images) targets repeated for
each trial take 6 GB, and himalaya holds the solutions of every penalty. Here each fold's Gram
matrix is decomposed once, in double precision; all later products have only as many rows as there
are images.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch

logger = logging.getLogger(__name__)
_ROWS_AT_ONCE, _TARGETS_AT_ONCE = 1024, 4096


@dataclass(frozen=True)
class ImageRidge:
    """Solution of `solve_image_ridge`.

    Attributes
    ----------
    weights : Tensor, shape (n_targets, n_voxels)
    bias : Tensor, shape (n_targets,)
    penalties : Tensor, shape (n_targets,)
        Penalty that the weights of each target were solved with.
    r2 : dict of str to float
        Share of variance over held-out training images explained with the best penalties of each
        list, by the list's name; mean over targets that vary, empty if none does. Penalties were
        chosen on the same images, so it is a little too high.
    """

    weights: torch.Tensor
    bias: torch.Tensor
    penalties: torch.Tensor
    r2: dict[str, float]


@dataclass(frozen=True)
class _Rotated:
    """Trials in the eigenvectors V of their Gram matrix: (X^T X + a)^-1 X^T Y = V ((S V)^T Y /
    (eigenvalues + a)).
    """

    axes: torch.Tensor  # V, (n_voxels, n_voxels), float32
    inverse: (
        torch.Tensor
    )  # 1 / (eigenvalues + penalty), (n_penalties, n_voxels); 0 where there are no data
    sums: torch.Tensor  # S V, (n_images, n_voxels); S: sums over each image's trials


def solve_image_ridge(
    voxels: torch.Tensor,
    trial_images: torch.Tensor,
    targets: torch.Tensor,
    folds: torch.Tensor,
    grids: dict[str, list[float]],
    chosen: str,
) -> ImageRidge:
    """Fit ridge regressions on single trials; the penalty of each target is chosen on averages of
    held-out images.

    Parameters
    ----------
    voxels : Tensor, shape (n_trials, n_voxels), float32
        Changed: centred in place.
    trial_images : Tensor, shape (n_trials,), int64
        Row of each trial's image; every image has a trial.
    targets : Tensor, shape (n_images, n_targets)
        Targets, in any floating type.
    folds : Tensor, shape (n_images,), int64
        Number of the fold in which an image is held out.
    grids : dict of str to list of float
        Lists of penalties by name; each is scored.
    chosen : str
        Name of the list that weights are solved with.

    Returns
    -------
    ImageRidge
    """
    voxel_mean = torch.stack([part.double().sum(0) for part in voxels.split(_ROWS_AT_ONCE)]).sum(
        0
    ) / len(voxels)
    voxels -= voxel_mean.float()
    counts = torch.bincount(trial_images, minlength=len(targets))
    penalties = sorted({penalty for grid in grids.values() for penalty in grid})
    sums = torch.zeros(len(targets), voxels.shape[1]).index_add_(0, trial_images, voxels)
    whole = _gram(voxels)
    errors = torch.zeros(len(penalties), targets.shape[1])
    # One fold at a time: the decompositions of all folds at once would take most of the memory.
    for fold in folds.unique():
        out = folds == fold
        rotated = _rotate(whole - _gram(voxels[out[trial_images]]), sums, penalties)
        _add_errors(errors, rotated, out, targets, counts)
        del rotated
        logger.info(
            "ridge: images of fold %d of %d are predicted", int(fold) + 1, len(folds.unique())
        )
    del voxels  # the solution needs only sums over trials
    final = _rotate(whole, sums, penalties)
    del whole
    weights, bias = torch.empty(targets.shape[1], sums.shape[1]), torch.empty(targets.shape[1])
    best_penalties, explained = (
        torch.empty(targets.shape[1]),
        {name: torch.zeros(targets.shape[1]) for name in grids},
    )
    for block, values, mean in _centred(targets, counts):
        power = (values**2).sum(0)
        for name, grid in grids.items():
            rows = torch.tensor([penalties.index(penalty) for penalty in grid])
            least, place = errors[rows, block].min(0)
            explained[name][block] = torch.where(power > 0, 1 - least / power, torch.nan)
            if name == chosen:
                best = rows[place]
        weights[block] = (final.inverse[best] * (final.sums.T @ values).T) @ final.axes.T
        best_penalties[block] = torch.tensor(penalties)[best]
        bias[block] = mean - weights[block] @ voxel_mean.float()
    r2 = {
        name: float(values[torch.isfinite(values)].mean())
        for name, values in explained.items()
        if torch.isfinite(values).any()
    }
    return ImageRidge(weights, bias, best_penalties, r2)


def _add_errors(
    errors: torch.Tensor,
    rotated: _Rotated,
    out: torch.Tensor,
    targets: torch.Tensor,
    counts: torch.Tensor,
) -> None:
    """Add the squared errors of a fold's held-out images, predicted from their averages, to
    ``errors`` (n_penalties, n_targets).
    """
    averages, learnt = rotated.sums[out] / counts[out, None], rotated.sums[~out]
    for block, values, _ in _centred(targets, counts):
        turned, truth = learnt.T @ values[~out], values[out]
        for row, inverse in enumerate(rotated.inverse):
            errors[row, block] += ((truth - averages @ (inverse[:, None] * turned)) ** 2).sum(0)


def _centred(
    targets: torch.Tensor, counts: torch.Tensor
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Yield blocks of targets: their columns, their values less the mean over trials, and that
    mean, in float32.
    """
    for start in range(0, targets.shape[1], _TARGETS_AT_ONCE):
        block = slice(start, start + _TARGETS_AT_ONCE)
        values = targets[:, block].float()
        mean = ((values.double() * counts[:, None]).sum(0) / counts.sum()).float()
        yield block, values - mean, mean


def _gram(rows: torch.Tensor) -> torch.Tensor:
    """Return X^T X in float64, a few rows at a time: in float32 its small eigenvalues would be
    noise.
    """
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for part in rows.split(_ROWS_AT_ONCE):
        total.addmm_(part.double().T, part.double())
    return total


def _rotate(gram: torch.Tensor, sums: torch.Tensor, penalties: list[float]) -> _Rotated:
    values, axes = torch.linalg.eigh(gram)
    # Directions without data are dropped: with more voxels than trials, a small penalty would
    # amplify noise.
    present = values > values.max() * len(values) * torch.finfo(torch.float32).eps * 1e-3
    inverse = torch.stack(
        [
            torch.where(present, 1 / (values.clamp(min=0) + penalty), 0.0).float()
            for penalty in penalties
        ]
    )
    turned = torch.cat([part.double() @ axes for part in sums.split(_ROWS_AT_ONCE)])
    return _Rotated(axes.float(), inverse, turned.float())

"""Ridge weights of single numbers of a picture's description, averaged over windows and penalties
by their evidence.
"""

import math

import torch

from fmri2img.models._forward import Equations, Pairs, Regressions, shares_of

# Variance of the weights, relative to that of the noise.
_RATIOS = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
_TINY = 1e-6  # share of its variance that always remains of a voxel


def weights_of_places(pairs: Pairs, windows: list[torch.Tensor]) -> torch.Tensor:
    """Return weights (d, v); near 0 for voxels whose responses are noise.

    For each window, each ratio of variances and no weights at all, the evidence is that of the
    noise variance that fits best (Bishop 2006, section 3.5): -n/2 log(squared error + size of the
    weights) - 1/2 log|1 + ratio * gram|.

    Parameters
    ----------
    pairs : Pairs
        Voxels are what another model leaves unexplained.
    windows : list of Tensor, shape (d,)
        Weights are smaller where a window is low.
    """
    regressions = Regressions(pairs)
    n, power = len(pairs.counts), regressions.voxels.square().sum(0)
    floor = (_TINY * power).clamp(min=1e-30)
    decomposed = []
    evidence = [-0.5 * n * power.clamp(min=1e-30).log()[None]]  # of no weights
    for window in windows:
        equations = regressions.within(window)
        lengths, axes = torch.linalg.eigh(equations.gram)
        decomposed.append((equations, lengths.clamp(min=0), axes))
        evidence.append(_evidence(*decomposed[-1], power, floor, n) - math.log(len(windows)))
    shares = shares_of(torch.cat(evidence))[1:].unflatten(0, (len(windows), len(_RATIOS)))
    weights = torch.zeros(pairs.features.shape[1], pairs.voxels.shape[1])
    for (equations, lengths, axes), share in zip(decomposed, shares, strict=True):
        solution = axes @ ((_filters(lengths).T @ share) * (axes.T @ equations.right))
        if equations.features is not None:
            solution = equations.features.T @ solution
        weights[equations.kept] += equations.scale[:, None] * solution
    return weights


def _filters(lengths: torch.Tensor) -> torch.Tensor:
    """Return the factor of each axis (n_ratios, k)."""
    ratios = torch.tensor(_RATIOS)[:, None]
    return ratios / (1 + ratios * lengths)


def _evidence(
    equations: Equations,
    lengths: torch.Tensor,
    axes: torch.Tensor,
    power: torch.Tensor,
    floor: torch.Tensor,
    n: int,
) -> torch.Tensor:
    """Return the log evidence of each ratio (n_ratios, v)."""
    explained = (axes.T @ equations.right).square()
    if equations.features is not None:  # over images
        explained *= lengths[:, None]
    left = (power - _filters(lengths) @ explained).maximum(floor)
    freedom = torch.log1p(torch.tensor(_RATIOS)[:, None] * lengths).sum(1, keepdim=True)
    return -0.5 * (n * left.log() + freedom)

"""Ridge weights of single numbers of a picture's description, averaged over windows and penalties
by their evidence.
"""

import math
from dataclasses import dataclass

import torch

from fmri2img.models._forward import Equations, Pairs, Regressions, shares_of

# Variance of the weights, relative to that of the noise.
_RATIOS = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
_TINY = 1e-6  # share of its variance that always remains of a voxel


class Places:
    """Ridge regressions on single numbers of pictures' descriptions, within windows.

    For each window, each ratio of variances and no weights at all, the evidence is that of the
    noise variance that fits best (Bishop 2006, section 3.5): -n/2 log(squared error + size of the
    weights) - 1/2 log|1 + ratio * gram|.

    Parameters
    ----------
    features : Tensor, shape (n, d)
        Centred descriptions of pictures.
    counts : Tensor, shape (n,)
        Number of trials of each picture: trials have equal weight, not pictures.
    windows : list of Tensor, shape (d,)
        Weights are smaller where a window is low.
    """

    def __init__(
        self, features: torch.Tensor, counts: torch.Tensor, windows: list[torch.Tensor]
    ) -> None:
        self.roots = counts.sqrt()[:, None]
        self.regressions = Regressions(Pairs(features, features[:, :0], counts))
        self.windows = []
        for window in windows:
            equations = self.regressions.within(window)
            lengths, axes = torch.linalg.eigh(equations.gram)
            self.windows.append(_Window(equations, lengths.clamp(min=0), axes))

    def weights(self, voxels: torch.Tensor) -> torch.Tensor:
        """Return weights (d, v); near 0 for voxels whose responses are noise.

        Parameters
        ----------
        voxels : Tensor, shape (n, v)
            Averaged responses, or what another model leaves unexplained of them.
        """
        voxels = voxels * self.roots
        features, is_tall = self.regressions.features, self.regressions.is_tall
        cross = features.T @ voxels if is_tall else voxels[:0]
        n, power = len(voxels), voxels.square().sum(0)
        floor = (_TINY * power).clamp(min=1e-30)
        evidence = [-0.5 * n * power.clamp(min=1e-30).log()[None]]  # of no weights
        for window in self.windows:
            turned = window.axes.T @ window.right(voxels, cross)
            log = _evidence(window, turned.square(), power, floor, n)
            evidence.append(log - math.log(len(self.windows)))
        shares = shares_of(torch.cat(evidence))[1:].unflatten(0, (-1, len(_RATIOS)))
        weights = torch.zeros(features.shape[1], voxels.shape[1])
        for window, share in zip(self.windows, shares, strict=True):
            turned = window.axes.T @ window.right(voxels, cross)
            solution = window.axes @ ((_filters(window.lengths).T @ share) * turned)
            equations = window.equations
            if equations.features is not None:
                solution = equations.features.T @ solution
            weights[equations.kept] += equations.scale[:, None] * solution
        return weights


@dataclass(frozen=True)
class _Window:
    """The normal equations within a window, in the axes of their matrix.

    Attributes
    ----------
    equations : Equations
        Without voxels.
    lengths : Tensor, shape (k,)
    axes : Tensor, shape (k, k)
    """

    equations: Equations
    lengths: torch.Tensor
    axes: torch.Tensor

    def right(self, voxels: torch.Tensor, cross: torch.Tensor) -> torch.Tensor:
        """Return the right side of the equations, (k, v), or (n, v) over images.

        Parameters
        ----------
        voxels : Tensor, shape (n, v)
        cross : Tensor, shape (d, v)
            Products of features and voxels; ignored if the equations are over images.
        """
        if self.equations.features is not None:
            return voxels
        return cross[self.equations.kept] * self.equations.scale[:, None]


def _filters(lengths: torch.Tensor) -> torch.Tensor:
    """Return the factor of each axis (n_ratios, k)."""
    ratios = torch.tensor(_RATIOS)[:, None]
    return ratios / (1 + ratios * lengths)


def _evidence(
    window: _Window, explained: torch.Tensor, power: torch.Tensor, floor: torch.Tensor, n: int
) -> torch.Tensor:
    """Return the log evidence of each ratio (n_ratios, v)."""
    if window.equations.features is not None:  # over images
        explained *= window.lengths[:, None]
    left = (power - _filters(window.lengths) @ explained).maximum(floor)
    freedom = torch.log1p(torch.tensor(_RATIOS)[:, None] * window.lengths).sum(1, keepdim=True)
    return -0.5 * (n * left.log() + freedom)

"""Encoding models of all voxels, fitted on any folds of the training images: pooled weights by
region, and weights of single numbers besides (`_hierarchy`, `_places`).
"""

from copy import copy
from dataclasses import dataclass, field
from functools import reduce
from itertools import product

import torch

from fmri2img.models._forward import ForwardModel, Pairs, make_windows
from fmri2img.models._hierarchy import Pooling, Posterior, Sums
from fmri2img.models._places import Places
from fmri2img.models._windows import Windows
from fmri2img.models.base import VoxelPrior

_PLACES_SD = 1.5  # of windows for the weights of single numbers, in cells of the first grid
_VOXELS_AT_ONCE = 4096  # in weights of single numbers


@dataclass(frozen=True)
class Weights:
    """Weights of a description's numbers.

    Attributes
    ----------
    pooled : Tensor, shape (d, v)
        Of voxels that share a prior.
    alone : Tensor, shape (d, v)
        Of each voxel by itself.
    windowed_share : float
        Share of the voxels' weights that see less than the whole picture.
    """

    pooled: torch.Tensor
    alone: torch.Tensor
    windowed_share: float

    def mixed(self, pooled_share: float) -> torch.Tensor:
        """Return the weights (d, v) of which a share is pooled."""
        if self.pooled is self.alone:
            return self.pooled
        return torch.lerp(self.alone, self.pooled, pooled_share)


@dataclass
class HierarchicalModels:
    """Encoding models of one subject's voxels, fitted on any folds of its training images.

    Attributes
    ----------
    pairs : Pairs
    folds : Tensor, shape (n,), int64
    windows : Windows
        For weights of whole channels.
    regions : Tensor, shape (v,), int64
        Number of each voxel's region.
    pooling : Pooling
    known : dict of int to VoxelPrior
        What is known from other people, by number of the region; empty: nothing.
    places : list of Tensor, shape (d,)
        Windows for weights of single numbers.
    pooled_share : float
        Share of the weights that the regions' priors decide.
    has_places : bool
        Whether there are weights of single numbers; without them all weights are pooled.
    """

    pairs: Pairs
    folds: torch.Tensor
    windows: Windows
    regions: torch.Tensor
    pooling: Pooling
    known: dict[int, VoxelPrior] = field(default_factory=dict)
    pooled_share: float = 1.0
    has_places: bool = True
    places: list[torch.Tensor] = field(init=False)
    _weights: dict[frozenset[int], "Weights"] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.places = list(make_windows(self.windows.grids, [_PLACES_SD], spacing=2))
        every = frozenset(self.folds.tolist())
        sums = {fold: self._sums(fold) for fold in every}
        for one, other in product(sorted(every), repeat=2):
            self._fit(every - {one, other}, sums)

    def mixed(self, pooled_share: float) -> "HierarchicalModels":
        """Return the same models with another share; both fit only once."""
        other = copy(self)
        other.pooled_share = pooled_share
        return other

    def facts(self) -> dict[str, float]:
        """Return what tells these models from the other candidates."""
        return {"pooled_share": self.pooled_share}

    def fitted_on(self, folds: frozenset[int]) -> ForwardModel:
        """Return the model of some folds, with residuals of models that did not see their fold."""
        residual, rows = self._residual(folds), torch.isin(self.folds, torch.tensor(sorted(folds)))
        fitted = self._fit(folds)
        weights = fitted.mixed(self.pooled_share)
        return ForwardModel(weights, residual, self.pairs.counts[rows], fitted.windowed_share)

    def misfit(self) -> torch.Tensor:
        """Return residuals (n, v) of models that did not see their fold."""
        return self._residual(frozenset(self.folds.tolist()))

    def settle(self) -> None:
        """Forget what only the other candidates need: they share these fits, and are of no use
        afterwards.
        """
        for folds, weights in self._weights.items():
            mixed = weights.mixed(self.pooled_share)
            self._weights[folds] = Weights(mixed, mixed, weights.windowed_share)

    def _residual(self, folds: frozenset[int]) -> torch.Tensor:
        rows = torch.isin(self.folds, torch.tensor(sorted(folds)))
        residual = self.pairs.voxels[rows]
        for fold in sorted(folds):
            mine = self.folds == fold
            weights = self._fit(folds - {fold}).mixed(self.pooled_share)
            residual[mine[rows]] -= self.pairs.features[mine] @ weights
        return residual

    def _sums(self, fold: int) -> Sums:
        return Sums.of(self.pairs.of(self.folds == fold), self.windows)

    def _fit(self, folds: frozenset[int], sums: dict[int, Sums] | None = None) -> "Weights":
        """Fit on some folds, once. The fit on all folds is asked for last, and adds up its sums
        anew: to keep them until then would take half a gigabyte at the real size.
        """
        if folds not in self._weights:
            self._weights[folds] = self._fitted(folds, sums)
        return self._weights[folds]

    def _fitted(self, folds: frozenset[int], sums: dict[int, Sums] | None) -> "Weights":
        if not folds:  # of two folds, each is the other's only one
            zeros = torch.zeros(self.pairs.features.shape[1], self.pairs.voxels.shape[1])
            return Weights(zeros, zeros, 0.0)
        total = reduce(
            Sums.__add__, (sums[fold] if sums else self._sums(fold) for fold in sorted(folds))
        )
        # A voxel that never varies has no weights, and says nothing of its region.
        varies = total.power > 0
        numbers = self.regions[varies].unique().tolist()
        regions = [torch.nonzero((self.regions == n) & varies).squeeze(1) for n in numbers]
        known = [self.known[n] for n in numbers] if self.known else None
        priors = self.pooling.priors(total, self.windows, regions, known)
        weights, windowed = torch.zeros(self.pairs.features.shape[1], len(varies)), 0.0
        for voxels, prior in zip(regions, priors, strict=True):
            posterior = Posterior.of(total.of_voxels(voxels), prior, self.windows)
            weights[:, voxels] = self.windows.unpool(posterior.weights)
            windowed += float(1 - posterior.region.sizes[0]) * len(voxels) / len(varies)
        if not self.has_places:
            return Weights(weights, weights, windowed)
        rows = torch.isin(self.folds, torch.tensor(sorted(folds)))
        features, alone = self.pairs.features[rows], torch.empty_like(weights)
        places = Places(features, self.pairs.counts[rows], self.places)
        for start in range(0, len(varies), _VOXELS_AT_ONCE):
            block = slice(start, start + _VOXELS_AT_ONCE)
            voxels = self.pairs.voxels[:, block][rows]
            left = voxels - features @ weights[:, block]
            added, alone[:, block] = places.weights(torch.cat([left, voxels], 1)).chunk(2, dim=1)
            weights[:, block] += added
        return Weights(weights, alone, windowed)

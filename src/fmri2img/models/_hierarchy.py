"""Encoding model in which voxels learn from one another: those of a region share a prior.

The weights of a voxel say how strongly it responds to each channel of a picture's description
(four of the latent, twelve of contrast energy), summed over a window that it sees. Voxels of a
region have similar channel weights and windows of similar size, so their distribution over the
region is a prior for each of them (empirical Bayes, by expectation-maximisation):

    response_v = sum_k a_vk pooled_k(window_v) + noise_v,    a_v ~ N(mean, covariance) of the region

For each window and size of the noise the posterior of ``a`` and the evidence have a closed form
(Bishop 2006, section 3.5); weights are the posterior mean over all of them. What pooled channels
cannot express is added as ridge weights of single numbers of the description, within windows of
their own: they too are weighed by evidence, which leaves them out where there is too little data.

A prior that is a little wrong is wrong for all voxels alike, and such errors do not cancel when
hundreds of voxels are inverted. So a share of the weights comes from single numbers alone, without
a prior.

Closest in the literature: Naselaris et al. 2009 (doi:10.1016/j.neuron.2009.09.006) and Schoenmakers
et al. 2013 (doi:10.1016/j.neuroimage.2013.07.043) invert encoding models with priors on pictures;
St-Yves & Naselaris 2018 (doi:10.1016/j.neuroimage.2017.06.035) separate channels from windows.
"""

from copy import copy
from dataclasses import dataclass, field
from functools import reduce

import torch

from fmri2img.models._forward import ForwardModel, Pairs, make_windows, shares_of
from fmri2img.models._places import Places
from fmri2img.models._windows import Windows
from fmri2img.models.base import VoxelPrior

# Share of a voxel's variance that a picture may explain: sizes of the noise to choose from.
_EXPLAINED = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85)
_PRIOR_EXPLAINED = 0.3  # by the prior that the first round starts with
_PLACES_SD = 1.5  # of windows for the weights of single numbers, in cells of the first grid
_TINY = 1e-6
_VOXELS_AT_ONCE = 4096  # in weights of single numbers


@dataclass(frozen=True)
class Sums:
    """Products summed over images, from which any model is fitted; sums of folds add up.

    Rows count with the root of their number of trials: trials have equal weight, not images.

    Attributes
    ----------
    gram : Tensor, shape (n_windows, n_channels, n_channels)
        Of pooled channels.
    cross : Tensor, shape (n_windows, n_channels, v)
        Of pooled channels and voxels.
    power : Tensor, shape (v,)
        Of voxels with themselves.
    n : int
        Number of images.
    """

    gram: torch.Tensor
    cross: torch.Tensor
    power: torch.Tensor
    n: int

    @classmethod
    def of(cls, pairs: Pairs, windows: Windows) -> "Sums":
        """Sum over some images."""
        roots = pairs.counts.sqrt()[:, None]
        voxels = pairs.voxels * roots
        pooled = windows.pool(pairs.features * roots)  # (n, n_channels, n_windows)
        by_window = pooled.permute(2, 1, 0)
        cross = (pooled.flatten(1).T @ voxels).unflatten(0, pooled.shape[1:])
        return cls(
            by_window @ by_window.transpose(1, 2),
            cross.transpose(0, 1).contiguous(),
            voxels.square().sum(0),
            len(voxels),
        )

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.gram + other.gram,
            self.cross + other.cross,
            self.power + other.power,
            self.n + other.n,
        )

    def of_voxels(self, voxels: torch.Tensor) -> "Sums":
        """Take some voxels, indices of shape (v,)."""
        return Sums(self.gram, self.cross[:, :, voxels], self.power[voxels], self.n)


@dataclass(frozen=True)
class Posterior:
    """Voxels of a region, given their responses and a prior.

    Attributes
    ----------
    weights : Tensor, shape (n_windows, n_channels, v)
        Posterior mean of the channels' weights, times the probability of the window.
    region : VoxelPrior
        The distribution of these voxels' weights and window sizes.
    """

    weights: torch.Tensor
    region: VoxelPrior

    @classmethod
    def of(cls, sums: Sums, prior: VoxelPrior, windows: Windows) -> "Posterior":
        """Apply a prior to the voxels of a region.

        With covariance = R R^T and the eigenvectors U and eigenvalues h of R^T G R (G: the Gram
        matrix of a window), the posterior mean for noise s is mean + R U (h + s)^-1 U^T R^T (cross
        - G mean), and all sizes of the noise share one decomposition.
        """
        root = torch.linalg.cholesky(prior.covariance)
        lengths, axes = torch.linalg.eigh(root.T @ sums.gram @ root)
        lengths, axes = lengths.clamp(min=0)[:, :, None], root @ axes
        expected = sums.gram @ prior.mean  # (n_windows, n_channels)
        turned = axes.transpose(1, 2) @ (sums.cross - expected[:, :, None])
        left = (
            sums.power
            - 2 * torch.einsum("k,wkv->wv", prior.mean, sums.cross)
            + (expected @ prior.mean)[:, None]
        )  # squared distance from the prior's mean, (n_windows, v)
        variance = sums.power.clamp(min=_TINY) / sums.n
        noises = [variance * (1 - explained) for explained in _EXPLAINED]
        n_of_size = torch.bincount(windows.sizes, minlength=windows.n_sizes)
        place = (prior.sizes.clamp(min=_TINY) / n_of_size).log()[windows.sizes, None]
        evidence = torch.stack(
            [
                place
                - 0.5 * (sums.n * noise.log() + torch.log1p(lengths / noise).sum(1))
                - 0.5 * (left - (turned.square() / (noise + lengths)).sum(1)) / noise
                for noise in noises
            ]
        )  # (n_noises, n_windows, v)
        shares = shares_of(evidence.flatten(0, 1)).unflatten(0, evidence.shape[:2])
        share = shares.sum(0)  # (n_windows, v)
        steps, spread = torch.zeros_like(turned), torch.zeros_like(lengths[:, :, 0])
        for probability, noise in zip(shares, noises, strict=True):
            filtered = probability[:, None] / (lengths + noise)
            steps += filtered
            spread += (filtered * noise).sum(2)
        steps *= turned
        region = _distribution(steps, spread, share, axes, prior.mean, windows)
        return cls(share[:, None] * prior.mean[:, None] + axes @ steps, region)


def _distribution(
    steps: torch.Tensor,
    spread: torch.Tensor,
    share: torch.Tensor,
    axes: torch.Tensor,
    mean: torch.Tensor,
    windows: Windows,
) -> VoxelPrior:
    """Return the distribution over the voxels of a region.

    Parameters
    ----------
    steps : Tensor, shape (n_windows, n_channels, v)
        Distance of weights from ``mean`` along the axes, times the window's probability.
    spread : Tensor, shape (n_windows, n_channels)
        Posterior variances along the axes, times probabilities, summed over voxels.
    share : Tensor, shape (n_windows, v)
        Probability of each window.
    axes : Tensor, shape (n_windows, n_channels, n_channels)
    mean : Tensor, shape (n_channels,)
    windows : Windows
    """
    n_voxels = share.shape[1]
    squares = (steps / share.clamp(min=1e-12)[:, None]) @ steps.transpose(1, 2)
    around = (axes @ (squares + torch.diag_embed(spread)) @ axes.transpose(1, 2)).sum(0) / n_voxels
    moved = (axes @ steps.sum(2)[:, :, None]).sum((0, 2)) / n_voxels
    sizes = torch.zeros(windows.n_sizes).index_add_(0, windows.sizes, share.sum(1)) / n_voxels
    return VoxelPrior(mean + moved, around - torch.outer(moved, moved), sizes)


@dataclass(frozen=True)
class Pooling:
    """How much voxels learn from one another.

    Attributes
    ----------
    shared_voxels : float
        Weight of all regions together in the prior of one, in voxels of it.
    isotropic_voxels : float
        Weight, in voxels, of a covariance in which all channels vary alike.
    population_voxels : float
        Weight of what is known of the region from other people, in voxels.
    n_rounds : int
        Rounds of expectation-maximisation.
    """

    shared_voxels: float
    isotropic_voxels: float
    n_rounds: int
    population_voxels: float = 0.0

    def priors(
        self,
        sums: Sums,
        windows: Windows,
        regions: list[torch.Tensor],
        known: list[VoxelPrior] | None = None,
    ) -> list[VoxelPrior]:
        """Learn the prior of each region from its voxels.

        Parameters
        ----------
        sums : Sums
        windows : Windows
        regions : list of Tensor, shape (v,)
            Indices of each region's voxels.
        known : list of VoxelPrior, optional
            What is known of each region from other people.
        """
        n = windows.n_channels
        start = VoxelPrior(
            torch.zeros(n),
            torch.eye(n) * _PRIOR_EXPLAINED / n,
            torch.full((windows.n_sizes,), 1 / windows.n_sizes),
        )
        priors = known or [start] * len(regions)
        parts = [sums.of_voxels(voxels) for voxels in regions]
        for _ in range(self.n_rounds):
            learnt = [
                Posterior.of(part, prior, windows).region
                for part, prior in zip(parts, priors, strict=True)
            ]
            priors = self._shrunk(learnt, [len(voxels) for voxels in regions], known)
        return priors

    def _shrunk(
        self, learnt: list[VoxelPrior], n_voxels: list[int], known: list[VoxelPrior] | None
    ) -> list[VoxelPrior]:
        """Shrink the distribution of each region towards that of all voxels, and that towards
        equal channels; then towards what is known from other people.
        """
        weights = torch.tensor(n_voxels) / sum(n_voxels)
        mean = weights @ torch.stack([prior.mean for prior in learnt])
        sizes = weights @ torch.stack([prior.sizes for prior in learnt])
        covariance = torch.stack(
            [
                prior.covariance + torch.outer(prior.mean - mean, prior.mean - mean)
                for prior in learnt
            ]
        )
        covariance = torch.einsum("r,rkl->kl", weights, covariance)
        even = covariance.diagonal().mean() * torch.eye(len(mean))
        shared, isotropic = self.shared_voxels, self.isotropic_voxels
        shrunk = [
            VoxelPrior(
                (n * prior.mean + shared * mean) / (n + shared),
                (n * prior.covariance + shared * covariance + isotropic * even)
                / (n + shared + isotropic)
                + _TINY * torch.eye(len(mean)),
                (n * prior.sizes + shared * sizes) / (n + shared),
            )
            for prior, n in zip(learnt, n_voxels, strict=True)
        ]
        if known is None:
            return shrunk
        return [
            _between(ours, theirs, self.population_voxels / (n + self.population_voxels))
            for ours, theirs, n in zip(shrunk, known, n_voxels, strict=True)
        ]


def _between(ours: VoxelPrior, theirs: VoxelPrior, share: float) -> VoxelPrior:
    """Return the distribution of voxels of which a share is from the second one."""
    mean = torch.lerp(ours.mean, theirs.mean, share)
    apart = ours.mean - theirs.mean
    covariance = torch.lerp(ours.covariance, theirs.covariance, share)
    return VoxelPrior(
        mean,
        covariance + share * (1 - share) * torch.outer(apart, apart),
        torch.lerp(ours.sizes, theirs.sizes, share),
    )


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
    _sums: dict[int, Sums] = field(init=False, default_factory=dict)
    _weights: dict[frozenset[int], "Weights"] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.places = list(make_windows(self.windows.grids, [_PLACES_SD], spacing=2))
        for fold in self.folds.unique().tolist():
            self._sums[fold] = Sums.of(self.pairs.of(self.folds == fold), self.windows)

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
        rows = torch.isin(self.folds, torch.tensor(sorted(folds)))
        residual = self.pairs.voxels[rows].clone()
        for fold in sorted(folds):
            mine = self.folds == fold
            weights = self._fit(folds - {fold}).mixed(self.pooled_share)
            residual[mine[rows]] -= self.pairs.features[mine] @ weights
        fitted = self._fit(folds)
        weights = fitted.mixed(self.pooled_share)
        return ForwardModel(weights, residual, self.pairs.counts[rows], fitted.windowed_share)

    def misfit(self) -> torch.Tensor:
        """Return residuals (n, v) of models that did not see their fold."""
        return self.fitted_on(frozenset(self.folds.tolist())).residual

    def _fit(self, folds: frozenset[int]) -> "Weights":
        """Fit on some folds, once."""
        if folds not in self._weights:
            self._weights[folds] = self._fitted(folds)
        return self._weights[folds]

    def _fitted(self, folds: frozenset[int]) -> "Weights":
        if not folds:  # of two folds, each is the other's only one
            zeros = torch.zeros(self.pairs.features.shape[1], self.pairs.voxels.shape[1])
            return Weights(zeros, zeros, 0.0)
        sums = reduce(Sums.__add__, [self._sums[fold] for fold in sorted(folds)])
        # A voxel that never varies has no weights, and says nothing of its region.
        varies = sums.power > 0
        numbers = self.regions[varies].unique().tolist()
        regions = [torch.nonzero((self.regions == n) & varies).squeeze(1) for n in numbers]
        known = [self.known[n] for n in numbers] if self.known else None
        priors = self.pooling.priors(sums, self.windows, regions, known)
        weights, windowed = torch.zeros(self.pairs.features.shape[1], len(varies)), 0.0
        for voxels, prior in zip(regions, priors, strict=True):
            posterior = Posterior.of(sums.of_voxels(voxels), prior, self.windows)
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

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

from dataclasses import dataclass

import torch

from fmri2img.models._forward import Pairs, shares_of
from fmri2img.models._windows import Windows
from fmri2img.models.base import VoxelPrior

# Share of a voxel's variance that a picture may explain: sizes of the noise to choose from.
_EXPLAINED = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85)
_PRIOR_EXPLAINED = 0.3  # by the prior that the first round starts with
_TINY = 1e-6


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

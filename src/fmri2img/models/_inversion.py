"""Inverting a linear model of the voxels: the prior over pictures, and the posterior mean of the
picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch

from fmri2img.models._noise import Noise, SolvedNoise, root_of

Grid = tuple[int, int, int]  # channels, height, width


def shrink_covariance(sample: torch.Tensor, shrinkage: float, grids: list[Grid]) -> torch.Tensor:
    """Shrink a covariance of descriptions towards one that is separable over channels and places,
    without covariance between parts.

    Parameters
    ----------
    sample : Tensor, shape (d, d), float64
    shrinkage : float
        Weight of the target: for each part, the Kronecker product of a covariance of channels and
        one of places.
    grids : list of (channels, height, width)

    Returns
    -------
    Tensor, shape (d, d), float64
    """
    target = torch.zeros_like(sample)
    for part, between, within in _apart(sample, grids):
        target[part, part] = torch.kron(between, within)
    shrunk = (1 - shrinkage) * sample + shrinkage * target
    shrunk.diagonal().add_(_ridge(sample))
    return shrunk


def _ridge(sample: torch.Tensor) -> torch.Tensor:
    """Return a variance that keeps the matrix invertible for any number of images."""
    return 1e-5 * sample.diagonal().mean().clamp(min=1e-12)


def _apart(
    sample: torch.Tensor, grids: list[Grid]
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Approximate the covariance of each part by a Kronecker product of channels and places, with
    one step of the flip-flop algorithm; yields the part's place, and both factors.
    """
    start = 0
    for channels, height, width in grids:
        places = height * width
        part = slice(start, start + channels * places)
        blocks = sample[part, part].reshape(channels, places, channels, places)
        between = torch.einsum("aibi->ab", blocks) / places
        between = between / between.trace().clamp(min=1e-12) * channels + 1e-6 * torch.eye(
            channels, dtype=sample.dtype
        )
        within = torch.einsum("aibj,ba->ij", blocks, torch.linalg.inv(between)) / channels
        yield part, between, within
        start = part.stop


class View(Protocol):
    """What voxels see of a prior over descriptions."""

    def against(self, noise: Noise) -> "Inversion":
        """Invert the voxels' model, given their noise."""


def views_of(
    sample: torch.Tensor,
    grids: list[Grid],
    weights: torch.Tensor,
    n_latents: int,
    shrinkages: list[float],
) -> dict[float, View]:
    """Return what voxels see of a covariance, by the weight of the simpler one
    (`shrink_covariance`).

    Parameters
    ----------
    sample : Tensor, shape (d, d), float64
    grids : list of (channels, height, width)
    weights : Tensor, shape (d, v)
    n_latents : int
        The first ones of a description's numbers, which are wanted.
    shrinkages : list of float
    """
    if weights.shape[1] >= len(sample):
        return {
            shrinkage: _Rooted(
                weights, root_of(shrink_covariance(sample, shrinkage, grids)), n_latents
            )
            for shrinkage in shrinkages
        }
    weights = weights.double()
    # A shrunk covariance is a sum of two, and so is all that voxels see of it.
    ridge = _ridge(sample)
    products = torch.empty_like(weights)
    variances = torch.empty(len(sample), dtype=torch.float64)
    for part, between, within in _apart(sample, grids):
        by_place = within @ weights[part].unflatten(0, (len(between), -1))
        products[part] = torch.einsum("ab,bpv->apv", between, by_place).flatten(0, 1)
        variances[part] = torch.outer(between.diagonal(), within.diagonal()).flatten()
    simple = _Seen.of(products, variances, ridge, weights, n_latents)
    whole = _Seen.of(sample @ weights, sample.diagonal(), ridge, weights, n_latents)
    return {shrinkage: whole.mixed(simple, shrinkage) for shrinkage in shrinkages}


@dataclass(frozen=True)
class _Rooted:
    """View of more voxels than a description has numbers: their weights (d, v) and the root R
    (d, d) of a covariance S = R R^T.
    """

    weights: torch.Tensor
    root: torch.Tensor
    n_latents: int

    @cached_property
    def weighted(self) -> torch.Tensor:
        """W^T R, shape (v, d)."""
        return self.weights.double().T @ self.root

    def against(self, noise: Noise) -> "Inversion":
        if isinstance(noise, SolvedNoise):
            values, vectors = _lengths(self.root.T @ noise.precision @ self.root)
            lengths = values.sqrt()
            whitened = noise.solution @ (self.root @ vectors / lengths).float()
        else:
            both = torch.linalg.solve_triangular(noise.double(), self.weighted, upper=False)
            values, vectors = _lengths(both.T @ both)
            lengths = values.sqrt()
            whitened = torch.linalg.solve_triangular(
                noise.T, (both @ vectors / lengths).float(), upper=True
            )
        wanted = self.root[: self.n_latents]
        return Inversion(wanted @ vectors * lengths, values, wanted.square().sum(1), whitened)


def _lengths(precision: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the eigenvalues of a matrix (d, d) that are not 0, and their eigenvectors."""
    values, vectors = torch.linalg.eigh(precision)
    real = values > 1e-10 * values[-1].clamp(min=1e-12)
    return values[real], vectors[:, real]


@dataclass(frozen=True)
class _Seen:
    """View of fewer voxels: W^T S W (v, v) and S W for the latents (n_latents, v), and the latents'
    variances (n_latents,).
    """

    within: torch.Tensor
    across: torch.Tensor
    variance: torch.Tensor

    @classmethod
    def of(
        cls,
        products: torch.Tensor,
        variances: torch.Tensor,
        ridge: torch.Tensor,
        weights: torch.Tensor,
        n_latents: int,
    ) -> "_Seen":
        """Take S W (d, v) and the diagonal of S (d,), and add ``ridge`` to that diagonal."""
        products += ridge * weights
        return cls(
            weights.T @ products, products[:n_latents].clone(), variances[:n_latents] + ridge
        )

    def mixed(self, other: "_Seen", share: float) -> "_Seen":
        """Return the view of a covariance of which a share is the other one."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Seen(*((1 - share) * ours + share * theirs for ours, theirs in pairs))

    def against(self, noise: Noise) -> "Inversion":
        if isinstance(noise, SolvedNoise):
            raise TypeError("few voxels have a root of their noise")
        root = noise.double()
        half = torch.linalg.solve_triangular(root, self.within, upper=False)
        values, vectors = torch.linalg.eigh(
            torch.linalg.solve_triangular(root, half.T, upper=False)
        )
        whitened = torch.linalg.solve_triangular(root.T, vectors, upper=True)
        across = self.across @ whitened
        return Inversion(across, values.clamp(min=0), self.variance, whitened.float())


@dataclass(frozen=True)
class Inversion:
    """An encoding model with prior and noise, ready to be inverted for noise of any size.

    With C = L L^T and the eigenvectors U and eigenvalues e of L^-1 W^T S W L^-T, the posterior mean
    for noise c C is S W L^-T U (e + c)^-1 U^T L^-1 (response - mean), so further noise sizes cost
    almost nothing.

    Attributes
    ----------
    across : Tensor, shape (n_latents, k)
        S W L^-T U, rows of the latents only: the rest of a description is not needed.
    values : Tensor, shape (k,)
        e.
    prior_variance : Tensor, shape (n_latents,)
        Diagonal of S.
    whitened : Tensor, shape (v, k)
        L^-T U.
    """

    across: torch.Tensor
    values: torch.Tensor
    prior_variance: torch.Tensor
    whitened: torch.Tensor

    def gain(self, noise: float | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the linear map (v, n_latents) to the posterior mean of the latent, and the
        posterior's SDs (n_latents,).
        """
        filtered = self.across / (self.values + noise)
        variance = self.prior_variance - (self.across * filtered).sum(1)
        gain = self.whitened.double() @ filtered.T
        return gain.float(), variance.clamp(min=0).sqrt().float()

    def covariance(self, prior: torch.Tensor, noise: float | torch.Tensor) -> torch.Tensor:
        """Return the posterior's covariance (n_latents, n_latents), given that of the prior."""
        return prior - (self.across / (self.values + noise)) @ self.across.T

    def predict(self, projected: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return posterior means (n, n_latents) from responses times ``whitened``, (n, k), with
        noise of sizes (n,).
        """
        return (projected / (self.values + noise[:, None])) @ self.across.T

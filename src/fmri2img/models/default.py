"""An encoder for scarce brain data: it learns the way from latents to voxels, and inverts it.

Each voxel sees a neighbourhood of the latent grid only; how responses vary around that is learnt from what is left, and what latents are
likely from pictures alone. The encoder is the posterior mean of the latent given the response: a linear map, found in closed form.

    response = W^T (latent - mean) + noise,  latent ~ N(mean, S),  noise ~ N(0, C)
    E[latent | response] = mean + (S^-1 + W C^-1 W^T)^-1 W C^-1 (response - its mean)

Penalties, windows, the shrinkage of S and C and the size of the noise are chosen by cross-validation over training images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from fmri2img.config import Params
from fmri2img.models.base import Encoder, TrainingTensors

_CUT = 0.03  # a window is cut where it has fallen to this share of its peak
_IMAGES_AT_ONCE = 1500  # on which a penalty is judged in one fold: more would cost time and change no choice
_Share = Annotated[float, Field(ge=0, le=1)]


class Settings(Params):
    """``train.default`` in ``params.yaml``."""

    window_sizes: list[Annotated[float, Field(gt=0)]]
    penalties: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    prior_shrinkages: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
    noise_shrinkages: Annotated[list[_Share], Field(min_length=1)]
    noise_scales: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    n_folds: Annotated[int, Field(ge=2)]
    seed: int


class Model(Encoder):
    """The posterior mean of the latent given the responses of all voxels, as a linear map.

    Attributes
    ----------
    linear : Linear
        From z-scored voxels to the flattened latent.
    posterior_sd : Tensor, shape (4 * h * w,)
        SD of each latent number given the response: the same for all responses.
    """

    Settings = Settings
    trained_by_gradient = False
    posterior_sd: torch.Tensor

    def __init__(self, n_voxels: int, latent_shape: tuple[int, int, int], settings: Any) -> None:
        super().__init__(n_voxels, latent_shape, settings)
        n_latents = int(np.prod(latent_shape))
        self.linear = torch.nn.Linear(n_voxels, n_latents)
        self.register_buffer("posterior_sd", torch.ones(n_latents))

    def decode_voxels(self, voxels: torch.Tensor) -> torch.Tensor:
        """Map z-scored voxels (n, n_voxels) to latents (n, 4, h, w)."""
        return self.linear(voxels).unflatten(1, self.latent_shape)  # (n, 4, h, w)

    @torch.no_grad()
    def solve(self, data: TrainingTensors) -> dict[str, float]:
        """Fit encoding model, prior and noise on training images, and invert them."""
        settings = self.settings
        counts = torch.bincount(data.trial_images, minlength=len(data.latents)).float()
        voxels, latents = self.normalizer(data.image_betas), data.latents.flatten(1)
        voxel_mean, latent_mean = (counts @ voxels) / counts.sum(), latents.mean(0)
        pairs = _Pairs(latents - latent_mean, voxels - voxel_mean, counts)
        folds = torch.from_numpy(np.random.default_rng(settings.seed).permutation(len(latents)) % min(settings.n_folds, len(latents)))
        windows = list(make_windows(self.latent_shape, settings.window_sizes))
        # Penalties are in units of the variance of a latent number.
        penalties = torch.tensor(settings.penalties) * latents.var(dim=0, correction=0).mean().clamp(min=1e-12)
        choice, error = choose_inversion(pairs, folds, windows, penalties, settings, self.latent_shape)
        forward = ForwardModel.fit(pairs, folds, windows, penalties)
        weights, posterior_sd = forward.invert(prior_covariance(pairs.latents, choice.prior_shrinkage, self.latent_shape), choice)
        self.linear.weight.copy_(weights.T)
        self.linear.bias.copy_(latent_mean - voxel_mean @ weights)
        self.posterior_sd.copy_(posterior_sd)
        facts = {"cross_validated_mse": error, "windowed_share": float((forward.windows > 0).float().mean())}
        return facts | {name: float(value) for name, value in vars(choice).items()}


@dataclass(frozen=True)
class _Pairs:
    """Centred latents (n, d) and averaged voxels (n, v) of training images, and how many trials were averaged (n,)."""

    latents: torch.Tensor
    voxels: torch.Tensor
    counts: torch.Tensor

    def of(self, rows: torch.Tensor) -> "_Pairs":
        return _Pairs(self.latents[rows], self.voxels[rows], self.counts[rows])

    def products(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return latents^T latents (d, d) and latents^T voxels (d, v), images weighted by their trials."""
        weighted = self.latents * self.counts[:, None]
        return weighted.T @ self.latents, weighted.T @ self.voxels


def make_windows(latent_shape: tuple[int, ...], sizes: list[float]) -> Iterator[torch.Tensor]:
    """Yield what a voxel may see of the latent grid, shape (4 * h * w,), 1 at most: all of it, then Gaussian windows of each size.

    Parameters
    ----------
    latent_shape : tuple of int
        (4, h, w).
    sizes : list of float
        SDs in cells of the grid; centres are as far apart as the SD, 2 cells at least.
    """
    channels, height, width = latent_shape
    yield torch.ones(channels * height * width)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for size in sizes:
        step = max(2.0, size)
        for row, column in product(np.arange((step - 1) / 2, height, step), np.arange((step - 1) / 2, width, step)):
            window = torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * size**2))
            yield window.float().flatten().repeat(channels)


@dataclass(frozen=True)
class _Eigen:
    """A ridge regression within a window, ready for any penalty: features scaled by the window are penalised where it is low."""

    kept: torch.Tensor
    scale: torch.Tensor
    values: torch.Tensor
    vectors: torch.Tensor

    @classmethod
    def of(cls, gram: torch.Tensor, window: torch.Tensor) -> "_Eigen":
        kept = torch.nonzero(window > _CUT).squeeze(1)
        scale = window[kept]
        values, vectors = torch.linalg.eigh(gram[kept][:, kept] * scale[:, None] * scale)
        return cls(kept, scale, values.clamp(min=0), vectors)

    def rotate(self, cross: torch.Tensor) -> torch.Tensor:
        """Turn latents^T voxels (d, v) into the basis of the solution."""
        return self.vectors.T @ (cross[self.kept] * self.scale[:, None])

    def features(self, latents: torch.Tensor) -> torch.Tensor:
        """Turn latents (n, d) into the same basis."""
        return (latents[:, self.kept] * self.scale) @ self.vectors

    def weights(self, rotated: torch.Tensor, penalties: torch.Tensor) -> torch.Tensor:
        """Return weights of the kept latent numbers for one penalty a voxel."""
        return self.scale[:, None] * (self.vectors @ (rotated / (self.values[:, None] + penalties)))


def window_errors(pairs: _Pairs, folds: torch.Tensor, windows: list[torch.Tensor], penalties: torch.Tensor) -> torch.Tensor:
    """Return the cross-validated squared error of every window, penalty and voxel, shape (n_folds, n_windows, n_penalties, v)."""
    names = folds.unique()
    errors = torch.zeros(len(names), len(windows), len(penalties), pairs.voxels.shape[1])
    for place, fold in enumerate(names):
        held_out = pairs.of(torch.nonzero(folds == fold).squeeze(1)[:_IMAGES_AT_ONCE])
        gram, cross = pairs.of(folds != fold).products()
        for number, window in enumerate(windows):
            eigen = _Eigen.of(gram, window)
            rotated, features = eigen.rotate(cross), eigen.features(held_out.latents)
            for order, penalty in enumerate(penalties):
                misses = held_out.voxels - features @ (rotated / (eigen.values[:, None] + penalty))
                errors[place, number, order] = held_out.counts @ misses**2
    return errors


def choose_windows(errors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the numbers of each voxel's window and penalty of the smallest error, both of shape (v,); ``errors`` as `window_errors`."""
    best = errors.sum(0).flatten(0, 1).argmin(0)
    return best // errors.shape[2], best % errors.shape[2]


def fit_windows(
    pairs: _Pairs, windows: list[torch.Tensor], penalties: torch.Tensor, chosen: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """Return the encoding weights (d, v) for chosen windows and penalties."""
    gram, cross = pairs.products()
    weights = torch.zeros_like(cross)
    for number in chosen[0].unique():
        voxels = torch.nonzero(chosen[0] == number).squeeze(1)
        eigen = _Eigen.of(gram, windows[int(number)])
        found = eigen.weights(eigen.rotate(cross[:, voxels]), penalties[chosen[1][voxels]])
        weights[eigen.kept[:, None], voxels] = found
    return weights


@dataclass(frozen=True)
class Choice:
    """How an encoding model is inverted: shrinkage of the prior and of the noise's covariance, and the noise's size."""

    prior_shrinkage: float
    noise_shrinkage: float
    noise_scale: float


@dataclass(frozen=True)
class ForwardModel:
    """From latents to voxels.

    Attributes
    ----------
    weights : Tensor, shape (d, v)
    windows : Tensor, shape (v,)
        Number of each voxel's window; 0 is all of the grid.
    residual : Tensor, shape (n, v)
        What models of other folds leave of averaged responses.
    counts : Tensor, shape (n,)
        Trials that were averaged.
    """

    weights: torch.Tensor
    windows: torch.Tensor
    residual: torch.Tensor
    counts: torch.Tensor

    @classmethod
    def fit(cls, pairs: _Pairs, folds: torch.Tensor, windows: list[torch.Tensor], penalties: torch.Tensor) -> "ForwardModel":
        """Choose window and penalty of each voxel by cross-validation, and fit."""
        chosen = choose_windows(window_errors(pairs, folds, windows, penalties))
        residual = pairs.voxels.clone()
        for fold in folds.unique():
            rows = folds == fold
            residual[rows] -= pairs.latents[rows] @ fit_windows(pairs.of(~rows), windows, penalties, chosen)
        return cls(fit_windows(pairs, windows, penalties, chosen), chosen[0], residual, pairs.counts)

    def invert(self, prior: torch.Tensor, choice: Choice) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the linear map (v, d) to the posterior mean, and the posterior's SDs (d,)."""
        whitened = torch.cholesky_solve(self.weights.T, noise_factor(self.residual, self.counts, choice.noise_shrinkage)).double()
        precision = torch.linalg.inv(prior) + self.weights.double() @ whitened / choice.noise_scale
        posterior = torch.linalg.inv(precision)
        return (whitened @ posterior / choice.noise_scale).float(), posterior.diagonal().clamp(min=0).sqrt().float()


def choose_inversion(
    pairs: _Pairs,
    folds: torch.Tensor,
    windows: list[torch.Tensor],
    penalties: torch.Tensor,
    settings: Settings,
    latent_shape: tuple[int, ...],
) -> tuple[Choice, float]:
    """Choose by the squared error of held-out latents; returns the choice and that error, a mean over latent numbers.

    For each fold everything is fitted anew on the others, windows and noise included: judged with windows or noise that had seen it, a fold
    of pure noise would seem to be decoded.
    """
    options = [Choice(*values) for values in product(settings.prior_shrinkages, settings.noise_shrinkages, settings.noise_scales)]
    errors = dict.fromkeys(options, 0.0)
    for fold in folds.unique():
        held_out, others = pairs.of(folds == fold), folds != fold
        rest = pairs.of(others)
        forward = ForwardModel.fit(rest, folds[others], windows, penalties)
        priors = {share: torch.linalg.inv(prior_covariance(rest.latents, share, latent_shape)) for share in settings.prior_shrinkages}
        for noise_shrinkage in settings.noise_shrinkages:
            factor = noise_factor(forward.residual, forward.counts, noise_shrinkage)
            whitened = torch.cholesky_solve(forward.weights.T, factor)  # (v, d)
            evidence, seen = (forward.weights @ whitened).double(), (held_out.voxels @ whitened).double()
            for option in (option for option in options if option.noise_shrinkage == noise_shrinkage):
                precision = priors[option.prior_shrinkage] + evidence / option.noise_scale
                predicted = torch.linalg.solve(precision, seen.T / option.noise_scale).T
                errors[option] += float(((predicted - held_out.latents) ** 2).sum()) / pairs.latents.numel()
    best = min(options, key=lambda option: errors[option])
    return best, errors[best]


def prior_covariance(latents: torch.Tensor, shrinkage: float, latent_shape: tuple[int, ...]) -> torch.Tensor:
    """Return the covariance of latents, shrunk towards one in which channels and places vary apart from each other.

    Parameters
    ----------
    latents : Tensor, shape (n, 4 * h * w)
        Centred.
    shrinkage : float
        Share of the target, a Kronecker product of a covariance of channels and one of places.
    latent_shape : tuple of int

    Returns
    -------
    Tensor, shape (4 * h * w, 4 * h * w), float64
    """
    channels, places = latent_shape[0], latent_shape[1] * latent_shape[2]
    sample = latents.double().T @ latents.double() / len(latents)
    blocks = sample.reshape(channels, places, channels, places)
    between = torch.einsum("aibi->ab", blocks) / places
    between = between / between.trace() * channels + 1e-6 * torch.eye(channels, dtype=torch.float64)
    within = torch.einsum("aibj,ba->ij", blocks, torch.linalg.inv(between)) / channels
    target = torch.kron(between, within)
    # What is left keeps the matrix invertible for any number of images.
    ridge = 1e-6 * sample.diagonal().mean().clamp(min=1e-12) * torch.eye(len(sample), dtype=torch.float64)
    return (1 - shrinkage) * sample + shrinkage * target + ridge


def noise_factor(residual: torch.Tensor, counts: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """Return the Cholesky factor of the residual covariance over voxels, shape (v, v), its off-diagonal elements shrunk.

    Parameters
    ----------
    residual : Tensor, shape (n, v)
        What the encoding model left of averaged responses in cross-validation.
    counts : Tensor, shape (n,)
        Trials that were averaged: the covariance is that of a single trial.
    shrinkage : float
        1 leaves the diagonal only.
    """
    covariance = (residual * counts[:, None]).T @ residual / len(residual)
    # A voxel that never varies has no noise, and says nothing.
    floor = 1e-3 * covariance.diagonal().mean().clamp(min=1e-6)
    diagonal = covariance.diagonal() + floor
    covariance *= 1 - shrinkage
    covariance.diagonal().copy_(diagonal)
    return torch.linalg.cholesky(covariance)

"""An encoder for scarce brain data: it learns the way from pictures to voxels, and inverts it.

A picture is described by its latent and by local contrast energies, to which visual cortex responds and of which a latent, being nearly
linear in the picture, says little. Each voxel sees a neighbourhood of that description; how responses vary around it is learnt from
what is left, and what descriptions are likely from pictures alone, those of other people included. The encoder is the posterior mean
of the latent given the response: a linear map for each number of averaged repetitions, in closed form.

    response = W^T (description - mean) + noise,  description ~ N(mean, S),  noise ~ N(0, C)
    E[description | response] = mean + S W (W^T S W + C)^-1 (response - its mean)

Penalties, windows, the shrinkage of S and C and the size of the noise are chosen by cross-validation over training images.
"""

from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from fmri2img.config import Params
from fmri2img.models._forward import ForwardModel, Pairs, make_windows
from fmri2img.models.base import Encoder, TrainingTensors

MAX_REPETITIONS = 3  # NSD shows an image up to three times
_TRIALS_AT_ONCE = 2048
_Share = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0)]


class Settings(Params):
    """``train.default`` in ``params.yaml``.

    Attributes
    ----------
    energies : bool
        Whether contrast energies are part of a picture's description.
    prior_pictures : bool
        Whether pictures that only other subjects saw count in what is likely.
    window_sizes : list of float
        SDs of candidate windows, in cells of the latent grid.
    penalties : list of float
        Of the encoding model, in units of the variance of a latent number.
    prior_shrinkages, noise_shrinkages : list of float
        Shares of the simpler covariance: channels apart from places; no correlation between voxels.
    noise_scales : list of float
        Factors of the noise's covariance.
    n_folds : int
    seed : int
    """

    energies: bool
    prior_pictures: bool
    window_sizes: list[_Positive]
    penalties: Annotated[list[_Positive], Field(min_length=1)]
    prior_shrinkages: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
    noise_shrinkages: Annotated[list[_Share], Field(min_length=1)]
    noise_scales: Annotated[list[_Positive], Field(min_length=1)]
    n_folds: Annotated[int, Field(ge=2)]
    seed: int


class Model(Encoder):
    """The posterior mean of the latent given the responses of all voxels, as a linear map for each number of repetitions.

    Attributes
    ----------
    gains : Tensor, shape (3, n_voxels, 4 * h * w)
        From z-scored voxels, averaged over one, two or three trials, to the flattened latent.
    offsets : Tensor, shape (3, 4 * h * w)
    posterior_sd : Tensor, shape (3, 4 * h * w)
        SD of each latent number given the response: the same for all responses.
    """

    Settings = Settings
    trained_by_gradient = False
    states_its_spread = True
    gains: torch.Tensor
    offsets: torch.Tensor
    posterior_sd: torch.Tensor

    def __init__(self, n_voxels: int, latent_shape: tuple[int, int, int], settings: Any) -> None:
        super().__init__(n_voxels, latent_shape, settings)
        n_latents = int(np.prod(latent_shape))
        self.register_buffer("gains", torch.zeros(MAX_REPETITIONS, n_voxels, n_latents))
        self.register_buffer("offsets", torch.zeros(MAX_REPETITIONS, n_latents))
        self.register_buffer("posterior_sd", torch.ones(MAX_REPETITIONS, n_latents))

    def forward(self, betas: torch.Tensor, repetitions: torch.Tensor | None = None) -> torch.Tensor:
        """Predict latents (n, 4, h, w) from averages of ``repetitions`` trials (n,), three if it is not given."""
        voxels = self.normalizer(betas)
        latents = voxels.new_empty(len(voxels), self.gains.shape[2])
        rows = self._maps(repetitions, len(voxels))
        for number in rows.unique():
            mine = rows == number
            latents[mine] = voxels[mine] @ self.gains[number] + self.offsets[number]
        return latents.unflatten(1, self.latent_shape)  # (n, 4, h, w)

    def spread(self, n: int, repetitions: torch.Tensor | None = None) -> torch.Tensor:
        """Return the SD of each predicted number's error, shape (n, 4, h, w)."""
        return self.posterior_sd[self._maps(repetitions, n)].unflatten(1, self.latent_shape)

    def _maps(self, repetitions: torch.Tensor | None, n: int) -> torch.Tensor:
        if repetitions is None:
            return torch.full((n,), MAX_REPETITIONS - 1)
        return repetitions.long().clamp(1, MAX_REPETITIONS) - 1

    @torch.no_grad()
    def solve(self, data: TrainingTensors) -> dict[str, float]:
        """Fit encoding model, prior and noise on training images, and invert them."""
        settings, world = self.settings, _World.of(data, self.settings)
        counts = data.repetitions.float()
        if len(counts) < 2 * settings.n_folds:  # nothing can be judged on so few: predict what is likely before any response
            self.offsets.copy_(world.latent_mean.expand_as(self.offsets))
            self.posterior_sd.copy_(world.priors(world.seen, [1.0])[1.0].diagonal()[: world.n_latents].sqrt().expand_as(self.posterior_sd))
            self.latent_sd.copy_(self.posterior_sd[-1].unflatten(0, self.latent_shape))
            return {}
        voxels = self.normalizer(data.image_betas)
        voxel_mean = (counts @ voxels) / counts.sum()
        pairs = Pairs(world.seen, voxels - voxel_mean, counts)
        folds = torch.from_numpy(np.random.default_rng(settings.seed).permutation(len(counts)) % min(settings.n_folds, len(counts)))
        windows = list(make_windows(world.grids, settings.window_sizes))
        penalties = torch.tensor(settings.penalties) * world.seen[:, : world.n_latents].var(dim=0, correction=0).mean().clamp(min=1e-12)
        share = misfit_share(self.normalizer, data, pairs, folds, windows, penalties)
        choice, error = choose_inversion(pairs, folds, windows, penalties, settings, world, share)
        forward = ForwardModel.fit(pairs, folds, windows, penalties)
        prior = world.priors(pairs.features, [choice.prior_shrinkage])[choice.prior_shrinkage]
        inverse = Inversion.of(forward, prior, choice.noise_shrinkage)
        for repetitions in range(1, MAX_REPETITIONS + 1):
            noise = choice.noise_scale * relative_noise(repetitions, counts, share)
            gain, spread = inverse.gain(noise, world.n_latents)
            self.gains[repetitions - 1].copy_(gain)
            self.offsets[repetitions - 1].copy_(world.latent_mean - voxel_mean @ gain)
            self.posterior_sd[repetitions - 1].copy_(spread)
        self.latent_sd.copy_(self.posterior_sd[-1].unflatten(0, self.latent_shape))
        windowed = (forward.candidates.shares * (forward.candidates.windows > 0)).sum(0).mean()
        facts = {"cross_validated_mse": error, "windowed_share": float(windowed), "misfit_share": share}
        return facts | {name: float(value) for name, value in vars(choice).items()}


@dataclass(frozen=True)
class _World:
    """Descriptions of pictures, centred on the mean of all.

    Attributes
    ----------
    seen : Tensor, shape (n, d)
        Of training images: latents first, then energies.
    others : Tensor, shape (d, d)
        Sum of products of those of pictures without brain data, of which there are ``n_others``.
    n_others : int
    latent_mean : Tensor, shape (4 * h * w,)
    grids : list of (channels, height, width)
        Of the latents, and of energies if there are any.
    """

    seen: torch.Tensor
    others: torch.Tensor
    n_others: int
    latent_mean: torch.Tensor
    grids: list[tuple[int, int, int]]

    @classmethod
    def of(cls, data: TrainingTensors, settings: Settings) -> "_World":
        n_others = len(data.prior_latents) if settings.prior_pictures else 0
        latents = torch.cat([data.latents, data.prior_latents[:n_others]])
        parts = [latents - latents.mean(0)]
        if settings.energies and data.energies.shape[1]:
            energies = torch.cat([data.energies, data.prior_energies[:n_others]])
            energies = energies - energies.mean(0)
            # Each channel counts as much as a latent number, however strong its filter.
            scale = parts[0].square().mean().sqrt() / energies.square().mean((0, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
            parts.append(energies * scale)
        described = torch.cat([part.flatten(1) for part in parts], dim=1)
        grids = [(part.shape[1], part.shape[2], part.shape[3]) for part in parts]
        n = len(data.latents)
        return cls(described[:n], described[n:].T @ described[n:], n_others, latents.mean(0).flatten(), grids)

    @property
    def n_latents(self) -> int:
        """How many of a description's numbers are the latent's."""
        return int(np.prod(self.grids[0]))

    def priors(self, seen: torch.Tensor, shrinkages: list[float]) -> dict[float, torch.Tensor]:
        """Return the covariances of descriptions of some training images and of all other pictures, by shrinkage."""
        sample = (seen.T @ seen + self.others).double() / (len(seen) + self.n_others)
        return {shrinkage: shrink_covariance(sample, shrinkage, self.grids) for shrinkage in shrinkages}


def shrink_covariance(sample: torch.Tensor, shrinkage: float, grids: list[tuple[int, int, int]]) -> torch.Tensor:
    """Return a covariance of descriptions, shrunk towards one in which channels and places vary apart, and parts do not covary.

    Parameters
    ----------
    sample : Tensor, shape (d, d), float64
    shrinkage : float
        Share of the target, for each part a Kronecker product of a covariance of channels and one of places.
    grids : list of (channels, height, width)

    Returns
    -------
    Tensor, shape (d, d), float64
    """
    target = torch.zeros_like(sample)
    start = 0
    for channels, height, width in grids:
        part = slice(start, start + channels * height * width)
        target[part, part] = _apart(sample[part, part], channels)
        start = part.stop
    # What is left keeps the matrix invertible for any number of images.
    ridge = 1e-5 * sample.diagonal().mean().clamp(min=1e-12) * torch.eye(len(sample), dtype=torch.float64)
    return (1 - shrinkage) * sample + shrinkage * target + ridge


def _apart(sample: torch.Tensor, channels: int) -> torch.Tensor:
    """Return the Kronecker product of channels and places that is nearest to a covariance in one step of the flip-flop algorithm."""
    places = len(sample) // channels
    blocks = sample.reshape(channels, places, channels, places)
    between = torch.einsum("aibi->ab", blocks) / places
    between = between / between.trace().clamp(min=1e-12) * channels + 1e-6 * torch.eye(channels, dtype=sample.dtype)
    within = torch.einsum("aibj,ba->ij", blocks, torch.linalg.inv(between)) / channels
    return torch.kron(between, within)


def misfit_share(
    normalizer: torch.nn.Module,
    data: TrainingTensors,
    pairs: Pairs,
    folds: torch.Tensor,
    windows: list[torch.Tensor],
    penalties: torch.Tensor,
) -> float:
    """Return the share of a single trial's unexplained variance that repeats with the image: what no averaging takes away.

    Variance within images is that of trials; what an encoding model leaves of averages holds the same, divided by their number, and
    what the model misses. The model is that of the whole grid, which needs no choice.
    """
    within, freedom = _variance_within_images(normalizer, data)
    if freedom < 1:
        return 0.0
    forward = ForwardModel.fit(pairs, folds, windows[:1], penalties)
    left = forward.residual.square().mean().item() - within * float((1 / pairs.counts).mean())
    return max(0.0, left) / (max(0.0, left) + within) if within > 0 else 1.0


def _variance_within_images(normalizer: torch.nn.Module, data: TrainingTensors) -> tuple[float, float]:
    """Return the mean variance of z-scored trials around their image's mean, and its degrees of freedom."""
    total, freedom = 0.0, 0.0
    for rows in torch.arange(len(data.betas)).split(_TRIALS_AT_ONCE):
        known = torch.isfinite(data.betas[rows])
        misses = normalizer(data.betas[rows]) - normalizer(data.image_betas[data.trial_images[rows]])
        total += float((misses * known).square().sum(dtype=torch.float64))
        freedom += float(known.sum())
    freedom -= float(torch.isfinite(data.image_betas).sum())
    return (total / freedom, freedom) if freedom >= 1 else (0.0, 0.0)


def relative_noise(repetitions: float | torch.Tensor, counts: torch.Tensor, share: float) -> float | torch.Tensor:
    """Return the noise's variance in an average of ``repetitions``, where 1 is the mean, over training images, of that of a trial's worth.

    Parameters
    ----------
    repetitions : float or Tensor
    counts : Tensor, shape (n_images,)
        Trials of each training image; `noise_factor` multiplies residuals of averages by them.
    share : float
        From `misfit_share`.
    """
    reference = share * float(counts.mean()) + (1 - share)
    return (share + (1 - share) / repetitions) / reference


@dataclass(frozen=True)
class Choice:
    """How an encoding model is inverted: shrinkage of the prior and of the noise's covariance, and the noise's size."""

    prior_shrinkage: float
    noise_shrinkage: float
    noise_scale: float


@dataclass(frozen=True)
class Inversion:
    """An encoding model with prior and noise, ready to be inverted for noise of any size.

    With S = R R^T, C = L L^T and the eigenvectors U and eigenvalues e of R^T W C^-1 W^T R, the posterior mean for noise c C is
    R U (e + c)^-1 U^T R^T W C^-1 (response - mean): sizes of the noise cost next to nothing.

    Attributes
    ----------
    root : Tensor, shape (d, k)
        R U.
    values : Tensor, shape (k,)
        e.
    prior_root : Tensor, shape (d, d)
        R.
    whitened : Tensor, shape (v, k)
        C^-1 W^T R U.
    """

    root: torch.Tensor
    values: torch.Tensor
    prior_root: torch.Tensor
    whitened: torch.Tensor

    @classmethod
    def of(cls, forward: ForwardModel, prior: torch.Tensor, noise_shrinkage: float) -> "Inversion":
        """Decompose; ``prior`` has shape (d, d)."""
        factor = noise_factor(forward.residual, forward.counts, noise_shrinkage)
        return cls.decompose(torch.linalg.solve_triangular(factor, forward.weights.T, upper=False), factor, torch.linalg.cholesky(prior))

    @classmethod
    def decompose(cls, seen: torch.Tensor, factor: torch.Tensor, prior_root: torch.Tensor) -> "Inversion":
        """Decompose L^-1 W^T (v, d) with L (v, v) and R (d, d)."""
        both = seen.double() @ prior_root  # (v, d): L^-1 W^T R
        if both.shape[0] < both.shape[1]:
            values, left = torch.linalg.eigh(both @ both.T)
            real = values > 1e-10 * values[-1].clamp(min=1e-12)
            values, left = values[real], left[:, real]
            vectors = (both.T @ left) / values.sqrt()
        else:
            values, vectors = torch.linalg.eigh(both.T @ both)
            values = values.clamp(min=0)
        whitened = torch.linalg.solve_triangular(factor.T, (both @ vectors).float(), upper=True)  # (v, k)
        return cls(prior_root @ vectors, values, prior_root, whitened)

    def gain(self, noise: float | torch.Tensor, n_latents: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the linear map (v, n_latents) to the posterior mean of the latent, and the posterior's SDs (n_latents,)."""
        root = self.root[:n_latents]
        gain = self.whitened.double() @ (root / (self.values + noise)).T
        variance = self.prior_root[:n_latents].square().sum(1) - (root.square() * (self.values / (self.values + noise))).sum(1)
        return gain.float(), variance.clamp(min=0).sqrt().float()

    def predict(self, projected: torch.Tensor, noise: torch.Tensor, n_latents: int) -> torch.Tensor:
        """Return posterior means (n, n_latents) of responses times ``whitened``, (n, k), for noise of sizes (n,)."""
        return (projected / (self.values + noise[:, None])) @ self.root[:n_latents].T


def choose_inversion(
    pairs: Pairs,
    folds: torch.Tensor,
    windows: list[torch.Tensor],
    penalties: torch.Tensor,
    settings: Settings,
    world: _World,
    share: float,
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
        truth = held_out.features[:, : world.n_latents].double()
        noise = relative_noise(held_out.counts, rest.counts, share)
        forward = ForwardModel.fit(rest, folds[others], windows, penalties)
        priors = world.priors(rest.features, settings.prior_shrinkages)
        roots = {shrinkage: torch.linalg.cholesky(prior) for shrinkage, prior in priors.items()}
        for noise_shrinkage in settings.noise_shrinkages:
            factor = noise_factor(forward.residual, forward.counts, noise_shrinkage)
            seen = torch.linalg.solve_triangular(factor, forward.weights.T, upper=False)
            for prior_shrinkage, root in roots.items():
                inverse = Inversion.decompose(seen, factor, root)
                projected = (held_out.voxels @ inverse.whitened).double()
                for scale in settings.noise_scales:
                    predicted = inverse.predict(projected, scale * torch.as_tensor(noise), world.n_latents)
                    option = Choice(prior_shrinkage, noise_shrinkage, scale)
                    errors[option] += float(((predicted - truth) ** 2).sum()) / (len(pairs.counts) * world.n_latents)
    best = min(options, key=lambda option: errors[option])
    return best, errors[best]


def noise_factor(residual: torch.Tensor, counts: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """Return the Cholesky factor of the residual covariance over voxels, shape (v, v), its off-diagonal elements shrunk.

    Parameters
    ----------
    residual : Tensor, shape (n, v)
        What the encoding model left of averaged responses in cross-validation.
    counts : Tensor, shape (n,)
        Trials that were averaged: the covariance is that of a single trial, as far as averaging takes noise away.
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

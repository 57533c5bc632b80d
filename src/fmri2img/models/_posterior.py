"""What encoders share that learn a model from pictures to voxels, and invert it.

A picture is described by its latent and by local contrast energies. Visual cortex responds to
contrast energy, and a latent, being nearly linear in the picture, says little about it. Each voxel
sees a neighbourhood of the description. The noise covariance is learnt from residuals, and the
prior over descriptions from pictures alone, including those of other people. The encoder is the
posterior mean of the latent given the response: a linear map for each number of averaged
repetitions, in closed form.

    response = W^T (description - mean) + noise,  description ~ N(mean, S),  noise ~ N(0, C)
    E[description | response] = mean + S W (W^T S W + C)^-1 (response - its mean)

The shrinkage of S and C and the size of the noise are chosen by cross-validation over training
images; encoders differ in how they find W.
"""

import logging
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from pydantic import Field

from fmri2img.models._draws import N_DRAWS, draw
from fmri2img.models._forward import ForwardModel, Pairs
from fmri2img.models._inversion import View, shrink_covariance, views_of
from fmri2img.models._noise import (
    misfit_share,
    noise_of,
    relative_noise,
    variance_within_images,
)
from fmri2img.models.base import Encoder, EncoderSettings, TrainingTensors
from fmri2img.project.param_types import Seed

logger = logging.getLogger(__name__)

_Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class PosteriorSettings(EncoderSettings):
    """Settings of every encoder of this kind; part of its section of ``params.yaml``.

    Attributes
    ----------
    energies : bool
        Whether contrast energies are part of a picture's description.
    prior_pictures : bool
        Whether pictures that only other subjects saw are part of the prior.
    window_sizes : list of float
        SDs of candidate windows, in cells of the latent grid.
    prior_shrinkages, noise_shrinkages : list of float
        Weights of the simpler covariance: separable over channels and places for the prior, without
        correlation between voxels for the noise.
    noise_scales : list of float
        Factors on the noise covariance.
    n_folds : int
        Folds of training images for all choices; with fewer than two images a fold, the mean of
        the prior is predicted.
    seed : int
        Of the division into folds, and of draws from the posterior.
    """

    energies: bool
    prior_pictures: bool
    window_sizes: list[Positive]
    prior_shrinkages: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
    noise_shrinkages: Annotated[list[_Share], Field(min_length=1)]
    noise_scales: Annotated[list[Positive], Field(min_length=1)]
    n_folds: Annotated[int, Field(ge=2)]
    seed: Seed


class EncodingModels(Protocol):
    """Encoding models of one subject's voxels."""

    def facts(self) -> dict[str, float]:
        """Return what tells these models from the other candidates."""

    def fitted_on(self, folds: frozenset[int]) -> ForwardModel:
        """Return the model that is fitted on some folds of the training images."""

    def misfit(self) -> torch.Tensor:
        """Return residuals of averaged responses (n, v), from models that did not see them."""

    def settle(self) -> None:
        """Forget what only the other candidates need, which are of no use afterwards."""


class PosteriorEncoder(Encoder):
    """The posterior mean of the latent given the responses of all voxels, as a linear map for each
    number of repetitions.

    Attributes
    ----------
    gains : Tensor, shape (r, n_voxels, 4 * h * w)
        Maps from z-scored voxels, averaged over one to r trials, to the flattened latent.
    offsets : Tensor, shape (r, 4 * h * w)
    posterior_sd : Tensor, shape (r, 4 * h * w)
        SD of each latent number given the response: the same for all responses.
    draws : Tensor, shape (r, n_draws, 4 * h * w)
        Deviations from the mean, drawn from the posterior; none in encoders of version 0.3.0.
    """

    trained_by_gradient = False
    states_its_spread = True
    gains: torch.Tensor
    offsets: torch.Tensor
    posterior_sd: torch.Tensor
    draws: torch.Tensor

    def __init__(self, n_voxels: int, latent_shape: tuple[int, int, int], settings: Any) -> None:
        super().__init__(n_voxels, latent_shape, settings)
        self._make_room(1, n_draws=0)

    def _make_room(self, n_repetitions: int, n_draws: int = N_DRAWS) -> None:
        """Allocate a map for each number of repetitions."""
        n_latents = int(np.prod(self.latent_shape))
        self.register_buffer("gains", torch.zeros(n_repetitions, self.n_voxels, n_latents))
        self.register_buffer("offsets", torch.zeros(n_repetitions, n_latents))
        self.register_buffer("posterior_sd", torch.ones(n_repetitions, n_latents))
        self.register_buffer("draws", torch.zeros(n_repetitions, n_draws, n_latents))

    def _load_from_state_dict(
        self, state_dict: dict[str, torch.Tensor], prefix: str, *args: Any
    ) -> None:
        if f"{prefix}offsets" in state_dict:  # version 0.3.0 kept no draws
            empty = torch.zeros(len(state_dict[f"{prefix}offsets"]), 0, self.draws.shape[2])
            state_dict.setdefault(f"{prefix}draws", empty)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, betas: torch.Tensor, repetitions: torch.Tensor | None = None) -> torch.Tensor:
        """Predict latents (n, 4, h, w) from averages of ``repetitions`` trials (n,), by default the
        maximum.
        """
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

    def deviations(
        self, n: int, n_draws: int, repetitions: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """Return draws from the posterior, minus its mean, shape (n, n_draws, 4, h, w). There are
        `N_DRAWS`, which rows take in turn, so that later rows have those of the first again. None
        for an encoder of version 0.3.0.
        """
        if not self.draws.shape[1]:
            return None
        numbers = torch.arange(n * n_draws).remainder(self.draws.shape[1])
        maps = self._maps(repetitions, n)[:, None]
        return self.draws[maps, numbers.view(n, n_draws)].unflatten(2, self.latent_shape)

    def _maps(self, repetitions: torch.Tensor | None, n: int) -> torch.Tensor:
        most = len(self.offsets)
        if repetitions is None:
            return torch.full((n,), most - 1)
        return repetitions.long().clamp(1, most) - 1

    def voxel_weights(self) -> torch.Tensor:
        """Return the length of each voxel's weights, shape (n_voxels,), for averages of the most
        trials.
        """
        return self.gains[-1].norm(dim=1)

    @torch.no_grad()
    def solve(self, data: TrainingTensors) -> dict[str, float]:
        """Fit encoding model, prior and noise on training images, and invert them."""
        settings, world = self.settings, World.of(data, self.settings)
        counts = data.repetitions.float()
        if len(counts) < 2 * settings.n_folds:  # too few images for cross-validation
            self._make_room(data.most_repetitions)
            self._keep_to_the_prior(world)
            return {"predicts_the_mean": 1.0}
        averages = data.image_betas
        within = variance_within_images(self.normalizer, data.betas, data.trial_images, averages)
        pairs, voxel_mean = Pairs.centred(world.descriptions, self.normalizer(averages), counts)
        del averages  # half a gigabyte at the real size
        folds = torch.from_numpy(
            np.random.default_rng(settings.seed).permutation(len(counts))
            % min(settings.n_folds, len(counts))
        )
        candidates = [
            (models, misfit_share(models.misfit(), counts, *within))
            for models in self.encoding_models(pairs, folds, world, data)
        ]
        models, share = _best(candidates, pairs, folds, settings, world)
        models.settle()
        choice, error = choose_inversion(pairs, folds, models, settings, world, share)
        forward = models.fitted_on(frozenset(folds.tolist()))
        view = world.views(pairs.features, forward, [choice.prior_shrinkage])
        factor = noise_of(forward.residual, counts, forward.weights).shrunk(choice.noise_shrinkage)
        inverse = view[choice.prior_shrinkage].against(factor)
        prior = world.prior(pairs.features, choice.prior_shrinkage)
        self._make_room(data.most_repetitions)
        for repetitions in range(1, data.most_repetitions + 1):
            noise = choice.noise_scale * relative_noise(repetitions, counts, share)
            gain, spread = inverse.gain(noise)
            self.gains[repetitions - 1].copy_(gain)
            self.offsets[repetitions - 1].copy_(world.latent_mean - voxel_mean @ gain)
            self.posterior_sd[repetitions - 1].copy_(spread)
            self.draws[repetitions - 1].copy_(draw(inverse.covariance(prior, noise), settings.seed))
        self.latent_sd.copy_(self.posterior_sd[-1].unflatten(0, self.latent_shape))
        facts = {
            "cross_validated_mse": error,
            "windowed_share": forward.windowed_share,
            "misfit_share": share,
        }
        chosen = {name: float(value) for name, value in vars(choice).items()}
        return facts | models.facts() | chosen

    def _keep_to_the_prior(self, world: "World") -> None:
        """Decode every response to the mean of all pictures."""
        logger.warning(
            "%d training images, expected %d at least to learn anything: every response is decoded "
            "to the mean picture; name more sessions",
            len(world.descriptions),
            2 * self.settings.n_folds,
        )
        prior = world.prior(world.descriptions, 1.0)
        self.offsets.copy_(world.latent_mean.expand_as(self.offsets))
        self.posterior_sd.copy_(prior.diagonal().sqrt().expand_as(self.posterior_sd))
        self.draws.copy_(draw(prior, self.settings.seed).expand_as(self.draws))
        self.latent_sd.copy_(self.posterior_sd[-1].unflatten(0, self.latent_shape))

    def encoding_models(
        self,
        pairs: Pairs,  # noqa: ARG002  (for subclasses)
        folds: torch.Tensor,  # noqa: ARG002
        world: "World",  # noqa: ARG002
        data: TrainingTensors,  # noqa: ARG002
    ) -> list[EncodingModels]:
        """Return candidates for the model from descriptions to voxels, to be fitted on folds of
        training images.
        """
        raise TypeError(f"{type(self).__name__} must define encoding_models")


@dataclass(frozen=True)
class World:
    """Descriptions of pictures, centred on the mean over all.

    Attributes
    ----------
    descriptions : Tensor, shape (n, d)
        Descriptions of training images: latents first, then energies.
    others : Tensor, shape (d, d)
        X^T X of the descriptions X of pictures without brain data.
    n_others : int
        Number of these pictures.
    latent_mean : Tensor, shape (4 * h * w,)
    grids : list of (channels, height, width)
        Grids of the latents, and of energies if there are any.
    """

    descriptions: torch.Tensor
    others: torch.Tensor
    n_others: int
    latent_mean: torch.Tensor
    grids: list[tuple[int, int, int]]

    @classmethod
    def of(cls, data: TrainingTensors, settings: PosteriorSettings) -> "World":
        n_others = len(data.prior_latents) if settings.prior_pictures else 0
        latents = torch.cat([data.latents, data.prior_latents[:n_others]])
        parts = [latents - latents.mean(0)]
        if settings.energies and data.energies.shape[1]:
            energies = torch.cat([data.energies, data.prior_energies[:n_others]])
            energies = energies - energies.mean(0)
            # Each channel counts as much as a latent number, however strong its filter.
            scale = parts[0].square().mean().sqrt() / energies.square().mean(
                (0, 2, 3), keepdim=True
            ).sqrt().clamp(min=1e-12)
            parts.append(energies * scale)
        described = torch.cat([part.flatten(1) for part in parts], dim=1)
        grids = [(part.shape[1], part.shape[2], part.shape[3]) for part in parts]
        n = len(data.latents)
        return cls(
            described[:n].clone(),
            described[n:].T @ described[n:],
            n_others,
            latents.mean(0).flatten(),
            grids,
        )

    @property
    def n_latents(self) -> int:
        """Number of latent numbers in a description."""
        return int(np.prod(self.grids[0]))

    def covariance(self, descriptions: torch.Tensor) -> torch.Tensor:
        """Return the covariance (d, d) of descriptions over some training images and all other
        pictures.
        """
        return (descriptions.T @ descriptions + self.others).double() / (
            len(descriptions) + self.n_others
        )

    def prior(self, descriptions: torch.Tensor, shrinkage: float) -> torch.Tensor:
        """Return the shrunk covariance of the latents alone (n_latents, n_latents)."""
        shrunk = shrink_covariance(self.covariance(descriptions), shrinkage, self.grids)
        return shrunk[: self.n_latents, : self.n_latents].clone()

    def views(
        self, descriptions: torch.Tensor, forward: ForwardModel, shrinkages: list[float]
    ) -> dict[float, View]:
        """Return what an encoding model sees of their covariance, by shrinkage."""
        covariance = self.covariance(descriptions)
        return views_of(covariance, self.grids, forward.weights, self.n_latents, shrinkages)


@dataclass(frozen=True)
class Choice:
    """Settings of an inversion: shrinkage of prior and noise covariance, and size of the noise."""

    prior_shrinkage: float
    noise_shrinkage: float
    noise_scale: float


def _best(
    candidates: list[tuple[EncodingModels, float]],
    pairs: Pairs,
    folds: torch.Tensor,
    settings: PosteriorSettings,
    world: World,
) -> tuple[EncodingModels, float]:
    """Return the models, and their `misfit_share`, from which held-out latents are decoded with the
    smallest error, at the middle of each list of shrinkages.
    """
    if len(candidates) == 1:
        return candidates[0]
    middle = {
        name: [sorted(values)[len(values) // 2]]
        for name in ("prior_shrinkages", "noise_shrinkages")
        for values in [getattr(settings, name)]
    }
    quick = settings.model_copy(update=middle)
    errors = [
        choose_inversion(pairs, folds, models, quick, world, share)[1]
        for models, share in candidates
    ]
    return candidates[int(np.argmin(errors))]


def choose_inversion(
    pairs: Pairs,
    folds: torch.Tensor,
    models: EncodingModels,
    settings: PosteriorSettings,
    world: World,
    share: float,
) -> tuple[Choice, float]:
    """Choose by the squared error of held-out latents; returns the choice and its error, a mean
    over latent numbers.

    For each fold, windows, weights, noise and prior are fitted on the other folds: if windows or
    noise had seen it, a fold of pure noise would seem to be decoded. Means (of descriptions and of
    voxels) and ``share``, one number, come from all training images.
    """
    options = [
        Choice(*values)
        for values in product(
            settings.prior_shrinkages, settings.noise_shrinkages, settings.noise_scales
        )
    ]
    errors = dict.fromkeys(options, 0.0)
    every = frozenset(folds.tolist())
    for fold in sorted(every):
        held_out, rest = pairs.of(folds == fold), folds != fold
        truth = held_out.features[:, : world.n_latents].double()
        noise = relative_noise(held_out.counts, pairs.counts[rest], share)
        forward = models.fitted_on(every - {fold})
        views = world.views(pairs.features[rest], forward, settings.prior_shrinkages)
        residuals = noise_of(forward.residual, forward.counts, forward.weights)
        for noise_shrinkage in settings.noise_shrinkages:
            factor = residuals.shrunk(noise_shrinkage)
            for prior_shrinkage, view in views.items():
                inverse = view.against(factor)
                projected = (held_out.voxels @ inverse.whitened).double()
                for scale in settings.noise_scales:
                    predicted = inverse.predict(projected, scale * torch.as_tensor(noise))
                    option = Choice(prior_shrinkage, noise_shrinkage, scale)
                    errors[option] += float(((predicted - truth) ** 2).sum()) / (
                        len(pairs.counts) * world.n_latents
                    )
            del factor, inverse, projected  # a gigabyte each at the real size
        del views, view, residuals, forward
    best = min(options, key=lambda option: errors[option])
    return best, errors[best]

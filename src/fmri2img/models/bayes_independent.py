"""An encoder for scarce brain data that estimates each voxel alone: windows and ridge penalties of
its encoding model are chosen by cross-validation, and the model is inverted.
"""

from typing import Annotated

import torch
from pydantic import Field

from fmri2img.models._forward import ForwardModel, Pairs, make_windows
from fmri2img.models._posterior import (
    EncodingModels,
    PosteriorEncoder,
    PosteriorSettings,
    World,
)
from fmri2img.models.base import TrainingTensors
from fmri2img.project.param_types import Penalty


class Settings(PosteriorSettings):
    """``train.bayes_independent`` in ``params.yaml``.

    Attributes
    ----------
    penalties : list of float
        Penalties of the encoding model, in units of the variance of a latent number.
    """

    penalties: Annotated[list[Penalty], Field(min_length=1)]


class Model(PosteriorEncoder):
    """The posterior mean of the latent, under an encoding model of each voxel by itself."""

    Settings = Settings

    def encoding_models(
        self, pairs: Pairs, folds: torch.Tensor, world: World, data: TrainingTensors
    ) -> list[EncodingModels]:
        """Return models whose windows and penalties are chosen for each voxel."""
        del data  # regions make no difference
        variance = world.descriptions[:, : world.n_latents].var(dim=0, correction=0).mean()
        penalties = torch.tensor(self.settings.penalties) * variance.clamp(min=1e-12)
        windows = list(make_windows(world.grids, self.settings.window_sizes))
        return [IndependentModels(pairs, folds, windows, penalties)]


class IndependentModels:
    """Encoding models of voxels that know nothing of one another.

    Parameters
    ----------
    pairs : Pairs
    folds : Tensor, shape (n,), int64
    windows : list of Tensor, shape (d,)
    penalties : Tensor, shape (n_penalties,)
    """

    def __init__(
        self,
        pairs: Pairs,
        folds: torch.Tensor,
        windows: list[torch.Tensor],
        penalties: torch.Tensor,
    ) -> None:
        self.pairs, self.folds, self.windows, self.penalties = pairs, folds, windows, penalties

    def facts(self) -> dict[str, float]:
        """Return nothing: there is one candidate."""
        return {}

    def fitted_on(self, folds: frozenset[int]) -> ForwardModel:
        """Return the model that is fitted on some folds."""
        rows = torch.isin(self.folds, torch.tensor(sorted(folds)))
        return ForwardModel.fit(self.pairs.of(rows), self.folds[rows], self.windows, self.penalties)

    def settle(self) -> None:
        """Keep all: there is one candidate."""

    def misfit(self) -> torch.Tensor:
        """Return residuals (n, v) of a model of the whole picture, so that no window has to be
        chosen.
        """
        return ForwardModel.fit(self.pairs, self.folds, self.windows[:1], self.penalties).residual

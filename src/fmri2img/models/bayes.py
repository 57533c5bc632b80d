"""The encoder for scarce brain data: voxels of a region learn from one another how to respond, the
model of their responses is inverted.

Ten minutes of scanning are too few to say what a voxel responds to, but there are hundreds of
voxels in a region, and they resemble one another.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from fmri2img.models._forward import Pairs
from fmri2img.models._hierarchy import Pooling
from fmri2img.models._pooled_models import HierarchicalModels
from fmri2img.models._posterior import (
    EncodingModels,
    PosteriorEncoder,
    PosteriorSettings,
    World,
)
from fmri2img.models._windows import Windows
from fmri2img.models.base import TrainingTensors, VoxelPrior

_Voxels = Annotated[float, Field(ge=0)]


class Settings(PosteriorSettings):
    """``train.bayes`` in ``params.yaml``.

    Attributes
    ----------
    shared_voxels : float
        Weight of all regions together in the prior of one, in voxels of it: regions with fewer
        voxels learn mostly from the others.
    isotropic_voxels : float
        Weight, in voxels, of a prior in which all channels vary alike.
    n_rounds : int
        Rounds of expectation-maximisation of the priors.
    pooled_shares : list of float
        Shares of the weights that a region's prior decides, to choose from; the others are each
        voxel's own.
    """

    shared_voxels: _Voxels
    isotropic_voxels: _Voxels
    n_rounds: Annotated[int, Field(ge=0)]
    pooled_shares: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)]


class Model(PosteriorEncoder):
    """The posterior mean of the latent, under an encoding model with a prior for each region."""

    Settings: ClassVar[type[PosteriorSettings]] = Settings

    def encoding_models(
        self, pairs: Pairs, folds: torch.Tensor, world: World, data: TrainingTensors
    ) -> list[EncodingModels]:
        """Return models in which voxels of a region share a prior, more or less."""
        settings = self.settings
        windows = Windows.of(world.grids, settings.window_sizes, world.descriptions)
        pooling = Pooling(
            settings.shared_voxels,
            settings.isotropic_voxels,
            settings.n_rounds,
            getattr(settings, "population_voxels", 0.0),
        )
        regions = data.roi_labels.long()
        models = HierarchicalModels(pairs, folds, windows, regions, pooling, self.known(data))
        models.has_places = getattr(settings, "places", True)
        return [models.mixed(share) for share in settings.pooled_shares]

    def known(self, data: TrainingTensors) -> dict[int, VoxelPrior]:  # noqa: ARG002
        """Return what is known of each region from other people; here nothing. For subclasses."""
        return {}

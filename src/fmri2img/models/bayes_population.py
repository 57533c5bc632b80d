"""The encoder for a person of whom there is even less data: voxels learn from one another, and from
the voxels of the same regions of other people.

What they take from others is what voxels of a region respond to and how much of the picture they
see, no response and no picture: nobody needs to have seen the same images.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from fmri2img.models import bayes
from fmri2img.models._posterior import PosteriorSettings
from fmri2img.models.base import TrainingTensors, VoxelPrior


class Settings(bayes.Settings):
    """``train.bayes_population`` in ``params.yaml``; the population is learnt with them too.

    Attributes
    ----------
    population_voxels : float
        Weight of what is known from other people in the prior of a region, in voxels of it.
    places : bool
        Whether single numbers of a description have weights of their own besides; with minutes of
        data they get next to none, and take most of the time.
    """

    population_voxels: Annotated[float, Field(gt=0)]
    places: bool = True


class Model(bayes.Model):
    """The posterior mean of the latent, under an encoding model with priors of other people."""

    Settings: ClassVar[type[PosteriorSettings]] = Settings
    kind = "population"
    targets = "population_targets"

    def known(self, data: TrainingTensors) -> dict[int, VoxelPrior]:
        """Return what is known of each region; one that nobody else has is like all others."""
        if not data.population:
            return {}
        everywhere = data.population[""]
        return {
            number: data.population.get(data.roi_names.get(number, ""), everywhere)
            for number in data.roi_labels.unique().tolist()
        }

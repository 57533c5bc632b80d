"""The mean of a posterior mean and a network: what one of them misses, the other may know.

`bayes` knows how voxels respond and is linear; `low_level` may be neither, and needs more trials.
Their errors differ, so that the mean of both has a smaller one. Its weights come from validation
images.
"""

from typing import Literal

from fmri2img.models import bayes, low_level
from fmri2img.models._joint import JointEncoder
from fmri2img.project.config import Params


class Settings(Params):
    """``train.blend`` in ``params.yaml``.

    Attributes
    ----------
    bayes : bayes.Settings
    low_level : low_level.Settings
        Its first seed is used.
    """

    bayes: bayes.Settings
    low_level: low_level.Settings

    @property
    def seed(self) -> int:
        """Seed of the network."""
        return self.low_level.seed

    @property
    def loss(self) -> Literal["latents", "pixels", "both"]:
        """Loss of the network: it decides whether training needs pictures."""
        return self.low_level.loss


class Model(JointEncoder):
    """The mean of `bayes` and `low_level`, weighed by validation images."""

    Settings = Settings
    parts = {"bayes": bayes.Model, "low_level": low_level.Model}  # noqa: RUF012

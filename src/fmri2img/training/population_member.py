"""What the voxels of one person respond to, learnt for others."""

from typing import Any

import numpy as np
import torch

from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.splits import Split
from fmri2img.containers.voxel_priors import VoxelPriors
from fmri2img.models._population import learn_priors
from fmri2img.training.memory import closed_form
from fmri2img.training.training_set import make_training_set


def learn_voxel_priors(
    examples: Examples, split: Split, latents: Latents, settings: Any
) -> VoxelPriors:
    """Learn from a subject's training trials what the voxels of each region respond to.

    Parameters
    ----------
    examples, split, latents
        Data of the subject; test and validation images are left out.
    settings : Params
        Of `models.bayes_population`.

    Raises
    ------
    MismatchError
        If no voxel varies over images.
    UnavailableError
        If there is too little memory.
    """
    nothing = latents.only(latents.image_ids[:0])
    data = make_training_set(examples, split, latents, nothing, with_pictures=False)
    with closed_form(data.train.betas.shape[1]):
        learnt = learn_priors(data.train, settings)
    priors = [prior for _, prior in learnt.values()]
    about = examples.provenance
    return VoxelPriors(
        regions=np.array(list(learnt)),
        n_voxels=np.array([n for n, _ in learnt.values()], np.int64),
        means=torch.stack([prior.mean for prior in priors]).numpy(),
        covariances=torch.stack([prior.covariance for prior in priors]).numpy(),
        window_shares=torch.stack([prior.sizes for prior in priors]).numpy(),
        image_ids=split.ids("train"),
        provenance={
            **{name: about[name] for name in ("subject", "data_source", "func_space")},
            "autoencoder": latents.provenance["autoencoder"],
            "settings": settings.model_dump(),
        },
    )

"""What the voxels of one person's regions respond to, as a prior for those of another."""

from typing import Any

import torch

from fmri2img.models._forward import Pairs
from fmri2img.models._hierarchy import Pooling, Sums
from fmri2img.models._normalizer import VoxelNormalizer
from fmri2img.models._posterior import World
from fmri2img.models._windows import Windows
from fmri2img.models.base import TrainingTensors, VoxelPrior
from fmri2img.project.exceptions import MismatchError


@torch.no_grad()
def learn_priors(data: TrainingTensors, settings: Any) -> dict[str, tuple[int, VoxelPrior]]:
    """Learn from one person what the voxels of each region respond to.

    Parameters
    ----------
    data : TrainingTensors
    settings : Params
        Of `models.bayes_population`.

    Returns
    -------
    dict of str to (int, VoxelPrior)
        Number of voxels that vary and their distribution, by the region's name.

    Raises
    ------
    MismatchError
        If no voxel varies over images.
    """
    normalizer = VoxelNormalizer(data.betas.shape[1], settings.clip_mads)
    normalizer.fit(data.betas)
    world = World.of(data, settings)
    voxels, counts = normalizer(data.image_betas), data.repetitions.float()
    pairs, _ = Pairs.centred(world.descriptions, voxels, counts)
    windows = Windows.of(world.grids, settings.window_sizes, world.descriptions)
    sums = Sums.of(pairs, windows)
    pooling = Pooling(settings.shared_voxels, settings.isotropic_voxels, settings.n_rounds)
    varying = torch.nonzero(sums.power > 0).squeeze(1)
    if not len(varying):
        raise MismatchError(
            f"population: no voxel varies over {len(data.latents)} training images, expected a few "
            "images at least; name more sessions, or leave the subject out (population)"
        )
    names = [data.roi_names[label] for label in data.roi_labels[varying].tolist()]
    regions = {
        name: varying[[place for place, region in enumerate(names) if region == name]]
        for name in sorted(set(names))
    }
    priors = pooling.priors(sums, windows, list(regions.values()))
    return {
        name: (len(voxels), prior)
        for (name, voxels), prior in zip(regions.items(), priors, strict=True)
    }

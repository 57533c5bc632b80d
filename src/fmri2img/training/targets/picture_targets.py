"""Pictures themselves, as large as the subject's examples, for models with their own decoder.

They take 12 bytes a pixel: 1.8 GB for 9000 pictures of 128 x 128.
"""

import numpy as np

from fmri2img.containers.latents import Latents
from fmri2img.training.targets.kinds import CollectedTargets, Sources, Targets
from fmri2img.training.training_set import make_training_set


def collect(sources: Sources) -> CollectedTargets:
    """Collect training trials and pictures (n, 3, side, side), float32, -1 to 1."""
    examples, split = sources.examples, sources.split
    image_ids = np.sort(np.concatenate([split.ids("train"), split.ids("validation")]))
    pictures: np.ndarray = examples.images[examples.rows_of(image_ids)]
    values = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).astype(np.float32) / 127.5 - 1
    no_energies = np.zeros((len(image_ids), 0, 1, 1), np.float32)
    targets = Latents(image_ids, values, no_energies, sources.latents.provenance)
    nothing = targets.only(image_ids[:0])
    return CollectedTargets(
        make_training_set(examples, split, targets, nothing, with_pictures=False)
    )


TARGETS = Targets(collect, are_latents=False)

"""What training may see: training trials and averages of validation images, no test trial."""

from dataclasses import replace

import numpy as np
import torch

from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.repetitions import averaged_betas
from fmri2img.containers.splits import Split
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.containers.units import Units
from fmri2img.models._stored import StoredBetas
from fmri2img.models.base import TrainingTensors
from fmri2img.project.exceptions import MismatchError
from fmri2img.training.data import TrainingSet, ValidationTensors

_TRIALS_AT_ONCE = 512


def make_training_set(
    examples: Examples,
    split: Split,
    latents: Latents,
    prior: Latents,
    *,
    with_pictures: bool = True,
) -> TrainingSet:
    """Collect the trials of training images and the averages of validation images.

    Parameters
    ----------
    examples, split, latents
        Data of the subject.
    prior : Latents
        Latents of other pictures; any in the subject's own split are left out, so that no choice is
        made on pictures that were learnt from.
    with_pictures : bool
        Whether to include the pictures, for a loss that needs them.

    Raises
    ------
    MismatchError
        If no voxel varies over training trials, or the split is of other images.
    """
    train_ids, validation_ids = split.ids("train"), split.ids("validation")
    everywhere = np.concatenate([train_ids, validation_ids, split.ids("test")])
    others = prior.only(np.setdiff1d(prior.image_ids, everywhere))
    return training_set_of(
        examples, train_ids, validation_ids, latents, others, with_pictures=with_pictures
    )


def training_set_of(
    examples: Examples,
    train_ids: np.ndarray,
    validation_ids: np.ndarray,
    latents: Latents,
    others: Latents,
    *,
    with_pictures: bool,
) -> TrainingSet:
    """Collect the trials of some images and the averages of others.

    Parameters
    ----------
    examples, latents
        Data of the subject.
    train_ids, validation_ids : ndarray, shape (n,)
        Ascending.
    others : Latents
        Latents of pictures for a prior; none of them is one that an encoder is judged by.
    with_pictures : bool
        Whether to include the pictures.

    Raises
    ------
    MismatchError
        If no voxel varies over training trials, or an image is not among the examples.
    """
    for ids in (train_ids, validation_ids):
        examples.rows_of(ids)
    trials = examples.trials_of(train_ids)
    betas, trial_ids = _stored_betas(examples, trials), examples.trial_image_ids[trials]
    if not _any_voxel_varies(betas):
        raise MismatchError(
            f"{examples.provenance.get('subject', 'the subject')}: no voxel varies over the "
            f"{len(trials)} training trials, expected betas of a brain; check the voxel file with "
            "fmri2img voxels, and the sessions in params.yaml"
        )
    train_latents = torch.from_numpy(latents.of(train_ids))
    train = TrainingTensors(
        betas=betas,
        trial_images=torch.from_numpy(np.searchsorted(train_ids, trial_ids)),
        latents=train_latents,
        roi_labels=torch.from_numpy(examples.roi_labels.astype(np.int64)),
        energies=torch.from_numpy(latents.only(train_ids).energies),
        prior_latents=torch.from_numpy(others.values),
        prior_energies=torch.from_numpy(others.energies),
        roi_names={int(label): name for label, name in examples.provenance["roi_names"].items()},
        n_repetitions=examples.n_repetitions,
    )
    validation = ValidationTensors(
        image_betas=torch.from_numpy(averaged_betas(examples, validation_ids)),
        latents=torch.from_numpy(latents.of(validation_ids)),
        train_mean_latent=train_latents.mean(0),
        repetitions=torch.from_numpy(examples.repetitions_of(validation_ids)),
    )
    pictures = [
        examples.images[examples.rows_of(ids)] if with_pictures else examples.images[:0]
        for ids in (train_ids, validation_ids)
    ]
    return TrainingSet(train, validation, *pictures)


def _stored_betas(examples: Examples, trials: np.ndarray) -> StoredBetas:
    """Take a copy of some trials: training holds no others."""
    sessions = np.searchsorted(examples.sessions, examples.trial_session[trials])
    return StoredBetas(
        torch.from_numpy(examples.betas[trials]),
        Units.of(examples.provenance).per_unit,
        torch.from_numpy(sessions),
        torch.from_numpy(examples.valid),
    )


def _any_voxel_varies(betas: StoredBetas) -> bool:
    """Return whether a voxel has different values in two trials."""
    lowest = torch.full(betas.shape[1:], torch.inf)
    highest = -lowest
    for trials in betas.split(_TRIALS_AT_ONCE):
        lowest = torch.minimum(lowest, trials.nan_to_num(nan=torch.inf).amin(0))
        highest = torch.maximum(highest, trials.nan_to_num(nan=-torch.inf).amax(0))
        if (highest > lowest).any():
            return True
    return False


def make_diffusion_set(examples: Examples, split: Split, targets: DiffusionTargets) -> TrainingSet:
    """Collect the same for an encoder that steers Stable Diffusion: its latents are z, and c is
    added for training images.
    """
    none = np.zeros((len(targets.image_ids), 0, 1, 1), np.float32)
    z_latents = Latents(
        targets.image_ids, targets.z_latents.astype(np.float32), none, targets.provenance
    )
    data = make_training_set(
        examples, split, z_latents, z_latents.only(targets.image_ids[:0]), with_pictures=False
    )
    embeddings = targets.text_embeddings[targets.rows_of(split.ids("train"))]
    train = replace(data.train, text_embeddings=torch.from_numpy(embeddings))
    return replace(data, train=train)

"""Inputs of a training, and its results besides the weights."""

from dataclasses import dataclass

import numpy as np
import torch

from fmri2img.models.base import TrainingTensors
from fmri2img.training.checkpoints import EpochRecord


@dataclass(frozen=True)
class ValidationTensors:
    """Training images that are set aside to choose the checkpoint.

    Attributes
    ----------
    image_betas : Tensor, shape (n_images, n_voxels)
        Averages over repetitions.
    latents : Tensor, shape (n_images, 4, h, w)
    train_mean_latent : Tensor, shape (4, h, w)
    repetitions : Tensor, shape (n_images,), int64
        Number of trials averaged for each image.
    """

    image_betas: torch.Tensor
    latents: torch.Tensor
    train_mean_latent: torch.Tensor
    repetitions: torch.Tensor


@dataclass(frozen=True)
class TrainingSet:
    """All that training may see; test images and their trials are left out when it is built.

    Attributes
    ----------
    train : TrainingTensors
    validation : ValidationTensors
    train_images, validation_images : ndarray, shape (n, side, side, 3), uint8
    """

    train: TrainingTensors
    validation: ValidationTensors
    train_images: np.ndarray
    validation_images: np.ndarray


@dataclass(frozen=True)
class TrainingResult:
    """Results of a training, besides the weights.

    Attributes
    ----------
    history : list of EpochRecord
    facts : dict of str to float
        Facts from the encoder's solver or the training loop.
    validation_loss, validation_pattern_correlation : float
        Validation scores of the weights that were kept.
    """

    history: list[EpochRecord]
    facts: dict[str, float]
    validation_loss: float
    validation_pattern_correlation: float

"""Ridge regression from voxels to each latent number: the baseline that every encoder must beat."""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from himalaya.ridge import RidgeCV
from pydantic import Field
from sklearn.model_selection import GroupKFold

from fmri2img.config import Params
from fmri2img.models.base import Encoder, TrainingTensors


class Settings(Params):
    """``train.ridge`` in ``params.yaml``."""

    penalties: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    n_folds: Annotated[int, Field(ge=2)]
    unit: Literal["trials", "images"]
    seed: int


class Model(Encoder):
    """Multi-target ridge; the penalty of each target is chosen by cross-validation that keeps an image's trials together.

    Averaged betas of test images go through the same linear map as single trials of training.
    """

    Settings = Settings
    trained_by_gradient = False

    def __init__(self, n_voxels: int, latent_shape: tuple[int, int, int], settings: Any) -> None:
        super().__init__(n_voxels, latent_shape, settings)
        n_targets = int(np.prod(latent_shape))
        self.linear = torch.nn.Linear(n_voxels, n_targets)

    def decode_voxels(self, voxels: torch.Tensor) -> torch.Tensor:
        """Map z-scored voxels (n, n_voxels) to latents (n, 4, h, w)."""
        return self.linear(voxels).unflatten(1, self.latent_shape)  # (n, 4, h, w)

    @torch.no_grad()
    def solve(self, data: TrainingTensors) -> dict[str, float]:
        """Fit weights and penalties on training trials or averaged training images."""
        if self.settings.unit == "trials":
            voxels, groups = self.normalizer(data.betas), data.trial_images
        else:
            voxels, groups = self.normalizer(data.image_betas), torch.arange(len(data.latents))
        targets = data.latents.flatten(1)[groups]
        voxel_mean, target_mean = voxels.mean(0), targets.mean(0)
        folds = GroupKFold(self.settings.n_folds, shuffle=True, random_state=self.settings.seed)
        ridge = RidgeCV(
            alphas=np.asarray(self.settings.penalties, dtype=np.float32),
            fit_intercept=False,
            cv=list(folds.split(voxels, groups=groups.numpy())),
            solver_params={"n_targets_batch": 1024},
        )
        ridge.fit((voxels - voxel_mean).numpy(), (targets - target_mean).numpy())
        weights = torch.from_numpy(np.asarray(ridge.coef_, dtype=np.float32))  # (n_voxels, n_targets)
        self.linear.weight.copy_(weights.T)
        self.linear.bias.copy_(target_mean - voxel_mean @ weights)
        return {"median_penalty": float(np.median(ridge.best_alphas_)), "cross_validated_mse": -float(np.mean(ridge.cv_scores_))}

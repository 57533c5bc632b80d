"""
A model of your own
===================

An encoder is a class with settings of its own. This one averages the latents of the training images
whose responses are most like the new ones. It is fitted and judged here beside ridge; to train it
in the pipeline, put the class into a file in ``src/fmri2img/models`` and name it in ``params.yaml``
(*A model* in CONTRIBUTING.md).
"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

from fmri2img.models.base import Encoder, EncoderSettings, TrainingTensors
from fmri2img.models.registry import load_encoder
from fmri2img.pipeline.subject import SubjectData, open_prior
from fmri2img.project.params_file import load_params
from fmri2img.training.loop import validation_scores
from fmri2img.training.training_set import make_training_set


class Settings(EncoderSettings):
    """How many neighbours are averaged."""

    n_neighbours: int


class Neighbours(Encoder):
    """The mean latent of the nearest training images in the space of z-scored voxels."""

    Settings = Settings
    trained_by_gradient = False

    def __init__(self, n_voxels: int, latent_shape: tuple[int, int, int], settings: Any) -> None:
        super().__init__(n_voxels, latent_shape, settings)
        self.register_buffer("voxels", torch.empty(0, n_voxels))
        self.register_buffer("latents", torch.empty(0, *latent_shape))

    def solve(self, data: TrainingTensors) -> dict[str, float]:
        """Keep the averages of training images, and their latents."""
        self.voxels, self.latents = self.normalizer(data.image_betas), data.latents
        return {}

    def decode_voxels(self, voxels: torch.Tensor) -> torch.Tensor:
        """Map z-scored voxels (n, n_voxels) to latents (n, 4, h, w)."""
        likeness = torch.corrcoef(torch.cat([voxels, self.voxels]))[: len(voxels), len(voxels) :]
        nearest = likeness.topk(min(self.settings.n_neighbours, len(self.voxels))).indices
        return self.latents[nearest].mean(dim=1)


# %%
params = load_params()
subject = params.subjects[0]
files = SubjectData(subject)
data = make_training_set(
    files.examples(),
    files.split(),
    files.latents(),
    open_prior(params.population),
    with_pictures=False,
)
numbers = [1, 3, 10, 30, 100]
scores = []
for n in numbers:
    shape = tuple(data.train.latents.shape[1:])
    encoder = Neighbours(data.train.betas.shape[1], shape, Settings(n_neighbours=n, clip_mads=5))
    encoder.normalizer.fit(data.train.betas)
    encoder.solve(data.train)
    with torch.no_grad():
        scores.append(validation_scores(encoder.eval(), data.validation).numpy())
    print(f"{n:3d} neighbours: latent r of validation images {scores[-1].mean():.3f}")

# %%
# Beside the linear reference of the project, on the same images.
ridge, _ = load_encoder(Path(f"models/{subject}/ridge"), subject=subject, model="ridge")
with torch.no_grad():
    reference = validation_scores(ridge.eval(), data.validation).numpy()
print(f"ridge         : latent r of validation images {reference.mean():.3f}")
figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
axis.plot(numbers, [np.mean(one) for one in scores], "o-", color="0.2", label="neighbours")
axis.axhline(reference.mean(), color="0.6", label="ridge")
axis.set(xscale="log", xlabel="neighbours", ylabel="latent r of validation images")
axis.legend()
folder = Path("reports/examples")
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "own_model.png", dpi=120)

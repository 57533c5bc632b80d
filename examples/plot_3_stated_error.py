"""
Decode with the champion, and see how sure it is
================================================

Load the encoder that was best on validation images, decode the test images, and compare the error
that it states with the one that it makes. Where the encoder is not in this folder, ``fmri2img
restore models:/fmri2img-bayes-subj01@champion`` fetches it.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from fmri2img.containers.latents import Latents
from fmri2img.evaluation.metrics.latent_metrics import pattern_correlations
from fmri2img.models.registry import load_encoder
from fmri2img.sharing import open_voxels

subject = min(Path("data/voxels").glob("*.h5")).stem
compared = json.loads(Path("reports/comparison.json").read_text(encoding="utf-8"))["runs"]
champions = [run for run in compared if compared[run]["champion"]]
name = next(run.partition("/")[2] for run in champions if run.startswith(f"{subject}/"))
encoder, config = load_encoder(Path(f"models/{subject}/{name}"), subject=subject, model=name)
print(f"{name} of {subject}: {config['n_voxels']} voxels to latents of {config['latent_shape']}")

# %%
# It takes averages over repetitions, in the unit of the betas, and the number of repetitions.
voxels = open_voxels(f"data/voxels/{subject}.h5")
test = voxels.images_of(f"data/splits/{subject}.json", "test")
betas = torch.from_numpy(voxels.average(test))
repetitions = torch.from_numpy(voxels.n_repetitions(test))
with torch.no_grad():
    predicted = encoder(betas, repetitions).numpy()
    stated = encoder.spread(len(test), repetitions).numpy()

# %%
# Latent pattern r of each image, as in the tables: the correlation of true and predicted latents,
# both less the mean of the training images.
latents = Latents.open(Path(f"data/latents/{subject}.h5"), remedy="fmri2img repro encode_latents")
train = voxels.images_of(f"data/splits/{subject}.json", "train")
true = latents.only(test).values
mean, one, other = (
    part.reshape(len(part), -1) for part in (latents.only(train).values, true, predicted)
)
scores = pattern_correlations(one, other, mean.mean(axis=0))
print(f"latent r {scores.mean():.3f} over {len(test)} test images")

# %%
error = np.sqrt(((true - predicted) ** 2).mean(axis=0))
print(f"error {np.sqrt((error**2).mean()):.3f}, stated {np.sqrt((stated**2).mean()):.3f}")
figure, axes = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
axes[0].hist(scores, bins=20, color="0.5")
axes[0].set(xlabel="latent r of an image", ylabel="images")
axes[1].imshow(error.mean(axis=0), cmap="magma")
axes[1].set(title="where the error is", xticks=[], yticks=[])
folder = Path("reports/examples")
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "stated_error.png", dpi=120)

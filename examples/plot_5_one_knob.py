"""
Turn one knob of an encoder, and compare
========================================

Fit ridge with several penalties to the training trials of the project, and compare them on its
validation images. Test images take no part: they are for the one that was chosen. To keep a setting
for good, write it into ``params.yaml`` and run ``fmri2img repro``.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch

from fmri2img.models.registry import check_settings, model_class
from fmri2img.pipeline.subject import SubjectData, open_prior
from fmri2img.project.params_file import load_params
from fmri2img.training.loop import validation_scores
from fmri2img.training.training_set import make_training_set

params = load_params()
subject = SubjectData(params.subjects[0])
data = make_training_set(
    subject.examples(),
    subject.split(),
    subject.latents(),
    open_prior(params.population),
    with_pictures=False,
)
n_trials, n_voxels = data.train.betas.shape
print(f"{subject.subject}: {n_trials} training trials of {n_voxels} voxels")

# %%
# The settings of params.yaml, with one value changed at a time.
torch.set_num_threads(1)  # so that the last digits are the same everywhere
settings = check_settings("ridge", params.train["ridge"])
penalties = [1e2, 1e3, 1e4, 1e5, 1e6]
scores = {}
for penalty in penalties:
    changed = settings.model_copy(update={"penalties": [penalty]})
    encoder = model_class("ridge")(n_voxels, tuple(data.train.latents.shape[1:]), changed)
    encoder.normalizer.fit(data.train.betas)
    encoder.solve(data.train)
    scores[penalty] = validation_scores(encoder.eval(), data.validation)
    mean, error = scores[penalty].mean(), scores[penalty].std() / len(scores[penalty]) ** 0.5
    print(f"penalty {penalty:9.0f}: latent r of validation images {mean:.3f} +- {error:.3f}")

# %%
figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
means = [float(scores[penalty].mean()) for penalty in penalties]
errors = [float(scores[penalty].std()) / len(scores[penalty]) ** 0.5 for penalty in penalties]
axis.errorbar(penalties, means, errors, fmt="o-", color="0.2", capsize=3)
axis.set(xscale="log", xlabel="ridge penalty", ylabel="latent r of validation images")
folder = Path("reports/examples")
folder.mkdir(parents=True, exist_ok=True)
figure.savefig(folder / "one_knob.png", dpi=120)

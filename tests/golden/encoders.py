"""Encoders of every model, small enough to keep: trained on made-up numbers, saved, and asked
for predictions.
"""

import numpy as np
import torch
import yaml

from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.splits import Split
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.models.registry import check_settings, model_class, save_encoder
from fmri2img.project.files_0_1 import with_facts
from fmri2img.training.fit import fit_encoder
from fmri2img.training.training_set import make_diffusion_set, make_training_set
from miniature import MODELS, REPOSITORY

N_IMAGES, N_VOXELS, REPETITIONS = 60, 6, 2
_SMALL = {
    "basic_ae": {"hidden_sizes": [12], "epochs": 2, "n_seeds": 1},
    "low_level": {
        "hidden_size": 12,
        "n_blocks": 1,
        "channels": 8,
        "contrastive_size": 8,
        "epochs": 2,
        "n_seeds": 1,
    },
    "bayes": {
        "prior_shrinkages": [0.2],
        "noise_shrinkages": [0.75],
        "noise_scales": [0.5, 1.0],
    },
    "takagi": {"z_labels": ["V1", "V2", "V3"], "c_labels": ["hV4"]},
}


def make_subject():
    """Examples, split, latents and targets of Stable Diffusion, from a seed."""
    rng = np.random.default_rng(0)
    image_ids = np.arange(100, 100 + N_IMAGES)
    coarse = rng.normal(size=(N_IMAGES, 4, 4, 4)).astype(np.float32)
    trial_rows = np.sort(np.tile(np.arange(N_IMAGES), REPETITIONS))
    signal = coarse.reshape(N_IMAGES, -1) @ rng.normal(size=(64, N_VOXELS)) / 8
    betas = signal[trial_rows] + rng.normal(size=(len(trial_rows), N_VOXELS))
    examples = Examples(
        voxel_ijk=np.zeros((N_VOXELS, 3), np.int16),
        roi_labels=(np.arange(N_VOXELS) % 4 + 1).astype(np.int16),
        ncsnr=np.ones(N_VOXELS, np.float32),
        training_ncsnr=np.full(N_VOXELS, np.nan, np.float32),
        in_brain=np.ones(N_VOXELS, bool),
        sessions=np.ones(1, np.int16),
        valid=np.ones((1, N_VOXELS), bool),
        saturated=np.zeros((1, N_VOXELS), np.int16),
        affine=np.eye(4),
        provenance=with_facts(
            {
                "subject": "subj01",
                "data_source": "simulated",
                "roi_names": {"1": "V1", "2": "V2", "3": "V3", "4": "hV4"},
            }
        ),
        image_ids=image_ids,
        images=rng.integers(0, 256, (N_IMAGES, 16, 16, 3), dtype=np.uint8),
        is_shared=np.zeros(N_IMAGES, bool),
        betas=(300 * betas).round().astype(np.int16),
        trial_image_ids=image_ids[trial_rows],
        trial_session=np.ones(len(trial_rows), np.int16),
    )
    parts = {"train": image_ids[:40], "validation": image_ids[40:50], "test": image_ids[50:]}
    split = Split(
        kind="random", **{name: tuple(int(one) for one in ids) for name, ids in parts.items()}
    )
    latents = Latents(
        image_ids=image_ids,
        values=coarse.repeat(4, 2).repeat(4, 3),
        energies=rng.random((N_IMAGES, 12, 8, 8)).astype(np.float32),
        provenance={
            "autoencoder": {"source": "made up", "revision": "folder", "sha256": "0" * 64},
            "data_source": "simulated",
        },
    )
    targets = DiffusionTargets(
        image_ids,
        coarse.repeat(10, 2).repeat(10, 3).astype(np.float16),
        rng.normal(size=(N_IMAGES, 77, 768)).astype(np.float16),
        np.zeros((77, 768), np.float16),
        {"about": {}},
    )
    return examples, split, latents, targets


def write_encoders(folder):
    """Train one encoder of each model, and keep weights, config, betas and predictions."""
    examples, split, latents, targets = make_subject()
    sections = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]
    betas = np.random.default_rng(1).normal(size=(3, N_VOXELS)).astype(np.float32)
    for model in MODELS:
        settings, kind = (
            check_settings(model, sections[model] | _SMALL.get(model, {})),
            model_class(model),
        )
        prior = latents.only(latents.image_ids[:0])
        data = (
            make_diffusion_set(examples, split, targets)
            if model == "takagi"
            else make_training_set(examples, split, latents, prior)
        )
        checkpoint = folder / "checkpoint.safetensors"
        how = {
            "load_decoder": lambda: None,
            "checkpoint": checkpoint,
            "on_epoch": lambda _: None,
            "owner": model,
        }
        encoder, _ = fit_encoder(kind, settings, data, **how)
        save_encoder(
            encoder, model, folder / model, {"subject": "subj01", "data.source": "simulated"}
        )
        np.savez(folder / model / "predictions.npz", betas=betas, latents=predict(encoder, betas))
        for left in folder.glob("checkpoint*"):
            left.unlink()


def predict(encoder, betas):
    with torch.inference_mode():
        return encoder(torch.from_numpy(betas)).numpy()

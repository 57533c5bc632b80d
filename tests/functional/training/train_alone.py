"""Trains small networks on made-up data in a process of its own, or in several: python
train_alone.py FOLDER SETTINGS.

SETTINGS: names of folders below FOLDER, and what each training has its own way.
"""

import json
import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from fmri2img.models.base import TrainingTensors
from fmri2img.models.registry import check_settings, model_class
from fmri2img.training import loop
from fmri2img.training.data import TrainingSet, ValidationTensors
from fmri2img.training.fit import fit_encoder
from fmri2img.training.processes import is_main_process, process_state

N_IMAGES, N_VALIDATION, N_VOXELS = 203, 30, 37
SECTION = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text())["train"][
    "low_level"
]
SMALL = {
    "hidden_size": 32,
    "n_blocks": 1,
    "channels": 8,
    "contrastive_weight": 0.0,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "n_seeds": 1,
}


def make_data():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(N_IMAGES + N_VALIDATION, 4, 16, 16, generator=generator)
    voxels = latents.flatten(1) @ torch.randn(1024, N_VOXELS, generator=generator) / 32
    trial_images = torch.arange(N_IMAGES).repeat_interleave(2)
    betas = voxels[trial_images] + torch.randn(len(trial_images), N_VOXELS, generator=generator)
    none = torch.zeros(0, 0, 1, 1)
    train = TrainingTensors(
        betas,
        trial_images,
        latents[:N_IMAGES],
        torch.ones(N_VOXELS, dtype=torch.long),
        none,
        none,
        none,
    )
    validation = ValidationTensors(
        voxels[N_IMAGES:],
        latents[N_IMAGES:],
        latents[:N_IMAGES].mean(0),
        torch.full((N_VALIDATION,), 2),
    )
    pictures = np.zeros((0, 128, 128, 3), np.uint8)
    return TrainingSet(train, validation, pictures, pictures)


def main(folder: Path, changes: dict) -> None:
    torch.set_num_threads(1)
    loop.STORE_SECONDS = 0
    settings = check_settings("low_level", SECTION | SMALL | changes)
    kind, checkpoint = model_class("low_level"), folder / "checkpoint.safetensors"
    how = {
        "load_decoder": None,
        "checkpoint": checkpoint,
        "on_epoch": lambda record: print("epoch", record.epoch, flush=True),
    }
    encoder, result = fit_encoder(kind, settings, make_data(), **how)
    if is_main_process():
        save_file(
            {name: value.contiguous() for name, value in encoder.state_dict().items()},
            folder / "weights.safetensors",
        )
        (folder / "history.json").write_text(
            json.dumps([vars(record) for record in result.history])
        )
        (folder / "processes").write_text(str(process_state().num_processes))


if __name__ == "__main__":
    for name, changes in json.loads(sys.argv[2]).items():
        main(Path(sys.argv[1]) / name, changes)

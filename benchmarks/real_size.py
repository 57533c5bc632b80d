"""Time and memory of one training at NSD's real size on this machine (``python benchmarks/real_size.py [MODEL ...]``).

27 000 trials of 9 000 images, 15 724 voxels, and 1 000 pictures more; made-up numbers with a linear relation.
"""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import yaml
from measuring import put_section, run_measured, say, table

from fmri2img.models.base import TrainingTensors
from fmri2img.models.registry import model_class
from fmri2img.training.fit import TrainingSet, fit_encoder
from fmri2img.training.loop import ValidationTensors

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
N_IMAGES, N_OTHERS, N_VALIDATION, N_VOXELS, REPETITIONS = 9000, 1000, 300, 15_724, 3
N_ENERGIES = (12, 8, 8)
WHAT = {
    "ridge": "whole training: 5 folds, 6 penalties",
    "default": "whole training: windows, noise and prior, chosen in nested folds",
    "low_level": "one epoch, loss on latents, hidden size 4096",
}
_AT_ONCE = 500


def make_data() -> TrainingSet:
    """Make trials, a few images at a time: what this benchmark itself holds must not be what it measures."""
    generator = torch.Generator().manual_seed(0)
    n = N_IMAGES + N_OTHERS + N_VALIDATION
    coarse = torch.randn(n, 4, 4, 4, generator=generator)
    latents = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")
    energies = torch.randn(n, *N_ENERGIES, generator=generator)
    mixing = torch.randn(64, N_VOXELS, generator=generator) / 30
    betas, averages = torch.empty(REPETITIONS * N_IMAGES, N_VOXELS), torch.empty(N_IMAGES, N_VOXELS)
    for start in range(0, N_IMAGES, _AT_ONCE):
        signal = coarse[start : start + _AT_ONCE].flatten(1) @ mixing
        noisy = signal[:, None] + 2 * torch.randn(len(signal), REPETITIONS, N_VOXELS, generator=generator)
        averages[start : start + _AT_ONCE] = noisy.mean(1)
        betas[REPETITIONS * start : REPETITIONS * (start + len(signal))] = noisy.flatten(0, 1)
    train, others = slice(0, N_IMAGES), slice(N_IMAGES, N_IMAGES + N_OTHERS)
    tensors = TrainingTensors(
        betas,
        torch.arange(N_IMAGES).repeat_interleave(REPETITIONS),
        averages,
        latents[train],
        torch.arange(N_VOXELS) % 7,
        energies[train],
        latents[others],
        energies[others],
    )
    held_out = slice(n - N_VALIDATION, n)
    validation = ValidationTensors(
        coarse[held_out].flatten(1) @ mixing, latents[held_out], latents[train].mean(0), torch.ones(N_VALIDATION)
    )
    pictures = np.zeros((0, 128, 128, 3), np.uint8)
    return TrainingSet(tensors, validation, pictures, pictures)


def child(name: str) -> None:
    """Train one model."""
    changes = {"epochs": 1, "hidden_size": 4096} if name == "low_level" else {}
    kind = model_class(name)
    settings = kind.Settings.model_validate(yaml.safe_load(PARAMS.read_text())["train"][name] | changes)
    data = make_data()
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        how = {"load_decoder": lambda: None, "checkpoint": Path(folder) / "checkpoint.safetensors", "on_epoch": lambda _: None}
        _, result = fit_encoder(kind, settings, data, **how)
    say({"seconds": time.perf_counter() - start, "pattern": result.validation_pattern_correlation})


def main() -> None:
    """Measure each model in a process of its own, and write the table."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
        return
    rows = []
    for name in sys.argv[1:] or WHAT:
        measured = run_measured([sys.executable, __file__, "--child", name])
        found = json.loads(measured.output.splitlines()[-1])
        print(name, found, measured.peak_mb, flush=True)
        rows.append([f"`{name}`", WHAT[name], f"{found['seconds'] / 60:.1f}", f"{measured.peak_mb / 1000:.1f}"])
    head = (
        f"{REPETITIONS * N_IMAGES} trials of {N_IMAGES} images, {N_VOXELS} voxels; memory with the data, of which trials take 1.7 GB.\n\n"
    )
    put_section("real size", head + table(["encoder", "", "minutes", "peak memory, GB"], rows))


if __name__ == "__main__":
    main()

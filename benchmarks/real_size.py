"""Time and memory of one training at NSD's real size on this machine (``python
benchmarks/real_size.py [MODEL ...]``).

Made-up data with a linear relation: 27 000 trials of 9 000 images, 15 724 voxels, and 1 000
further pictures. The encoder is saved as the stage saves it. Models that are named are measured
without writing the table.
"""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import yaml
from measuring import put_section, run_measured, say, sized, table

from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.splits import Split
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.datasets.nsd.design import UNITS
from fmri2img.models.registry import model_class, save_encoder
from fmri2img.training.data import TrainingSet
from fmri2img.training.fit import fit_encoder
from fmri2img.training.training_set import make_diffusion_set, make_training_set

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
N_IMAGES, N_OTHERS, N_VALIDATION, N_VOXELS = sized((9000, 1000, 300, 15_724), (40, 10, 10, 28))
REPETITIONS = 3
N_ENERGIES = (12, 8, 8)
WHAT = {
    "ridge": "whole training: 5 folds, 6 penalties",
    "bayes": "whole training: windows, noise and prior, chosen in nested folds",
    "low_level": "one epoch, loss on latents, hidden size 4096",
    "takagi": "whole training: ridges of 6738 and 6740 voxels to 6400 and 59 136 numbers, 5 folds, "
    "13 penalties",
}
# Replace settings of params.yaml: smaller sizes, and the made-up regions.
CHANGES: dict[str, dict] = {
    "low_level": {"epochs": 1, "hidden_size": sized(4096, 16)},
    "takagi": {
        "z_labels": ["region 3", "region 4", "region 5"],
        "c_labels": ["region 0", "region 1", "region 2"],
    },
}
_AT_ONCE = 500


def make_data(kind: str) -> TrainingSet:
    """Make what the stage ``train`` reads, a few images at a time, and prepare it as the stage
    does.
    """
    generator = torch.Generator().manual_seed(0)
    # A split needs one test image.
    own, n = (
        N_IMAGES + N_VALIDATION + 1,
        N_IMAGES + N_VALIDATION + 1 + N_OTHERS,
    )
    coarse = torch.randn(n, 4, 4, 4, generator=generator)
    values = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear").numpy()
    energies = torch.randn(n, *N_ENERGIES, generator=generator).numpy()
    mixing = torch.randn(64, N_VOXELS, generator=generator) / 30
    betas = np.empty((REPETITIONS * own, N_VOXELS), np.int16)
    for start in range(0, own, _AT_ONCE):
        signal = coarse[start : min(start + _AT_ONCE, own)].flatten(1) @ mixing
        noisy = signal[:, None] + 2 * torch.randn(
            len(signal), REPETITIONS, N_VOXELS, generator=generator
        )
        betas[REPETITIONS * start : REPETITIONS * (start + len(signal))] = (
            300 * noisy.flatten(0, 1)
        ).round()
    ids, one = np.arange(n), np.ones(1, np.int16)
    examples = Examples(
        voxel_ijk=np.zeros((N_VOXELS, 3), np.int16),
        roi_labels=(np.arange(N_VOXELS) % 7).astype(np.int16),
        ncsnr=np.ones(N_VOXELS, np.float32),
        training_ncsnr=np.full(N_VOXELS, np.nan, np.float32),
        in_brain=np.ones(N_VOXELS, bool),
        sessions=one,
        valid=np.ones((1, N_VOXELS), bool),
        saturated=np.zeros((1, N_VOXELS), np.int16),
        affine=np.eye(4),
        provenance={
            "subject": "subj01",
            "data_source": "simulated",
            "roi_names": {str(label): f"region {label}" for label in range(7)},
            "units": UNITS.record(),
            "n_repetitions": REPETITIONS,
        },
        image_ids=ids[:own],
        images=np.zeros((own, 1, 1, 3), np.uint8),
        is_shared=ids[:own] == own - 1,
        betas=betas,
        trial_image_ids=ids[:own].repeat(REPETITIONS),
        trial_session=one.repeat(REPETITIONS * own),
    )
    parts = (tuple(part.tolist()) for part in np.split(ids[:own], [N_IMAGES, own - 1]))
    split = Split("shared", *parts)
    if kind == "diffusion":
        return make_diffusion_set(examples, split, make_targets(coarse[:own], generator))
    pictures = Latents(ids, values, energies, examples.provenance)
    return make_training_set(
        examples, split, pictures, pictures.only(ids[own:]), with_pictures=False
    )


def make_targets(coarse: torch.Tensor, generator: torch.Generator) -> DiffusionTargets:
    """Make latents and embeddings of Stable Diffusion's sizes for the same images."""
    z_latents = (
        torch.nn.functional.interpolate(coarse, size=(40, 40), mode="bilinear").half().numpy()
    )
    embeddings, mixing = (
        np.empty((len(coarse), 77, 768), np.float16),
        torch.randn(64, 77 * 768, generator=generator) / 8,
    )
    for start in range(0, len(coarse), _AT_ONCE):
        part = coarse[start : start + _AT_ONCE].flatten(1) @ mixing
        embeddings[start : start + _AT_ONCE] = part.unflatten(1, (77, 768)).half().numpy()
    return DiffusionTargets(np.arange(len(coarse)), z_latents, embeddings, embeddings[0], {})


def child(name: str) -> None:
    """Train one model."""
    kind = model_class(name)
    settings = kind.Settings.model_validate(
        yaml.safe_load(PARAMS.read_text())["train"][name] | CHANGES.get(name, {})
    )
    data = make_data(kind.kind)
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        how = {
            "load_decoder": lambda: None,
            "checkpoint": Path(folder) / "checkpoint.safetensors",
            "on_epoch": lambda _: None,
        }
        encoder, result = fit_encoder(kind, settings, data, **how)
        del data
        save_encoder(encoder, name, Path(folder), {})
    say({"seconds": time.perf_counter() - start, "pattern": result.validation_pattern_correlation})


def main() -> None:
    """Measure each model in a process of its own, and write the table."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
        return
    rows = []
    for name in sys.argv[1:] or WHAT:
        measured = run_measured([sys.executable, __file__, "--child", name], every=0.5)
        found = json.loads(measured.output.splitlines()[-1])
        print(name, found, measured.peak_mb, flush=True)
        rows.append(
            [
                f"`{name}`",
                WHAT[name],
                f"{found['seconds'] / 60:.1f}",
                f"{measured.peak_mb / 1000:.1f}",
            ]
        )
    head = (
        f"{REPETITIONS * N_IMAGES} trials of {N_IMAGES} images, {N_VOXELS} voxels, prepared as the "
        "stage does; "
        "memory with all data, of which trials take 0.9 GB.\n\n"
    )
    if sys.argv[1:]:  # the table is of all
        return
    put_section("real size", head + table(["encoder", "", "minutes", "peak memory, GB"], rows))


if __name__ == "__main__":
    main()

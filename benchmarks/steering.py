"""Takagi & Nishimoto's two halves at real size (``python benchmarks/steering.py``): the ridge to
text embeddings, and the pictures.

Made-up data with a linear relation: 27 000 trials of 9 000 images, 6 000 voxels, 59 136 numbers
per image. himalaya's ridge, called as in their code, is measured on part of the numbers: it needs
them repeated for every trial, and all of them would take 6.4 GB, and as much again for each
penalty. Pictures are made by networks of Stable Diffusion 1.x's sizes with random weights: a step
costs the same.
"""

import json
import sys
import time

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from himalaya.ridge import RidgeCV
from measuring import TINY, put_section, run_measured, say, sized, table
from sklearn.linear_model import Ridge

from fmri2img.generation.diffusion_pictures import PictureMaker, Request
from fmri2img.models._image_ridge import solve_image_ridge
from fmri2img.pretrained.autoencoder import FrozenAutoencoder, pick_device
from fmri2img.project.config import GenerateParams

N_IMAGES, N_VOXELS, N_TARGETS, N_COMPARED = sized((9000, 6000, 77 * 768, 1024), (60, 20, 96, 64))
REPETITIONS = 3
GRIDS = {
    "published": [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0],
    "wide": [10.0, 100.0, 1e3, 1e4, 1e5, 1e6],
}
N_FOLDS = 5
SMALL_UNET = (
    {"block_out_channels": (8, 16, 16, 16), "norm_num_groups": 4, "attention_head_dim": 2}
    if TINY
    else {}
)


def make_data(n_targets: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return z-scored voxels of trials, each trial's image, and half-precision targets of
    images.
    """
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(N_IMAGES, 64, generator=generator)
    targets = torch.empty(N_IMAGES, n_targets, dtype=torch.float16)
    for start in range(0, n_targets, 4096):
        width = min(4096, n_targets - start)
        targets[:, start : start + width] = hidden @ torch.randn(64, width, generator=generator) / 8
    images = torch.arange(N_IMAGES).repeat_interleave(REPETITIONS)
    voxels = hidden[images] @ torch.randn(64, N_VOXELS, generator=generator) / 8
    voxels += 2 * torch.randn(voxels.shape, generator=generator)
    return (voxels - voxels.mean(0)) / voxels.std(0), images, targets


def child(what: str) -> None:
    """Run one measurement, and print its result."""
    if what == "pictures":
        say(make_pictures())
        return
    n_targets = N_TARGETS if what == "all" else N_COMPARED
    voxels, images, targets = make_data(n_targets)
    folds = torch.arange(N_IMAGES) % N_FOLDS
    start = time.perf_counter()
    if what == "himalaya":
        rows = targets[images].float().numpy()
        options = {"n_targets_batch": 256, "warn": False}
        RidgeCV(alphas=GRIDS["wide"], cv=N_FOLDS, solver_params=options).fit(voxels.numpy(), rows)
        say({"seconds": time.perf_counter() - start})
        return
    grids = GRIDS if what == "all" else {"wide": GRIDS["wide"]}
    found = solve_image_ridge(voxels.clone(), images, targets, folds, grids, "wide")
    seconds = time.perf_counter() - start
    facts = {"seconds": seconds, "r2": found.r2}
    if what == "part":
        few = torch.arange(0, n_targets, n_targets // 32)
        off = 0.0
        for penalty in found.penalties[few].unique():
            chosen = few[found.penalties[few] == penalty]
            rows = targets[:, chosen].double()[images].numpy()
            expected = Ridge(float(penalty)).fit(voxels.double().numpy(), rows)
            off = max(
                off,
                float(np.abs(found.weights[chosen].numpy() - np.atleast_2d(expected.coef_)).max()),
            )
        facts["largest_difference_to_scikit_learn"] = off
    say(facts)


def make_pictures() -> dict:
    """Time pictures from z and c by networks of the real sizes, on whatever device there is."""
    device = pick_device()
    on_gpu = device.type == "cuda"
    torch.manual_seed(0)
    unet = UNet2DConditionModel(cross_attention_dim=768, sample_size=64, **SMALL_UNET).eval()
    vae = AutoencoderKL(
        block_out_channels=sized((128, 256, 512, 512), (4, 4, 8, 8)),
        norm_num_groups=sized(32, 2),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    unet = unet.to(device, torch.float16 if on_gpu else torch.float32).requires_grad_(False)
    autoencoder = FrozenAutoencoder(
        vae.eval().requires_grad_(False).to(device), {"scaling_factor": 0.18215}
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )
    generator, empty = np.random.default_rng(0), np.zeros((77, 768), np.float32)
    # A CPU takes minutes for all steps: two short runs tell how long one step takes.
    n_steps = 50 if on_gpu else 2
    seconds: dict[str, float] = {}
    for batch in (1, 4, 8, 16) if on_gpu else (1,):
        requests = [
            Request(
                str(row), (row,), empty + 0.1, generator.normal(size=(4, 40, 40)).astype(np.float32)
            )
            for row in range(batch)
        ]
        for steps in (n_steps, 2 * n_steps) if not on_gpu else (n_steps,):
            settings = GenerateParams(
                n_steps=steps,
                strength=0.8 if on_gpu else 1.0,
                guidance=5.0,
                n_samples=1,
                precision="auto",
                seed=0,
            )
            maker = PictureMaker(unet, scheduler, autoencoder, empty, settings, batch)
            if on_gpu:
                maker.make(requests)  # the first call chooses kernels
                torch.cuda.synchronize()
            start = time.perf_counter()
            maker.make(requests)
            seconds[f"{batch} pictures, {steps} steps"] = time.perf_counter() - start
    return {"device": str(device), "seconds": seconds, "n_steps": n_steps}


def main() -> None:
    """Measure each thing in a process of its own, and write the table."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
        return
    found, memory = {}, {}
    for what in ("part", "himalaya", "all", "pictures"):
        measured = run_measured([sys.executable, __file__, "--child", what], every=0.5)
        found[what], memory[what] = (
            json.loads(measured.output.splitlines()[-1]),
            measured.peak_mb / 1000,
        )
        print(what, found[what], memory[what], flush=True)
    n_few, n_all = len(GRIDS["wide"]), sum(map(len, GRIDS.values()))
    rows = [
        [title, str(n_penalties), f"{found[what]['seconds'] / 60:.1f}", f"{memory[what]:.1f}"]
        for title, what, n_penalties in (
            (f"himalaya's `RidgeCV`, {N_COMPARED} numbers", "himalaya", n_few),
            (f"here, {N_COMPARED} numbers", "part", n_few),
            (f"here, all {N_TARGETS} numbers", "all", n_all),
        )
    ]
    ratio, off = (
        found["himalaya"]["seconds"] / found["part"]["seconds"],
        found["part"]["largest_difference_to_scikit_learn"],
    )
    text = (
        f"Ridge from {REPETITIONS * N_IMAGES} trials of {N_VOXELS} voxels, {N_FOLDS} folds; memory "
        "with the data.\n\n"
        f"{table(['ridge', 'penalties', 'minutes', 'peak memory, GB'], rows)}\n"
        f"On the same {N_COMPARED} numbers and penalties himalaya takes {ratio:.1f} times as long. "
        "Largest difference between a weight and that of scikit-learn's ridge in double precision, "
        f"on all trials and 32 numbers: {off:.0e}.\n\n"
    )
    put_section("steering", text + _pictures_text(found["pictures"], memory["pictures"]))


def _pictures_text(found: dict, memory: float) -> str:
    if found["device"] == "cpu":
        few, more = found["seconds"].values()
        step = (more - few) / found["n_steps"]
        whole = few - found["n_steps"] * step + 40 * step
        rest = few - found["n_steps"] * step
        return (
            f"One picture from z and c in 40 steps, float32, on this CPU: {whole / 60:.1f} min "
            f"({step:.1f} s a step, from pictures of 2 "
            f"and 4 steps, and {rest:.0f} s for the autoencoder), {memory:.1f} GB.\n"
        )
    rows = [
        [name, f"{60 * int(name.split()[0]) / seconds:.1f}"]
        for name, seconds in found["seconds"].items()
    ]
    return table(["pictures at a time, 40 of 50 steps, float16", "images a minute"], rows)


if __name__ == "__main__":
    main()

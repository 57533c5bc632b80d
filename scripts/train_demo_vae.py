"""Train the small autoencoder that ships in ``models/demo-vae`` (``make demo-vae``).

It learns from procedural pictures alone, scenes and dead leaves of this project's simulator, so it
may be redistributed without conditions. Reconstruction is measured on scenes and photographs that
it never saw, beside a patch PCA of the same size (4 numbers per 8 x 8 patch), the best that a
linear code can do.
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from joblib import Parallel, delayed
from PIL import Image
from safetensors.torch import load_file
from skimage import data as skimage_data
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA

from fmri2img.datasets.simulation.dead_leaves import render_leaves
from fmri2img.datasets.simulation.scenes import render_image
from fmri2img.project.files import write_bytes, write_json

logger = logging.getLogger("train_demo_vae")
ROOT = Path(__file__).resolve().parents[1]
BANK_SIDE, CROP_SIDE, IMAGE_SIDE = 256, 64, 128
# Seeds of pictures to learn from and to measure on; the simulator's default stimuli use another
# one.
TRAIN_SEED, HELD_OUT_SEED = 1_001, 2_002


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args = _parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    autoencoder = build_autoencoder()
    evaluation_sets = make_evaluation_sets(args.n_held_out, args.photos)
    rng = np.random.default_rng(args.seed)
    if args.start_from:
        autoencoder.load_state_dict(
            load_file(args.start_from / "diffusion_pytorch_model.safetensors")
        )
    else:
        bank = make_bank(args.n_pictures, args.threads)
        logger.info("bank of %d pictures ready", len(bank))
        cycle = Cycle(args.steps, total_steps=args.cycle_steps, learning_rate=args.learning_rate)
        train(
            autoencoder,
            lambda: draw_crops(bank, rng, args.batch_size),
            cycle,
            evaluation_sets,
            args.kl_weight,
        )
    scenes, leaves = make_polish_bank(args.n_polish_scenes, args.threads)
    logger.info("bank of %d scenes at their own scale ready", len(scenes))
    for steps, learning_rate, kl_weight, share in (
        (args.polish_steps, 0.008, args.kl_weight, 4),
        *((finish_steps, 0.006, args.kl_weight / 10, 8) for finish_steps in args.finish_steps),
    ):
        cycle = Cycle(steps, total_steps=steps, learning_rate=learning_rate)
        draw = partial(draw_plain_crops, scenes, leaves, rng, args.batch_size, leaves_share=share)
        train(autoencoder, draw, cycle, evaluation_sets, kl_weight)
    save(autoencoder, args)
    measurements = {
        name: measure(load_saved(args.out), images) for name, images in evaluation_sets.items()
    }
    names = ("steps", "cycle_steps", "batch_size", "learning_rate", "kl_weight", "n_pictures")
    names += ("polish_steps", "finish_steps", "n_polish_scenes", "seed")
    report = {"measured": measurements, "settings": {name: getattr(args, name) for name in names}}
    (args.out / "measurements.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    logger.info("%s", json.dumps(measurements))


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument(
        "--cycle-steps",
        type=int,
        default=4000,
        help="step at which the learning rate would reach 0; polishing starts earlier",
    )
    parser.add_argument("--polish-steps", type=int, default=1300)
    parser.add_argument(
        "--finish-steps", type=int, nargs="*", default=[600, 400], help="steps of each last cycle"
    )
    parser.add_argument("--n-polish-scenes", type=int, default=3000)
    parser.add_argument(
        "--start-from",
        type=Path,
        default=None,
        help="a folder with weights to start polishing from",
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--kl-weight", type=float, default=0.01)
    parser.add_argument("--n-pictures", type=int, default=4800)
    parser.add_argument("--n-held-out", type=int, default=200)
    parser.add_argument(
        "--photos",
        type=Path,
        default=None,
        help="a folder of JPEGs to measure on, never to learn from",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "models" / "demo-vae")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def make_bank(n_pictures: int, n_jobs: int) -> np.ndarray:
    """Render the training pictures, a third scenes, the rest dead leaves, shape (n, 256, 256,
    3), uint8.
    """
    jobs = [
        delayed(render_image if index % 3 == 0 else render_leaves)(TRAIN_SEED, index, BANK_SIDE)
        for index in range(n_pictures)
    ]
    return np.stack(Parallel(n_jobs=n_jobs)(jobs))


def build_autoencoder() -> AutoencoderKL:
    """Return the network: Stable Diffusion's class and latent geometry at a tenth of the width,
    without attention.
    """
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 96, 144),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=IMAGE_SIDE,
        mid_block_add_attention=False,
    ).to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Cycle:
    """One cycle of the learning rate: up over the first twentieth, then down along a cosine.
    Training stops after ``steps`` of its ``total_steps``.
    """

    steps: int
    total_steps: int
    learning_rate: float


def train(
    autoencoder: AutoencoderKL,
    draw: Callable[[], torch.Tensor],
    cycle: Cycle,
    evaluation_sets: dict,
    kl_weight: float,
) -> None:
    """Minimise squared error plus a small KL term; leave the averaged weights in the network."""
    if cycle.steps == 0:
        return
    kernels, optimizers = make_optimizers(autoencoder, cycle.learning_rate)
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            each,
            each.defaults["lr"],
            total_steps=cycle.total_steps,
            pct_start=0.05,
            cycle_momentum=False,
        )
        for each in optimizers
    ]
    average = torch.optim.swa_utils.AveragedModel(
        autoencoder, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)
    )
    started = time.monotonic()
    for step in range(1, cycle.steps + 1):
        images = draw().to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = autoencoder.encode(images).latent_dist
            decoded = autoencoder.decode(posterior.sample()).sample
        error = (decoded.float() - images).square().mean()
        kl = posterior.kl().mean() / images[0].numel()
        autoencoder.zero_grad(set_to_none=True)
        (error + kl_weight * kl).backward()
        torch.nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
        for kernel, matrix in kernels:
            matrix.grad = kernel.grad.permute(0, 2, 3, 1).reshape(matrix.shape)
        for each in [*optimizers, *schedules]:
            each.step()
        average.update_parameters(autoencoder)
        if step % 100 == 0:
            logger.info(
                "step %d: error %.5f, kl %.3f, %.2f s a step",
                step,
                error,
                kl,
                (time.monotonic() - started) / step,
            )
        if step % 500 == 0:
            for name, pictures in evaluation_sets.items():
                logger.info("  %s: %s", name, measure(average.module, pictures[:100]))
    autoencoder.load_state_dict(average.module.state_dict())


def make_optimizers(
    autoencoder: AutoencoderKL, learning_rate: float
) -> tuple[list, list[torch.optim.Optimizer]]:
    """Return Muon for the inner convolutions and AdamW for the rest.

    After the same 260 steps the error was 0.029 with Muon and 0.049 with AdamW. Muon takes
    matrices: each kernel is passed as a view, shape (out, height * width * in), of its own memory,
    which is channels-last.
    """
    kernels, others = [], []
    for name, parameter in autoencoder.named_parameters():
        if parameter.ndim == 4 and not any(
            part in name for part in ("conv_in", "conv_out", "quant")
        ):
            matrix = parameter.data.permute(0, 2, 3, 1).reshape(len(parameter), -1)
            kernels.append((parameter, torch.nn.Parameter(matrix)))
        else:
            others.append(parameter)
    muon = torch.optim.Muon(
        [matrix for _, matrix in kernels], lr=learning_rate, momentum=0.95, weight_decay=1e-3
    )
    adam = torch.optim.AdamW(others, lr=learning_rate / 10, betas=(0.9, 0.98), weight_decay=1e-4)
    return kernels, [muon, adam]


def draw_crops(bank: np.ndarray, rng: np.random.Generator, batch_size: int) -> torch.Tensor:
    """Cut windows at random places and scales, and turn and recolour them; shape (n, 3, 64, 64),
    -1..1.
    """
    crops = []
    for _ in range(batch_size):
        side = int(np.exp(rng.uniform(np.log(48), np.log(BANK_SIDE))))
        y, x = rng.integers(BANK_SIDE - side + 1, size=2)
        window = bank[rng.integers(len(bank)), y : y + side, x : x + side]
        window = np.rot90(window, rng.integers(4))[:, :: rng.choice((-1, 1))]
        crop = torch.from_numpy(window.copy()).permute(2, 0, 1)[None].float() / 255
        crop = torch.nn.functional.interpolate(crop, CROP_SIDE, mode="bilinear", antialias=True)
        grey = crop.mean(1, keepdim=True)
        crops.append(grey + float(rng.uniform(0.1, 1.2)) * (crop - grey))
    return 2 * torch.cat(crops).clamp(0, 1) ** float(rng.uniform(0.7, 1.4)) - 1


def make_polish_bank(n_scenes: int, n_jobs: int) -> tuple[np.ndarray, np.ndarray]:
    """Render scenes at 425 and shrink them to 128 as the pipeline does, and half as many leaves;
    (n, 128, 128, 3), uint8 each.
    """
    scenes = Parallel(n_jobs=n_jobs)(
        delayed(_shrunk_scene)(10_000 + index) for index in range(n_scenes)
    )
    leaves = Parallel(n_jobs=n_jobs)(
        delayed(_shrunk_leaves)(10_000 + index) for index in range(n_scenes // 2)
    )
    return np.stack(scenes), np.stack(leaves)


def _shrunk_scene(index: int) -> np.ndarray:
    return shrink(render_image(TRAIN_SEED, index))


def _shrunk_leaves(index: int) -> np.ndarray:
    return shrink(render_leaves(TRAIN_SEED, index, BANK_SIDE))


def draw_plain_crops(
    scenes: np.ndarray,
    leaves: np.ndarray,
    rng: np.random.Generator,
    batch_size: int,
    *,
    leaves_share: int,
) -> torch.Tensor:
    """Cut windows without rescaling, one in ``leaves_share`` from leaves, mirrored at random;
    shape (n, 3, 64, 64), -1..1.
    """
    crops = []
    for index in range(batch_size):
        bank = leaves if index % leaves_share == 0 else scenes
        y, x = rng.integers(IMAGE_SIDE - CROP_SIDE + 1, size=2)
        crops.append(
            bank[rng.integers(len(bank)), y : y + CROP_SIDE, x : x + CROP_SIDE][
                :, :: rng.choice((-1, 1))
            ]
        )
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def make_evaluation_sets(n_held_out: int, photos: Path | None) -> dict[str, np.ndarray]:
    """Return named sets of pictures at 128 x 128, shape (n, 128, 128, 3), uint8, none of them
    trained on.
    """
    names = [
        name
        for name in ("astronaut", "coffee", "chelsea", "rocket", "retina", "hubble_deep_field")
        if _is_shipped(name)
    ]
    shipped = [getattr(skimage_data, name)() for name in names] + load_sample_images().images
    sets = {
        "held_out_scenes": [render_image(HELD_OUT_SEED, index) for index in range(n_held_out)],
        "library_photographs": shipped,
    }
    if photos is not None:
        sets["folder_photographs"] = [
            np.asarray(Image.open(path).convert("RGB")) for path in sorted(photos.rglob("*.jpg"))
        ]
    return {name: np.stack([shrink(image) for image in images]) for name, images in sets.items()}


def _is_shipped(name: str) -> bool:
    try:
        getattr(skimage_data, name)()
    except (OSError, ModuleNotFoundError, AttributeError):
        return False
    return True


def shrink(image: np.ndarray) -> np.ndarray:
    """Cut the central square and resize it to 128 x 128 with antialiasing."""
    side = min(image.shape[:2])
    y, x = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = Image.fromarray(image[y : y + side, x : x + side])
    return np.asarray(square.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC))


@torch.no_grad()
def measure(autoencoder: AutoencoderKL, images: np.ndarray) -> dict[str, float]:
    """Return mean PSNR in dB of the autoencoder and of a 4-component patch PCA fitted to the same
    images.
    """
    autoencoder.eval()
    decoded = []
    for batch in np.array_split(images, max(1, len(images) // 16)):
        tensor = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 127.5 - 1
        decoded.append(
            autoencoder.decode(autoencoder.encode(tensor).latent_dist.mode()).sample.clamp(-1, 1)
        )
    autoencoder.train()
    output = (torch.cat(decoded).permute(0, 2, 3, 1).numpy() + 1) / 2
    truth = images / 255.0
    return {
        "n_images": len(images),
        "psnr": round(_psnr(truth, output), 2),
        "psnr_patch_pca": round(_psnr(truth, _patch_pca(truth)), 2),
    }


def _psnr(truth: np.ndarray, output: np.ndarray) -> float:
    return float(np.mean(-10 * np.log10(np.mean((truth - output) ** 2, axis=(1, 2, 3)))))


def _patch_pca(images: np.ndarray) -> np.ndarray:
    n, side = len(images), IMAGE_SIDE // 8
    patches = (
        images.reshape(n, side, 8, side, 8, 3)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(n * side * side, 192)
    )
    pca = PCA(4, svd_solver="covariance_eigh").fit(patches)
    restored = pca.inverse_transform(pca.transform(patches)).reshape(n, side, side, 8, 8, 3)
    return restored.transpose(0, 1, 3, 2, 4, 5).reshape(images.shape).clip(0, 1)


@torch.no_grad()
def save(autoencoder: AutoencoderKL, args: argparse.Namespace) -> None:
    """Write weights (float16) and config in one step; set the scaling factor so that latents of
    scenes have unit SD.
    """
    scenes = np.stack([_shrunk_scene(index) for index in range(64)])
    tensor = torch.from_numpy(scenes).permute(0, 3, 1, 2).float() / 127.5 - 1
    factor = 1 / autoencoder.eval().encode(tensor).latent_dist.mode().std().item()
    half = build_autoencoder()
    half.load_state_dict(autoencoder.state_dict())
    half.register_to_config(scaling_factor=round(factor, 5))
    with tempfile.TemporaryDirectory() as folder:
        half.half().save_pretrained(folder)
        config = json.loads((Path(folder) / "config.json").read_text())
        config.pop("_name_or_path", None)
        write_json(args.out / "config.json", config)
        write_bytes(
            args.out / "diffusion_pytorch_model.safetensors",
            (Path(folder) / "diffusion_pytorch_model.safetensors").read_bytes(),
        )


def load_saved(folder: Path) -> AutoencoderKL:
    """Load what `save` wrote, so that the reported numbers are those of the rounded weights."""
    return AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32)


if __name__ == "__main__":
    main()

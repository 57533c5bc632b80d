"""Samples per second and memory of training, beside the loop of the original scripts (``python
benchmarks/training.py``).

If torch finds a GPU, the table is measured on it.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import yaml
from measuring import peak_rss_mb, put_section, run_measured, say, sized, table

os.environ.setdefault("HF_HUB_OFFLINE", "1")
PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
N_VOXELS, N_IMAGES = sized((4660, 200), (30, 8))
STIMULUS_SIDE, SIDE = 425, 128
CHANNELS = sized((128, 256, 512, 512), (4, 4, 8, 8))  # of Stable Diffusion's autoencoder
ROUNDS = sized(2, 1)
WAYS = {
    "original": "original loop, pixel loss",
    "pixels": "**this project**, pixel loss",
    "window": "**this project**, pixel loss of random quarters",
    "latents": "**this project**, latent loss",
}


def make_autoencoder() -> torch.nn.Module:
    """Return an autoencoder of Stable Diffusion's sizes, with random weights."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    blocks = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    return (
        AutoencoderKL(
            block_out_channels=CHANNELS,
            layers_per_block=2,
            latent_channels=4,
            norm_num_groups=sized(32, 2),
            **blocks,
        )
        .eval()
        .requires_grad_(False)
    )


class OriginalSamples(torch.utils.data.Dataset):
    """Trials as the original loader returns them: voxels, and an augmented picture from the
    stimulus file.
    """

    def __init__(self, stimuli: Path, n: int) -> None:
        import h5py

        self.pictures = h5py.File(stimuli, "r")["imgBrick"]
        self.voxels = np.random.default_rng(0).standard_normal((n, N_VOXELS), dtype=np.float32)

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.voxels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Blur by an SD of 0 to 3, shrink to 128 x 128, enlarge by 1 to 1.2, scale to -1 to 1."""
        from PIL import Image, ImageFilter

        rng = np.random.default_rng(index)
        picture = Image.fromarray(self.pictures[index % N_IMAGES]).filter(
            ImageFilter.GaussianBlur(rng.uniform(0, 3))
        )
        part = SIDE * (1 - 1 / rng.uniform(1, 1.2)) / 2
        picture = picture.resize((SIDE, SIDE)).resize(
            (SIDE, SIDE), box=(part, part, SIDE - part, SIDE - part)
        )
        pixels = torch.from_numpy(np.asarray(picture) / 127.5 - 1).permute(2, 0, 1).float()
        return torch.from_numpy(self.voxels[index]), pixels


class OriginalNetwork(torch.nn.Module):
    """Linear layers of 2048, 2048 and 1024 with GELU, and a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [N_VOXELS, 2048, 2048, 1024]
        self.layers = torch.nn.ModuleList(torch.nn.Linear(*pair) for pair in pairwise(sizes))
        self.grow = torch.nn.ConvTranspose2d(16, 4, kernel_size=4, stride=2, padding=1)

    def forward(self, voxels: torch.Tensor) -> torch.Tensor:
        """Map voxels to latents (n, 4, 16, 16)."""
        for layer in self.layers:
            voxels = torch.nn.functional.gelu(layer(voxels))
        return self.grow(voxels.view(-1, 16, 8, 8))


def original(batch_size: int, n_steps: int, folder: Path) -> Iterator[float]:
    """Train as the original scripts do; yields the seconds of each step, with the loader's."""
    from accelerate import Accelerator

    accelerator = Accelerator()
    network, autoencoder = OriginalNetwork(), make_autoencoder().to(accelerator.device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=0.1, eps=1e-8
    )
    samples = OriginalSamples(folder / "stimuli.h5", batch_size * n_steps)
    loader = torch.utils.data.DataLoader(
        samples, batch_size=batch_size, shuffle=True, num_workers=os.cpu_count() or 1
    )
    network, optimizer, loader = accelerator.prepare(network, optimizer, loader)
    before = time.perf_counter()
    for voxels, pixels in loader:
        pictures = autoencoder.decode(network(voxels)).sample.float()
        loss = torch.nn.functional.mse_loss(pictures, pixels)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        now = time.perf_counter()
        yield now - before
        before = now


def ours(
    way: str, batch_size: int, n_steps: int, folder: Path, model: str = "basic_ae"
) -> Iterator[float]:
    """Train with this project's engine; yields the seconds per step of epochs of ``n_steps``."""
    from fmri2img.models.base import TrainingTensors
    from fmri2img.models.registry import model_class
    from fmri2img.pretrained.autoencoder import FrozenAutoencoder
    from fmri2img.training.data import TrainingSet, ValidationTensors
    from fmri2img.training.fit import fit_encoder

    pixels = way in ("pixels", "window")
    changes = {
        "epochs": 4,
        "patience": 4,
        "batch_size": batch_size,
        "loss": "pixels" if pixels else "latents",
        "n_seeds": 1,
    }
    changes |= {"pixel_window": 8 if way == "window" else 16} | (
        {"blur": 0.9, "zoom": 1.2} if pixels else {}
    )
    kind = model_class(model)
    settings = kind.Settings.model_validate(
        yaml.safe_load(PARAMS.read_text())["train"][model] | changes
    )
    n_trials, generator = batch_size * n_steps, torch.Generator().manual_seed(0)
    betas, latents = (
        torch.randn(n_trials, N_VOXELS, generator=generator),
        torch.randn(N_IMAGES, 4, 16, 16, generator=generator),
    )
    pictures = np.random.default_rng(0).integers(0, 256, (N_IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    none = torch.zeros(0, 0, 1, 1)
    images = torch.arange(n_trials) % N_IMAGES
    train = TrainingTensors(
        betas,
        images,
        latents,
        torch.ones(N_VOXELS),
        none,
        none,
        none,
    )
    validation = ValidationTensors(betas[:1], latents[:1], latents.mean(0), torch.ones(1))
    times: list[float] = []
    fit_encoder(
        kind,
        settings,
        TrainingSet(train, validation, pictures, pictures[:1]),
        load_decoder=lambda: FrozenAutoencoder(
            make_autoencoder().to(memory_format=torch.channels_last), {"scaling_factor": 0.18215}
        ),
        checkpoint=folder / f"checkpoint-{os.getpid()}.safetensors",
        on_epoch=lambda _: times.append(time.perf_counter()),
    )
    # The last epoch writes a checkpoint too.
    yield from ((after - before) / n_steps for before, after in pairwise(times[:-1]))


def child(way: str, batch_size: int, n_steps: int, folder: Path) -> None:
    """Measure one way in a process of its own."""
    seconds = list(
        original(batch_size, n_steps, folder)
        if way == "original"
        else ours(way, batch_size, n_steps, folder)
    )
    memory = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else peak_rss_mb()
    if int(os.environ.get("RANK", "0")) == 0:
        # The first step of the original pays for starting the workers and for the first run of
        # every kernel.
        say(
            {
                "seconds": statistics.median(seconds[1:] if way == "original" else seconds),
                "memory": memory,
            }
        )


def write_stimuli(path: Path) -> None:
    """Write pictures as NSD's stimulus file has them."""
    import h5py

    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        coarse = rng.integers(0, 256, (N_IMAGES, 17, 17, 3), dtype=np.uint8)
        file["imgBrick"] = coarse.repeat(25, 1).repeat(25, 2)


def matmul_peak(dtype: torch.dtype) -> float:
    """Return the rate of a large matrix product, in 1e9 operations a second; a multiply-add counts
    as two.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = sized(8192 if device == "cuda" else 2048, 64)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def once() -> float:
        start = time.perf_counter()
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return 2 * size**3 / min(once() for _ in range(8)) / 1e9


def operations_per_sample() -> float:
    """Count the operations of one picture's passes through the decoder and back, in 1e9."""
    from torch.utils.flop_counter import FlopCounterMode

    autoencoder, latents = make_autoencoder(), torch.randn(1, 4, 16, 16, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        autoencoder.decode(latents).sample.mean().backward()
    return counter.get_total_flops() / 1e9


def measure(
    way: str,
    batch_size: int,
    n_steps: int,
    folder: Path,
    launcher: tuple[str, ...] = (),
    threads: int = 0,
) -> dict:
    """Run a child; returns seconds a step and memory."""
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    if launcher:  # several processes on CPUs
        environment["ACCELERATE_USE_CPU"] = "true"
    arguments = [
        __file__,
        "--child",
        way,
        "--batch-size",
        str(batch_size),
        "--steps",
        str(n_steps),
        "--folder",
        str(folder),
    ]
    return json.loads(
        run_measured([sys.executable, *launcher, *arguments], env=environment).output.splitlines()[
            -1
        ]
    )


def compare(batch_size: int, folder: Path) -> str:
    """Return the table of all ways, measured in turn."""
    steps = sized({"original": 3, "pixels": 2, "window": 4, "latents": 60}, dict.fromkeys(WAYS, 2))
    found: dict[str, list[dict]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            found[way].append(measure(way, batch_size, steps[way], folder))
            print(way, found[way][-1], flush=True)
    speeds = {
        way: batch_size / statistics.median(one["seconds"] for one in runs)
        for way, runs in found.items()
    }
    rows = [
        [
            title,
            f"{speeds[way]:.2f}",
            f"{speeds[way] / speeds['original']:.1f}",
            f"{max(one['memory'] for one in found[way]):.0f}",
        ]
        for way, title in WAYS.items()
    ]
    operations, peak = (
        operations_per_sample(),
        {
            name: matmul_peak(dtype)
            for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16))
        },
    )
    shares = (
        f"One picture takes {operations:.0f}e9 operations through the decoder and back. Large "
        "matrix products reach "
        f"{peak['float32']:.0f}e9 a second in float32 and {peak['bf16']:.0f}e9 in bf16: the "
        "original loop works at "
        f"{100 * speeds['original'] * operations / peak['float32']:.0f} % of the former, this "
        "project's at "
        f"{100 * speeds['pixels'] * operations / peak['bf16']:.0f} % of the latter.\n"
    )
    head = f"Batches of {batch_size}; medians of {ROUNDS} rounds.\n\n"
    return (
        head
        + table(["way", "samples a second", "times the original", "peak memory, MB"], rows)
        + "\n"
        + shares
    )


def processes(batch_size: int, folder: Path) -> str:
    """Return the table of one process with 1 and 2 threads, and two with 1 thread each."""
    # "--multi_gpu" means several processes to accelerate; with ACCELERATE_USE_CPU they run on CPUs.
    options = (
        "--multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0 "
        "--mixed_precision no --dynamo_backend no"
    )
    launcher = ("-m", "accelerate.commands.launch", *options.split())
    rows = []
    for way, steps in sized((("latents", 60), ("window", 3)), (("latents", 2),)):
        alone = measure(way, batch_size, steps, folder, threads=1)
        both = measure(way, batch_size, steps, folder, threads=2)
        two = measure(way, batch_size, steps, folder, launcher, threads=1)
        rates = [batch_size / one["seconds"] for one in (alone, both, two)]
        rows.append(
            [
                WAYS[way].replace("**this project**, ", ""),
                *(f"{rate:.1f}" for rate in rates),
                f"{rates[2] / rates[0]:.2f}",
            ]
        )
    return table(
        [
            "samples a second",
            "1 process, 1 thread",
            "1 process, 2 threads",
            "2 processes, 1 thread each",
            "speed-up of 2 over 1",
        ],
        rows,
    )


def main(write: Callable[[str, str], None] = put_section) -> None:
    """Measure everything, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", choices=list(WAYS))
    parser.add_argument(
        "--batch-size",
        type=int,
        default=sized(16, 2),
        help="the original's 64 needs more than 24 GiB on a CPU",
    )
    parser.add_argument("--steps", type=int)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.batch_size, options.steps, options.folder)
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_stimuli(folder / "stimuli.h5")
        write("training", compare(options.batch_size, folder))
        if not torch.cuda.is_available():
            write("training processes", processes(options.batch_size, folder))


if __name__ == "__main__":
    main()

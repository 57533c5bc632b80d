"""Measure every path that can use a GPU: speed, memory, share of the device's peak rate, and
agreement with a CPU (``python benchmarks/gpu.py``).

Takes about eight minutes, and needs no network, DVC or installation: it runs from the sources of
this folder on PyTorch 2.11 or later, and names the paths that it leaves out because an import
fails. Networks have Stable Diffusion 1.x's sizes and random weights, which cost the same. Prints a
table, and writes all numbers as JSON (``--to``).
"""

import argparse
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

import numpy as np  # noqa: E402  (they follow the settings above)
import torch  # noqa: E402

# Set by the tests: every path runs at a size that takes seconds.
TINY = os.environ.get("FMRI2IMG_TINY") == "1"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ON_GPU = DEVICE.type == "cuda"
N_VOXELS, N_IMAGES, SIDE = (30, 8, 128) if TINY else (4660, 600, 128)
SMALL_UNET = {"block_out_channels": (8, 16, 16, 16), "norm_num_groups": 4, "attention_head_dim": 2}
SECONDS = 480
_SCALING = 0.18215
_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# How far apart CPU and GPU may be, as a share of the SD: sums are taken in another order, and a GPU
# multiplies float32 in TF32 within convolutions.
_CLOSE = 2e-2


def wait() -> None:
    """Wait until the device has finished its work."""
    if ON_GPU:
        torch.cuda.synchronize()


def best_seconds(work: Callable[[], Any], rounds: int = 3) -> float:
    """Return the shortest time of several rounds, after a first one that chooses kernels."""
    work()
    wait()
    times = []
    for _ in range(1 if TINY else rounds):
        start = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - start)
    return min(times)


def peak_rate(dtype: torch.dtype) -> float:
    """Return the rate of a large matrix product, in 1e12 operations a second."""
    size = 64 if TINY else 8192 if ON_GPU else 2048
    left, right = (torch.randn(size, size, device=DEVICE).to(dtype) for _ in range(2))
    return 2 * size**3 / best_seconds(lambda: left @ right, 5) / 1e12


def make_autoencoder() -> Any:
    """Return an autoencoder of Stable Diffusion's sizes, with random weights, on the CPU."""
    from diffusers import AutoencoderKL

    from fmri2img.pretrained.autoencoder import FrozenAutoencoder

    torch.manual_seed(0)
    network = AutoencoderKL(
        block_out_channels=(4, 4, 8, 8) if TINY else (128, 256, 512, 512),
        norm_num_groups=2 if TINY else 32,
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return FrozenAutoencoder(network, {"scaling_factor": _SCALING})


def on_device(autoencoder: Any) -> Any:
    """Return a copy of an autoencoder on the measured device."""
    from copy import deepcopy

    from fmri2img.pretrained.autoencoder import FrozenAutoencoder

    return FrozenAutoencoder(deepcopy(autoencoder.network).to(DEVICE), autoencoder.identity)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return how far apart two arrays are: RMS of the difference over the SD."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(np.sqrt(((one - other) ** 2).mean()) / max(one.std(), 1e-12))


def peaks() -> dict[str, float]:
    """Measure the rates of large matrix products."""
    kinds = _DTYPES if ON_GPU else {"float32": torch.float32, "bf16": torch.bfloat16}
    return {f"{name}_tflops": peak_rate(dtype) for name, dtype in kinds.items()}


def latents_of_pictures() -> dict[str, float]:
    """Encode and decode pictures of 128 x 128, as ``encode_latents`` and ``predict`` do."""
    from fmri2img.features.vae_latents import encode_pictures
    from fmri2img.generation.decode import decode_latents

    here = make_autoencoder()
    there, n_pictures = on_device(here), 4 if TINY else 256
    pictures = np.random.default_rng(0).integers(0, 256, (n_pictures, SIDE, SIDE, 3), np.uint8)
    few = 2 if TINY else 8
    expected = encode_pictures(pictures[:few], here, batch_size=8)
    given = encode_pictures(pictures[:few], there, batch_size=8)
    decoded = [decode_latents(expected, one, batch_size=8) for one in (here, there)]
    latents = np.repeat(expected, n_pictures // few, axis=0)
    encode = best_seconds(lambda: encode_pictures(pictures, there, batch_size=64))
    decode = best_seconds(lambda: decode_latents(latents, there, batch_size=64))
    return {
        "encoded_a_second": n_pictures / encode,
        "decoded_a_second": len(latents) / decode,
        "apart_encoded": apart(expected, given),
        "apart_decoded": apart(decoded[0], decoded[1]),
    }


def training_data() -> Any:
    """Return made-up trials of one subject."""
    from fmri2img.models.base import TrainingTensors
    from fmri2img.training.data import TrainingSet, ValidationTensors

    generator = torch.Generator().manual_seed(0)
    betas = torch.randn(3 * N_IMAGES, N_VOXELS, generator=generator)
    latents = torch.randn(N_IMAGES, 4, 16, 16, generator=generator)
    pictures = np.random.default_rng(0).integers(0, 256, (N_IMAGES, SIDE, SIDE, 3), np.uint8)
    none = torch.zeros(0, 0, 1, 1)
    images = torch.arange(N_IMAGES).repeat_interleave(3)
    averages = betas.view(N_IMAGES, 3, N_VOXELS).mean(1)
    labels = torch.ones(N_VOXELS)
    train = TrainingTensors(betas, images, latents, labels, none, none, none)
    few = slice(0, max(2, N_IMAGES // 10))
    validation = ValidationTensors(
        averages[few], latents[few], latents.mean(0), torch.full((few.stop,), 3)
    )
    return TrainingSet(train, validation, pictures, pictures[few])


def train(**changes: Any) -> tuple[float, float]:
    """Train `basic_ae`; returns trials a second after the first epoch, and the last validation
    loss.
    """
    import yaml

    from fmri2img.models.registry import model_class
    from fmri2img.training.fit import fit_encoder

    kind = model_class("basic_ae")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())["train"]["basic_ae"]
    few = {"hidden_sizes": [16]} if TINY else {}
    settings = kind.Settings.model_validate(params | {"n_seeds": 1, "patience": 9} | few | changes)
    data, ends, losses = training_data(), [], []

    def note(record: Any) -> None:
        wait()
        ends.append(time.perf_counter())
        losses.append(record.validation_loss)

    with TemporaryDirectory() as folder:
        fit_encoder(
            kind,
            settings,
            data,
            load_decoder=lambda: on_device(make_autoencoder()),
            checkpoint=Path(folder) / "checkpoint.safetensors",
            on_epoch=note,
        )
    n_epochs = len(ends) - 1
    return n_epochs * len(data.train.betas) / (ends[-1] - ends[0]), losses[-1]


def training_on_latents() -> dict[str, float]:
    """Train with gradients in each number format, and compare the losses with float32's."""
    found: dict[str, float] = {}
    kinds = ("float32", "bf16", "fp16") if ON_GPU else ("float32",)
    for precision in kinds:
        rate, loss = train(precision=precision, epochs=3 if TINY else 6)
        found |= {f"{precision}_trials_a_second": rate, f"{precision}_loss": loss}
    first = found["float32_loss"]
    others = [found[f"{precision}_loss"] for precision in kinds[1:]]
    return found | {"apart_formats": max((abs(one / first - 1) for one in others), default=0.0)}


def training_through_the_decoder() -> dict[str, float]:
    """Train on pixel loss through the frozen decoder (on a GPU also compiled); share of peak."""
    from torch.utils.flop_counter import FlopCounterMode

    options: dict[str, Any] = {"loss": "pixels", "epochs": 2, "batch_size": 2 if TINY else 64}
    found: dict[str, float] = {}
    for precision, compiled in (("auto", False), *((("auto", True),) if ON_GPU else ())):
        if ON_GPU:
            torch.cuda.reset_peak_memory_stats()
        rate, _ = train(**options, precision=precision, compile=compiled)
        name = "compiled_" if compiled else ""
        found[f"{name}pictures_a_second"] = rate
        if ON_GPU:
            found[f"{name}peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    latents = torch.randn(1, 4, 16, 16, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        make_autoencoder().network.decode(latents).sample.mean().backward()
    used = found["pictures_a_second"] * counter.get_total_flops() / 1e12
    return found | {"share_of_bf16_peak": used / peak_rate(torch.bfloat16)}


def picture_maker(n_steps: int, batch: Any) -> tuple[Any, list[Any]]:
    """Return Stable Diffusion with random weights, and requests for pictures."""
    from diffusers import DDIMScheduler, UNet2DConditionModel

    from fmri2img.generation.diffusion_pictures import PictureMaker, Request
    from fmri2img.project.config import GenerateParams

    torch.manual_seed(0)
    sizes = SMALL_UNET if TINY else {"attention_head_dim": 8}
    unet = UNet2DConditionModel(cross_attention_dim=768, sample_size=64, **sizes).eval()
    unet = unet.to(DEVICE, torch.float16 if ON_GPU else torch.float32).requires_grad_(False)
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )
    settings = GenerateParams(
        n_steps=n_steps, strength=0.8, guidance=5.0, n_samples=1, precision="auto", seed=0
    )
    empty, generator = np.zeros((77, 768), np.float32), np.random.default_rng(0)
    maker = PictureMaker(unet, scheduler, on_device(make_autoencoder()), empty, settings, batch)
    cells = generator.normal(size=(64, 4, 40, 40)).astype(np.float32)
    requests = [Request(str(row), (row,), empty + 0.1, one) for row, one in enumerate(cells)]
    return maker, requests


def generation() -> dict[str, float]:
    """Make pictures from z and c, as many at a time as fit; on a CPU one in two steps."""
    maker, requests = picture_maker(50 if ON_GPU else 2, "auto")
    chosen = requests if ON_GPU else requests[:1]
    with TemporaryDirectory() as folder:
        maker.make(chosen[:1])
        wait()
        start = time.perf_counter()
        maker.make_all(chosen, Path(folder), "benchmark")
        wait()
        seconds = time.perf_counter() - start
    return {"pictures_a_minute": 60 * len(chosen) / seconds, "at_a_time": float(maker._batch)}


def no_memory() -> dict[str, float]:
    """Check that too large a batch gives a one-line error; only a GPU reports lack of memory."""
    if not ON_GPU:
        raise NotHereError("a CPU swaps instead of reporting lack of memory")
    from fmri2img.project.exceptions import UnavailableError

    maker, requests = picture_maker(2, 4096)
    with TemporaryDirectory() as folder:
        try:
            maker.make_all(requests * 64, Path(folder), "benchmark")
        except UnavailableError as error:
            line = str(error)
            return {"told_in_one_line": float("no memory left" in line and "\n" not in line)}
    return {"told_in_one_line": 0.0}


def scoring_network() -> dict[str, float]:
    """Time EfficientNet-Lite0's features, and compare them with a CPU's."""
    from fmri2img.evaluation.network_features import features_of
    from fmri2img.evaluation.presets import PRESETS
    from fmri2img.evaluation.read_outs import READ_OUTS
    from fmri2img.pretrained.scoring_networks import load_network

    n_pictures = 2 if TINY else 64
    pictures = np.random.default_rng(0).integers(0, 256, (n_pictures, 425, 425, 3), np.uint8)
    read_out, preset = READ_OUTS["effnet_lite0"], PRESETS["mindeye"]

    here = load_network("effnet_lite0", None, torch.device("cpu"))
    there = load_network("effnet_lite0", None, DEVICE) if ON_GPU else here
    expected, given = (
        np.concatenate(list(features_of(pictures[:16], network, read_out, preset)))
        for network in (here, there)
    )
    seconds = best_seconds(lambda: list(features_of(pictures, there, read_out, preset)))
    return {"pictures_a_second": n_pictures / seconds, "apart": apart(expected, given)}


class NotHereError(Exception):
    """A path that this machine cannot take."""


PATHS = (
    peaks,
    latents_of_pictures,
    training_on_latents,
    training_through_the_decoder,
    generation,
    no_memory,
    scoring_network,
)


def measure(path: Callable[[], dict[str, float]]) -> dict[str, Any]:
    """Run one path; what is missing, or how it fails, becomes part of the result."""
    if ON_GPU:
        torch.cuda.empty_cache()
    start = time.perf_counter()
    try:
        numbers = path()
    except (ImportError, NotHereError) as error:
        return {"left out": f"{type(error).__name__}: {error}"}
    except Exception as error:
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    too_far = [name for name, value in numbers.items() if "apart" in name and value > _CLOSE]
    failed = {"failed": f"{too_far[0]}: more than {_CLOSE} of an SD"} if too_far else {}
    return numbers | {"took": time.perf_counter() - start} | failed


def rows_of(found: dict[str, dict[str, Any]]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| path | what | value |", "| --- | --- | ---: |"]
    for name, numbers in found.items():
        for what, value in numbers.items():
            text = value if isinstance(value, str) else f"{value:.4g}"
            lines.append(f"| {name.replace('_', ' ')} | {what.replace('_', ' ')} | {text} |")
    return "\n".join(lines)


def main() -> None:
    """Run every path, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, help="write all numbers there as JSON")
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if ON_GPU else f"CPU ({platform.machine()})"
    start, found = time.perf_counter(), {}
    for path in PATHS:
        if time.perf_counter() - start > SECONDS:
            found[path.__name__] = {"left out": f"the limit of {SECONDS} s is reached"}
            continue
        found[path.__name__] = measure(path)
        print(path.__name__, found[path.__name__], file=sys.stderr, flush=True)
    about = {"device": name, "torch": torch.__version__, "python": platform.python_version()}
    if options.to:
        options.to.write_text(json.dumps({"about": about, "paths": found}, indent=1) + "\n")
    print(f"{name}, PyTorch {torch.__version__}, {time.perf_counter() - start:.0f} s\n")
    print(rows_of(found))
    if TINY:
        print("\nnot written: a tiny run")
    if any("failed" in numbers for numbers in found.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()

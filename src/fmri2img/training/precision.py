"""In which precision a training computes, and what to do where memory ends."""

import torch

from fmri2img.config import PARAMS_PATH
from fmri2img.exceptions import ConfigError
from fmri2img.models.base import GradientSettings

_PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def out_of_memory_advice(device: torch.device) -> str:
    """Return what to do when a device has no memory left, in one line."""
    return (
        f"{device} has no memory left for one step of training; in the model's section of train in "
        "params.yaml lower batch_size, "
        "set decoder_batch to 1 or a smaller pixel_window, or set precision to bf16; or free the "
        "device"
    )


def pick_precision(settings: GradientSettings, device: torch.device) -> torch.dtype:
    """Return the number format in which the decoder works.

    On a CPU the encoder stays in float32: it is small, and its weights are what is kept.
    """
    if settings.precision == "fp16" and device.type == "cpu":
        raise ConfigError(
            f"{PARAMS_PATH}: precision: fp16 loses small gradients on a CPU; set it to auto, bf16 "
            "or float32"
        )
    if settings.precision != "auto":
        return _PRECISIONS[settings.precision]
    if device.type == "cuda":
        return (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float32
        )
    return (
        torch.bfloat16 if settings.loss != "latents" and _cpu_multiplies_bf16() else torch.float32
    )


def _cpu_multiplies_bf16() -> bool:
    """Whether the processor has instructions for bf16 products; without them the format is
    slower than float32.
    """
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123  (a text of the kernel's)
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags

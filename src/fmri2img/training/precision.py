"""Numerical precision of a training."""

import torch

from fmri2img.models.base import GradientSettings
from fmri2img.project.config import PARAMS_PATH
from fmri2img.project.exceptions import ConfigError

_PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_precision(settings: GradientSettings, device: torch.device) -> torch.dtype:
    """Return the number format of the decoder, and of mixed precision on a GPU.

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
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags

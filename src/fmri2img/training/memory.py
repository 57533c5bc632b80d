"""How much of a device's memory data may take, and what to do when it runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fmri2img.models._stored import Betas
from fmri2img.project.exceptions import UnavailableError

_RESIDENT_SHARE = 0.5  # of the device's free memory that data may take


def fits(data: Betas, device: torch.device) -> bool:
    """Return whether data of any shape may stay on a device for the whole training."""
    return (
        device.type == "cpu" or data.nbytes < _RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
    )


@contextmanager
def closed_form(n_voxels: int) -> Iterator[None]:
    """Say what helps if there is too little memory for a solution in closed form.

    Raises
    ------
    UnavailableError
        If there is too little memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        from accelerate.utils.memory import should_reduce_batch_size  # takes a second to load

        if not (isinstance(error, MemoryError) or should_reduce_batch_size(error)):
            raise
        raise UnavailableError(
            f"not enough memory to solve for {n_voxels} voxels in closed form; select fewer voxels "
            "(extract_betas.labels or min_ncsnr), or use a machine with more memory"
        ) from error


def out_of_memory_advice(device: torch.device) -> str:
    """Return what to do when a device has no memory left, in one line."""
    return (
        f"{device} has no memory left for one step of training; in the model's section of train in "
        "params.yaml lower batch_size, "
        "set decoder_batch to 1 or a smaller pixel_window, or set precision to bf16; or free the "
        "device"
    )

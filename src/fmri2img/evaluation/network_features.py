"""Features of pictures in pretrained networks (`read_outs`)."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fmri2img.evaluation.correlation import unit_rows
from fmri2img.evaluation.presets import Preset, resize_file, resize_tensor
from fmri2img.evaluation.read_outs import READ_OUTS, Network, Networks, ReadOut, read_outs_of
from fmri2img.project.exceptions import UnavailableError

if TYPE_CHECKING:  # late: it takes seconds, and tables that name metrics need none
    import torch

logger = logging.getLogger(__name__)

_BATCH = 8  # a larger one leaves the processor's cache and is slower


def open_networks(names: Sequence[str], folder: Path | None) -> Networks:
    """Load the networks that are available; a missing one causes a warning, and its metrics are
    left out.

    Parameters
    ----------
    names : sequence of str
        Names of networks, among `NETWORK_NAMES`.
    folder : Path or None
        Folder that holds the weights; None to get them from their makers' hubs.

    Raises
    ------
    FormatError
        If a file of weights is not the one that was published.
    """
    from fmri2img.pretrained.scoring_networks import load_network

    loaded: dict[str, Network] = {}
    wanted = read_outs_of(names)
    for key in dict.fromkeys(key for name in wanted for key in READ_OUTS[name].network.values()):
        try:
            loaded[key] = load_network(key, folder)
        except UnavailableError as error:
            logger.warning("without the metrics in %s: %s", key, error)
    return Networks(loaded, tuple(wanted))


def prepare(images: np.ndarray, read_out: ReadOut, preset: Preset) -> "torch.Tensor":
    """Bring pictures to a network's input.

    Pictures are resized to a square without a crop. ``mindeye`` resizes tensors bilinearly without
    antialiasing, first to the common 256 x 256. ``brain_diffuser`` resizes as Pillow does
    with files, by its bilinear filter, which antialiases.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, 3), uint8
    read_out : ReadOut
    preset : Preset

    Returns
    -------
    Tensor, shape (n, 3, side, side), float32
    """
    import torch

    side = read_out.side[preset.name]
    if preset.common_size is None:
        resized = resize_file(images, side, Image.Resampling.BILINEAR)
    else:
        resized = resize_tensor(
            resize_tensor(images, preset.common_size, antialias=preset.antialias),
            side,
            antialias=preset.antialias,
        )
    mean, deviation = (np.asarray(values, dtype=np.float32) for values in read_out.scale)
    return torch.from_numpy((resized - mean) / deviation).permute(0, 3, 1, 2)


def unit_features(
    truth: np.ndarray, network: Network, read_out: ReadOut, preset: Preset
) -> np.ndarray:
    """Return the features of all pictures, each centred and of length 1, shape (n, d), float32."""
    units: np.ndarray | None = None
    start = 0
    for block in features_of(truth, network, read_out, preset):
        if units is None:
            units = np.empty((len(truth), block.shape[1]), dtype=np.float32)
        units[start : start + len(block)] = unit_rows(block)
        start += len(block)
    if units is None:
        raise ValueError("expected at least one picture, got none")
    return units


def features_of(
    images: np.ndarray, network: Network, read_out: ReadOut, preset: Preset
) -> Iterator[np.ndarray]:
    """Yield the features of a few pictures at a time, shape (some, d)."""
    for start in range(0, len(images), _BATCH):
        yield network.read_out(
            prepare(images[start : start + _BATCH], read_out, preset), read_out.layer
        )

"""Layers of the installed network as what drives a simulated cortex (`worlds`)."""

from collections.abc import Iterable
from itertools import islice
from typing import Literal

import numpy as np

from fmri2img.datasets.simulation.picture_drives import GRID_SIDE, N_DEEP
from fmri2img.pretrained.scoring_networks import load_network

# Modules of EfficientNet-Lite0, and the side of their maps.
_LAYERS = {"middle layers": ("_blocks.10", 14), "late layers": ("_conv_head", 7)}
_SIDE, _BATCH = 224, 8
_MEAN, _SD = 127 / 255, 128 / 255


def network_drives(
    pictures: Iterable[np.ndarray], drive: Literal["middle layers", "late layers"]
) -> np.ndarray:
    """Return random sums of a layer's outputs, on a 17 x 17 grid over each picture.

    Parameters
    ----------
    pictures : iterable of ndarray, shape (side, side, 3), uint8
    drive : str

    Returns
    -------
    ndarray, shape (n, 16, 289), float32
    """
    import torch  # late, because it takes seconds and only some worlds need it
    from torch.nn.functional import interpolate

    network = load_network("effnet_lite0", None)
    drives = []
    remaining = iter(pictures)
    while batch := list(islice(remaining, _BATCH)):
        images = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / 255
        images = interpolate(images, (_SIDE, _SIDE), mode="bilinear", antialias=True)
        layer, side = _LAYERS[drive]
        outputs = torch.from_numpy(network.read_out((images - _MEAN) / _SD, layer))
        outputs = outputs.reshape(len(batch), -1, side, side)
        maps = interpolate(outputs, (GRID_SIDE, GRID_SIDE), mode="bilinear").flatten(2).numpy()
        drives.append(np.einsum("ncp,cd->ndp", maps, _sums(maps.shape[1])))
    return np.concatenate(drives).astype(np.float32)


def _sums(n_channels: int) -> np.ndarray:
    """Return the weights of the random sums, shape (n_channels, 16)."""
    weights: np.ndarray = np.random.default_rng(n_channels).standard_normal((n_channels, N_DEEP))
    return weights / np.sqrt(n_channels)

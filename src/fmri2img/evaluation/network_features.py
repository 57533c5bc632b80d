"""Features of pictures in pretrained networks.

Networks, layers and inputs are those of MindEye1/2 (src/Reconstruction_Metrics.py,
src/final_evaluations.ipynb) and of Brain-Diffuser (scripts/eval_extract_features.py);
EfficientNet-Lite0 is this project's own, and no published number is comparable with it.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fmri2img.evaluation.correlation import unit_rows
from fmri2img.evaluation.presets import Preset, resize_file, resize_tensor
from fmri2img.exceptions import UnavailableError
from fmri2img.pretrained.scoring_networks import FrozenNetwork, load_network

logger = logging.getLogger(__name__)


IMAGENET_SCALE = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


CLIP_SCALE = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


LITE_SCALE = ((127 / 255,) * 3, (128 / 255,) * 3)


_BATCH = 8  # a larger one leaves the processor's cache and is slower


@dataclass(frozen=True)
class ReadOut:
    """A layer of a network, and what the network is given.

    Attributes
    ----------
    network : dict of str to str
        Preset to key of `pretrained.scoring_networks.WEIGHTS`.
    layer : str
    side : dict of str to int
        Preset to pixels of the network's square input.
    scale : (tuple, tuple)
        Mean and SD of each channel by which input of 0 to 1 is normalised.
    title : str
        How tables call the layer.
    """

    network: dict[str, str]
    layer: str
    side: dict[str, int]
    scale: tuple[tuple[float, ...], tuple[float, ...]]
    title: str


def _published(
    network: str,
    layer: str,
    mindeye_side: int,
    title: str,
    *,
    scale: tuple = IMAGENET_SCALE,
    other: str | None = None,
) -> ReadOut:
    networks = {"mindeye": network, "brain_diffuser": other or network}
    sides = {"mindeye": mindeye_side, "brain_diffuser": 224}
    return ReadOut(networks, layer, sides, scale, title)


# "2" and "5" of AlexNet count convolutions: outputs of the ReLU after the second and the fifth.
READ_OUTS = {
    "alexnet_2": _published("alexnet", "features.4", 256, "AlexNet(2)"),
    "alexnet_5": _published("alexnet", "features.11", 256, "AlexNet(5)"),
    "inception": _published("inception", "avgpool", 342, "Inception"),
    "clip": _published("clip", "visual_projection", 224, "CLIP", scale=CLIP_SCALE),
    "effnet_b": _published("effnet_b1_v2", "avgpool", 255, "EffNet-B", other="effnet_b1_v1"),
    "swav": _published("swav", "avgpool", 224, "SwAV"),
    "effnet_lite0": ReadOut(
        {"mindeye": "effnet_lite0"},
        "_avg_pooling",
        {"mindeye": 224},
        LITE_SCALE,
        "EfficientNet-Lite0",
    ),
}
NETWORK_NAMES = ("effnet_lite0", "alexnet", "inception", "clip", "effnet_b", "swav")


def read_outs_of(networks: Sequence[str]) -> list[str]:
    """Return the names of all read-outs of some networks, in the order of `READ_OUTS`."""
    return [
        name
        for name in READ_OUTS
        if any(name == network or name.startswith(f"{network}_") for network in networks)
    ]


@dataclass(frozen=True)
class Networks:
    """Networks that were asked for and are here.

    Attributes
    ----------
    loaded : dict of str to FrozenNetwork
        By key of `pretrained.scoring_networks.WEIGHTS`.
    read_outs : tuple of str
        Names of the read-outs that were asked for.
    """

    loaded: dict[str, FrozenNetwork]
    read_outs: tuple[str, ...]

    def of(self, read_out: str, preset: str) -> FrozenNetwork | None:
        """Return the network of a read-out, if it is here and the preset has one."""
        return self.loaded.get(READ_OUTS[read_out].network.get(preset, ""))

    @property
    def weights(self) -> dict[str, str]:
        """Weight file to SHA-256."""
        return {
            network.identity["file"]: network.identity["sha256"] for network in self.loaded.values()
        }


NO_NETWORKS = Networks({}, ())


def open_networks(names: Sequence[str], folder: Path | None) -> Networks:
    """Load the networks that can be had; one that cannot costs a warning, and its metrics are
    absent.

    Parameters
    ----------
    names : sequence of str
        Names of networks, among `NETWORK_NAMES`.
    folder : Path or None
        Folder that holds the weights; None: they come from their makers' hubs.

    Raises
    ------
    FormatError
        If a file of weights is not the one that was published.
    """
    loaded: dict[str, FrozenNetwork] = {}
    wanted = read_outs_of(names)
    for key in dict.fromkeys(key for name in wanted for key in READ_OUTS[name].network.values()):
        try:
            loaded[key] = load_network(key, folder)
        except UnavailableError as error:
            logger.warning("without the metrics in %s: %s", key, error)
    return Networks(loaded, tuple(wanted))


def prepare(images: np.ndarray, read_out: ReadOut, preset: Preset) -> torch.Tensor:
    """Bring pictures to a network's input.

    Square resizing without a crop. ``mindeye``: tensors, first to the common 256 x 256, bilinear
    without antialiasing. ``brain_diffuser``: files, by Pillow's bilinear filter, which antialiases.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, 3), uint8
    read_out : ReadOut
    preset : Preset

    Returns
    -------
    Tensor, shape (n, 3, side, side), float32
    """
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
    truth: np.ndarray, network: FrozenNetwork, read_out: ReadOut, preset: Preset
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
    images: np.ndarray, network: FrozenNetwork, read_out: ReadOut, preset: Preset
) -> Iterator[np.ndarray]:
    """Yield the features of a few pictures at a time, shape (some, d)."""
    for start in range(0, len(images), _BATCH):
        yield network.read_out(
            prepare(images[start : start + _BATCH], read_out, preset), read_out.layer
        )

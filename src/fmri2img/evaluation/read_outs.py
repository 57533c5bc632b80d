"""Which layers of which pretrained networks are compared, and the networks' inputs.

Networks, layers and inputs are those of MindEye1/2 (src/Reconstruction_Metrics.py,
src/final_evaluations.ipynb) and of Brain-Diffuser (scripts/eval_extract_features.py);
EfficientNet-Lite0 is this project's own, and no published number is comparable with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:  # tables name networks without loading torch
    import torch

IMAGENET_SCALE = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP_SCALE = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
LITE_SCALE = ((127 / 255,) * 3, (128 / 255,) * 3)


@dataclass(frozen=True)
class ReadOut:
    """A layer of a network, and the network's input.

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
        Name of the layer in tables.
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


class Network(Protocol):
    """A pretrained network as metrics use it; `pretrained.scoring_networks` loads them."""

    @property
    def identity(self) -> dict[str, str]:
        """Name and SHA-256 of its file of weights."""

    def read_out(self, images: "torch.Tensor", layer: str) -> np.ndarray:
        """Return the output of a layer, shape (n, d), for input of shape (n, 3, side, side)."""


@dataclass(frozen=True)
class Networks:
    """Networks that were asked for and are available.

    Attributes
    ----------
    loaded : mapping of str to Network
        Network by key of `pretrained.scoring_networks.WEIGHTS`.
    read_outs : tuple of str
        Names of the read-outs that were asked for.
    """

    loaded: Mapping[str, Network]
    read_outs: tuple[str, ...]

    def of(self, read_out: str, preset: str) -> Network | None:
        """Return the network of a read-out; None if it is not loaded or the preset has none."""
        return self.loaded.get(READ_OUTS[read_out].network.get(preset, ""))

    @property
    def weights(self) -> dict[str, str]:
        """Weight file to SHA-256."""
        return {
            network.identity["file"]: network.identity["sha256"] for network in self.loaded.values()
        }


NO_NETWORKS = Networks({}, ())

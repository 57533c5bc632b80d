"""Scores of pictures in the features of pretrained networks: two-way identification and correlation
distance.

Networks, layers and inputs are those of MindEye1/2 (src/Reconstruction_Metrics.py,
src/final_evaluations.ipynb) and of Brain-Diffuser (scripts/eval_extract_features.py);
EfficientNet-Lite0 is this project's own, and no published number is comparable with it.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fmri2img.evaluation.identification import (
    similarity_of_units,
    two_way_identification,
    two_way_table,
)
from fmri2img.evaluation.picture_scores import Preset, resize_file, resize_tensor, unit_rows
from fmri2img.exceptions import UnavailableError
from fmri2img.pretrained.scoring_networks import FrozenNetwork, load_network

logger = logging.getLogger(__name__)
IMAGENET_SCALE = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP_SCALE = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
LITE_SCALE = ((127 / 255,) * 3, (128 / 255,) * 3)
_BATCH = 8  # a larger one leaves the processor's cache and is slower


@dataclass(frozen=True)
class ReadOut:
    """A layer of a network, what the network is given, and how features are compared.

    Attributes
    ----------
    network : dict of str to str
        Preset to key of `pretrained.scoring_networks.WEIGHTS`.
    layer : str
    side : dict of str to int
        Preset to pixels of the network's square input.
    scale : (tuple, tuple)
        Mean and SD of each channel by which input of 0 to 1 is normalised.
    metrics : tuple of str
        ``two_way``: share of other images that are less similar; ``distance``: 1 - Pearson's
        correlation, lower is better.
    """

    network: dict[str, str]
    layer: str
    side: dict[str, int]
    scale: tuple[tuple[float, ...], tuple[float, ...]]
    metrics: tuple[str, ...]


def _published(
    network: str,
    layer: str,
    mindeye_side: int,
    metric: str,
    *,
    scale: tuple = IMAGENET_SCALE,
    other: str | None = None,
) -> ReadOut:
    networks = {"mindeye": network, "brain_diffuser": other or network}
    return ReadOut(
        networks, layer, {"mindeye": mindeye_side, "brain_diffuser": 224}, scale, (metric,)
    )


# "2" and "5" of AlexNet count convolutions: outputs of the ReLU after the second and the fifth.
READ_OUTS = {
    "alexnet_2": _published("alexnet", "features.4", 256, "two_way"),
    "alexnet_5": _published("alexnet", "features.11", 256, "two_way"),
    "inception": _published("inception", "avgpool", 342, "two_way"),
    "clip": _published("clip", "visual_projection", 224, "two_way", scale=CLIP_SCALE),
    "effnet_b": _published("effnet_b1_v2", "avgpool", 255, "distance", other="effnet_b1_v1"),
    "swav": _published("swav", "avgpool", 224, "distance"),
    "effnet_lite0": ReadOut(
        {"mindeye": "effnet_lite0"},
        "_avg_pooling",
        {"mindeye": 224},
        LITE_SCALE,
        ("two_way", "distance"),
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


def metric_names(read_out: str) -> dict[str, str]:
    """Return what each way to compare (``two_way``, ``distance``) is called, such as
    ``two_way_clip`` and ``swav_distance``.
    """
    names = {"two_way": f"two_way_{read_out}", "distance": f"{read_out}_distance"}
    return {kind: names[kind] for kind in READ_OUTS[read_out].metrics}


# Every metric in a network to the read-out it needs; of the headline preset.
NETWORK_METRICS = {metric: name for name in READ_OUTS for metric in metric_names(name).values()}


@dataclass(frozen=True)
class Networks:
    """Networks that were asked for and are here, and why others are not.

    Attributes
    ----------
    loaded : dict of str to FrozenNetwork
        By key of `pretrained.scoring_networks.WEIGHTS`.
    read_outs : tuple of str
        Names of the read-outs that were asked for.
    absent : dict of str to str
        Metric to the reason why it is not there.
    """

    loaded: dict[str, FrozenNetwork]
    read_outs: tuple[str, ...]
    absent: dict[str, str]

    def of(self, read_out: str, preset: str) -> FrozenNetwork | None:
        """Return the network of a read-out, if it is here and the preset has one."""
        return self.loaded.get(READ_OUTS[read_out].network.get(preset, ""))

    @property
    def weights(self) -> dict[str, str]:
        """Weight file to SHA-256."""
        return {
            network.identity["file"]: network.identity["sha256"] for network in self.loaded.values()
        }


NO_NETWORKS = Networks({}, (), {})


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
    absent = {
        _prefix(preset) + metric: "asked for, but package or weights were not there"
        if name in wanted
        else "not asked for"
        for metric, name in NETWORK_METRICS.items()
        for preset, key in READ_OUTS[name].network.items()
        if name not in wanted or key not in loaded
    }
    return Networks(loaded, tuple(wanted), absent)


def _prefix(preset: str) -> str:
    return "" if preset == "mindeye" else f"{preset}_"


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


@dataclass(frozen=True)
class FeatureScores:
    """What a network says of one row of predictions.

    Attributes
    ----------
    per_image : dict of str to ndarray, shape (n,)
        Metric to scores.
    tables : dict of str to ndarray, shape (n, n)
        Metric to the score, higher is better, that each prediction (columns) would have were each
        image (rows) the right one.
    """

    per_image: dict[str, np.ndarray]
    tables: dict[str, np.ndarray]


def score_in_networks(
    truth: np.ndarray,
    rows: Mapping[str, np.ndarray],
    networks: Networks,
    preset: Preset,
    *,
    shuffles: Mapping[str, tuple[str, np.ndarray]],
    tables_of: Sequence[str] = (),
) -> dict[str, FeatureScores]:
    """Score several predictions of the same pictures in every network that is here.

    Features of the truth are computed once and held in memory (1000 images x 184 512 numbers: 0.74
    GB), those of predictions in batches, so that little more is ever needed.

    Parameters
    ----------
    truth : ndarray, shape (n, height, width, 3), uint8
    rows : mapping of str to ndarray, shape (n, height, width, 3) or (1, height, width, 3), uint8
        A single picture stands for a prediction that is the same for all images.
    networks : Networks
    preset : Preset
    shuffles : mapping of str to (str, ndarray)
        Further rows that are another one in another order: its name, and the order, shape (n,).
    tables_of : sequence of str
        Rows whose scores of every pairing are kept.

    Returns
    -------
    dict of str to FeatureScores
    """
    scores = {row: FeatureScores({}, {}) for row in (*rows, *shuffles)}
    for name in networks.read_outs:
        read_out, network = READ_OUTS[name], networks.of(name, preset.name)
        if network is None:
            continue
        units = _unit_features(truth, network, read_out, preset)
        similarities = {}
        for row, pictures in rows.items():
            blocks = (unit_rows(block) for block in _features(pictures, network, read_out, preset))
            similarities[row] = similarity_of_units(units, blocks)  # (n, n) or (n, 1)
        similarities |= {row: similarities[of][:, order] for row, (of, order) in shuffles.items()}
        for row, similarity in similarities.items():
            whole = (
                similarity
                if similarity.shape[1] == len(truth)
                else np.repeat(similarity, len(truth), axis=1)
            )
            _add(
                scores[row], name, whole, prefix=_prefix(preset.name), with_tables=row in tables_of
            )
    return scores


def _add(
    scores: FeatureScores, name: str, similarity: np.ndarray, *, prefix: str, with_tables: bool
) -> None:
    for kind, metric in metric_names(name).items():
        if kind == "two_way":
            scores.per_image[prefix + metric] = two_way_identification(similarity)
            scores.per_image[f"{prefix}{metric}_ground_truth"] = two_way_identification(
                similarity, "ground_truth"
            )
        else:
            scores.per_image[prefix + metric] = 1 - np.diag(similarity)
        if with_tables:
            scores.tables[prefix + metric] = (
                two_way_table(similarity) if kind == "two_way" else similarity
            )


def _unit_features(
    truth: np.ndarray, network: FrozenNetwork, read_out: ReadOut, preset: Preset
) -> np.ndarray:
    units: np.ndarray | None = None
    start = 0
    for block in _features(truth, network, read_out, preset):
        if units is None:
            units = np.empty((len(truth), block.shape[1]), dtype=np.float32)
        units[start : start + len(block)] = unit_rows(block)
        start += len(block)
    if units is None:
        raise ValueError("expected at least one picture, got none")
    return units


def _features(
    images: np.ndarray, network: FrozenNetwork, read_out: ReadOut, preset: Preset
) -> Iterator[np.ndarray]:
    for start in range(0, len(images), _BATCH):
        yield network.read_out(
            prepare(images[start : start + _BATCH], read_out, preset), read_out.layer
        )

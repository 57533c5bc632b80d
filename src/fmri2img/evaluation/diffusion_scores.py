"""Scores for encoders that steer Stable Diffusion: of z and c themselves, and of several pictures
per image.

Identification over several pictures follows Takagi & Nishimoto
(github.com/yu-takagi/StableDiffusionReconstruction, codes/utils/identification.py,
img2feat_decoded.py): the image is fixed, the correlations of an image's pictures are averaged,
the layers differ from those of later tables, and the networks get all pictures at 299 x 299 (CLIP:
224 x 224). Their numbers and those of later tables are therefore not comparable. ``effnet_lite0``,
at 224 x 224, is this project's own choice and comes with the installation.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.splits import Split
from fmri2img.containers.storage import StoredArray
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.evaluation.correlation import unit_rows
from fmri2img.evaluation.identification import (
    similarity_matrix,
    similarity_of_units,
    two_way_identification,
    two_way_table,
)
from fmri2img.evaluation.inference import bootstrap_intervals, permutation_p
from fmri2img.evaluation.metrics.latent_metrics import (
    DIMENSION,
    PATTERN,
    TWO_WAY,
    dimension_correlations,
    pattern_correlations,
)
from fmri2img.evaluation.predictions import derangement
from fmri2img.evaluation.read_outs import CLIP_SCALE, IMAGENET_SCALE, LITE_SCALE, Networks

_IMAGES_AT_ONCE = 4


@dataclass(frozen=True)
class _Layer:
    network: str
    layer: str
    side: int
    filter: Image.Resampling
    scale: tuple[tuple[float, ...], tuple[float, ...]]


_BILINEAR, _BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
# Hidden state n of a transformer is the output of its n-th layer; state 0 is the input.
_LAYERS = {
    "alexnet_pool2": _Layer("alexnet", "features.5", 299, _BILINEAR, IMAGENET_SCALE),
    "alexnet_pool5": _Layer("alexnet", "features.12", 299, _BILINEAR, IMAGENET_SCALE),
    "alexnet_fc7": _Layer("alexnet", "classifier.5", 299, _BILINEAR, IMAGENET_SCALE),
    "inception": _Layer("inception", "avgpool", 299, _BILINEAR, IMAGENET_SCALE),
    "clip": _Layer("clip", "visual_projection", 224, _BICUBIC, CLIP_SCALE),
    "clip_hidden6": _Layer("clip", "vision_model.encoder.layers.5", 224, _BICUBIC, CLIP_SCALE),
    "clip_hidden12": _Layer("clip", "vision_model.encoder.layers.11", 224, _BICUBIC, CLIP_SCALE),
    "effnet_lite0": _Layer("effnet_lite0", "_avg_pooling", 224, _BILINEAR, LITE_SCALE),
}


def identify_by_samples(
    truth: np.ndarray,
    samples: np.ndarray | StoredArray,
    networks: Networks,
    *,
    n_bootstrap: int,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Return two-way identification of images by the mean correlation of their pictures, in each
    available layer.

    Parameters
    ----------
    truth : ndarray, shape (n, height, width, 3), uint8
    samples : array, shape (n, n_samples, height, width, 3), uint8
        Read a few images at a time.
    networks : Networks
    n_bootstrap, seed : int

    Returns
    -------
    dict of str to dict of str to float
        Layer to ``score`` (chance 0.5), ``low`` and ``high`` (its 95 % interval over images), and
        the floor ``shuffled``.
    """
    by_layer = {}
    order = derangement(len(truth), np.random.default_rng(seed))
    for name, layer in _LAYERS.items():
        network = networks.loaded.get(layer.network)
        if network is None:
            continue
        units = np.concatenate(
            [
                unit_rows(network.read_out(_prepare(block, layer), layer.layer))
                for block in _blocks(truth)
            ]
        )
        columns = []
        for block in _blocks(samples):
            pictures = block.reshape(-1, *block.shape[2:])
            features = unit_rows(network.read_out(_prepare(pictures, layer), layer.layer))
            similarity = similarity_of_units(units, [features])  # (n, some images * n_samples)
            columns.append(similarity.reshape(len(units), len(block), -1).mean(axis=2))
        similarity = np.concatenate(columns, axis=1)
        scores = two_way_identification(similarity, "ground_truth")
        ((low, high),) = bootstrap_intervals(scores[None], n_bootstrap, np.random.default_rng(seed))
        shuffled = two_way_identification(similarity[:, order], "ground_truth")
        by_layer[name] = {
            "score": float(scores.mean()),
            "low": float(low),
            "high": float(high),
            "shuffled": float(shuffled.mean()),
        }
    return by_layer


def _blocks(pictures: np.ndarray | StoredArray) -> Iterator[np.ndarray]:
    for start in range(0, len(pictures), _IMAGES_AT_ONCE):
        yield pictures[start : start + _IMAGES_AT_ONCE]


def _prepare(pictures: Iterable[np.ndarray], layer: _Layer) -> torch.Tensor:
    """Resize square pictures with Pillow, as the authors do, and normalise them: (n, 3, side,
    side), float32.
    """
    resized = [
        np.asarray(Image.fromarray(picture).resize((layer.side, layer.side), layer.filter))
        for picture in pictures
    ]
    mean, deviation = (np.asarray(values, dtype=np.float32) for values in layer.scale)
    return torch.from_numpy(
        (np.stack(resized).astype(np.float32) / 255 - mean) / deviation
    ).permute(0, 3, 1, 2)


def score_halves(
    reconstructions: Reconstructions,
    targets: DiffusionTargets,
    split: Split,
    *,
    n_bootstrap: int,
    n_permutations: int,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Score decoded z and c of test images, each in its own space.

    Returns
    -------
    dict of str to dict of str to float
        ``z`` and ``c`` to ``two_way`` (prediction fixed, chance 0.5) and ``pattern_correlation``
        (0 without information), centred on the mean of training images, each with the ends of its
        95 % interval over images (``_low``, ``_high``), the floor ``_shuffled`` and permutation
        ``_p``; also ``dimension_correlation``, the mean over numbers that vary (printed by the
        authors' code), and its floor.
    """
    test = reconstructions.image_ids[reconstructions.rows("test")]
    rows = targets.rows_of(test)
    train = targets.rows_of(split.ids("train"))
    order = derangement(len(test), np.random.default_rng(seed))
    scores = {}
    for half, known, decoded in (
        ("z", targets.z_latents, reconstructions.z_latents),
        ("c", targets.text_embeddings, reconstructions.text_embeddings),
    ):
        assert decoded is not None  # noqa: S101  (only such encoders come here)
        mean = known[train].mean(axis=0, dtype=np.float64).astype(np.float32).reshape(-1)
        truth, predicted = (
            values.reshape(len(test), -1).astype(np.float32) for values in (known[rows], decoded)
        )
        varies = truth.std(axis=0) > 0  # the first token of every text is the same
        scores[half] = _score_half(
            truth[:, varies],
            predicted[:, varies],
            mean[varies],
            order,
            n_bootstrap=n_bootstrap,
            n_permutations=n_permutations,
            rng=np.random.default_rng(seed),
        )
    return scores


def _score_half(
    truth: np.ndarray,
    predicted: np.ndarray,
    mean: np.ndarray,
    order: np.ndarray,
    *,
    n_bootstrap: int,
    n_permutations: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    similarity = similarity_matrix(truth - mean, predicted - mean)
    per_image = {
        TWO_WAY.name: two_way_identification(similarity),
        PATTERN.name: pattern_correlations(truth, predicted, mean),
    }
    ends = bootstrap_intervals(np.stack(list(per_image.values())), n_bootstrap, rng)
    tables = {TWO_WAY.name: two_way_table(similarity), PATTERN.name: similarity}
    p_values = permutation_p(tables, n_permutations, rng)
    floors = {
        TWO_WAY.name: two_way_identification(similarity[:, order]),
        PATTERN.name: pattern_correlations(truth, predicted[order], mean),
    }
    shuffled = dimension_correlations(truth, predicted[order])
    scores = {
        DIMENSION.name: float(dimension_correlations(truth, predicted).mean()),
        f"{DIMENSION.name}_shuffled": float(shuffled.mean()),
    }
    for (metric, values), (low, high) in zip(per_image.items(), ends, strict=True):
        scores |= {
            metric: float(values.mean()),
            f"{metric}_low": float(low),
            f"{metric}_high": float(high),
            f"{metric}_shuffled": float(floors[metric].mean()),
            f"{metric}_p": p_values[metric],
        }
    return scores

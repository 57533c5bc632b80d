"""Scores of pictures in the features of pretrained networks: two-way identification and correlation
distance. Networks and layers are in `evaluation.network_features`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from fmri2img.evaluation.correlation import unit_rows
from fmri2img.evaluation.identification import (
    similarity_of_units,
    two_way_identification,
    two_way_table,
)
from fmri2img.evaluation.metrics.declaration import Family, FamilyScores, Level, Metric
from fmri2img.evaluation.network_features import features_of, unit_features
from fmri2img.evaluation.predictions import Predictions, ShownPictures, picture_key
from fmri2img.evaluation.presets import HEADLINE, PRESETS, Preset
from fmri2img.evaluation.read_outs import READ_OUTS, Networks
from fmri2img.evaluation.table_rows import SHUFFLED


def _identification(read_out: str) -> Metric:
    """Declare the share of other images that are less similar; the prediction is fixed."""
    return Metric(
        name=f"two_way_{read_out}",
        title=READ_OUTS[read_out].title,
        unit="share of other images",
        chance=0.5,
        space="networks",
        level="more",
        published=True,
        network=read_out,
    )


def _distance(read_out: str) -> Metric:
    """Declare 1 - Pearson's correlation of the features."""
    return Metric(
        name=f"{read_out}_distance",
        title=READ_OUTS[read_out].title,
        unit="1 - correlation",
        chance=SHUFFLED,
        space="networks",
        higher_is_better=False,
        level="more",
        published=True,
        network=read_out,
    )


def _of_this_project(metric: Metric, title: str, short: str, level: Level) -> Metric:
    """Return a metric of a network that no published table uses."""
    return replace(metric, title=title, short=short, level=level, published=False)


_LITE = READ_OUTS["effnet_lite0"].title
_PLAIN = (
    *(_identification(name) for name in ("alexnet_2", "alexnet_5", "inception", "clip")),
    *(_distance(name) for name in ("effnet_b", "swav")),
    _of_this_project(
        _identification("effnet_lite0"), f"{_LITE} 2-way", "EffNet-L0 2-way", "headline"
    ),
    _of_this_project(_distance("effnet_lite0"), f"{_LITE} distance", "EffNet-L0", "more"),
)


def _by_presets(metric: Metric) -> list[Metric]:
    """Return a metric by every preset for which its network has an input."""
    presets = [PRESETS[name] for name in READ_OUTS[metric.network].network]
    return [
        metric
        if preset.name == HEADLINE
        else metric.variant(f"{preset.prefix}{metric.name}", f"{metric.title}, {preset.title}")
        for preset in presets
    ]


def _fixed_truth(metric: Metric) -> list[Metric]:
    """Return identification with the image fixed instead of the prediction."""
    if not metric.higher_is_better:
        return []
    return [metric.variant(f"{metric.name}_ground_truth", f"{metric.title}, fixed truth")]


_BY_PRESETS = [item for metric in _PLAIN for item in _by_presets(metric)]


def absent_metrics(networks: Networks) -> dict[str, str]:
    """Return every metric that is not computed, and the reason why.

    Parameters
    ----------
    networks : Networks
    """
    absent = {}
    for metric in _PLAIN:
        is_wanted = metric.network in networks.read_outs
        for preset, key in READ_OUTS[metric.network].network.items():
            if not is_wanted or key not in networks.loaded:
                absent[PRESETS[preset].prefix + metric.name] = (
                    "asked for, but package or weights were missing"
                    if is_wanted
                    else "not asked for"
                )
    return absent


def score_in_networks(
    truth: ShownPictures, predictions: Predictions, networks: Networks, preset: Preset
) -> FamilyScores:
    """Score predictions in every available network.

    Features of the truth are computed once and held in memory (1000 images x 184 512 numbers: 0.74
    GB). Features of predictions come in batches, which need little more.

    Parameters
    ----------
    truth : ShownPictures
    predictions : Predictions
    networks : Networks
    preset : Preset
    """
    scores = FamilyScores.of({row: {} for row in predictions.pictures})
    scores.tables.update({row: {} for row in predictions.tested})
    for name in networks.read_outs:
        read_out, network = READ_OUTS[name], networks.of(name, preset.name)
        if network is None:
            continue
        similarities = _similarities(
            unit_features(truth.pictures, network, read_out, preset),
            predictions.unshuffled,
            partial(features_of, network=network, read_out=read_out, preset=preset),
        )
        similarities |= {
            row: similarities[other][:, order]
            for row, (other, order) in predictions.shuffles.items()
        }
        for row, similarity in similarities.items():
            _add(scores, row, name, _every_pair(similarity), preset.prefix)
    return scores


def _similarities(
    units: np.ndarray,
    rows: Mapping[str, np.ndarray],
    read: Callable[[np.ndarray], Iterator[np.ndarray]],
) -> dict[str, np.ndarray]:
    """Return the similarity of every image (rows) and every prediction (columns) of each row of a
    table, shape (n, n) or (n, 1); each distinct picture is read once.

    Parameters
    ----------
    units : ndarray, shape (n, d)
        Features of the images, centred and of length 1.
    rows : mapping of str to ndarray, shape (n or 1, side, side, 3), uint8
    read : callable
        Yields the features of pictures in blocks, shape (some, d).
    """
    columns: dict[bytes, np.ndarray] = {}
    similarities = {}
    for row, pictures in rows.items():
        keys = [picture_key(picture) for picture in pictures]
        new = {key: index for index, key in enumerate(keys) if key not in columns}
        if new:
            blocks = (unit_rows(block) for block in read(pictures[list(new.values())]))
            columns |= dict(zip(new, similarity_of_units(units, blocks).T, strict=True))
        similarities[row] = np.stack([columns[key] for key in keys], axis=1)
    return similarities


def _every_pair(similarity: np.ndarray) -> np.ndarray:
    """Repeat the single column of a prediction that all images share; shape (n, n)."""
    is_whole = similarity.shape[1] == len(similarity)
    return similarity if is_whole else np.repeat(similarity, len(similarity), axis=1)


def _add(
    scores: FamilyScores, row: str, read_out: str, similarity: np.ndarray, prefix: str
) -> None:
    for metric in _PLAIN:
        if metric.network != read_out:
            continue
        name, values = prefix + metric.name, scores.per_image[row]
        if metric.higher_is_better:
            values[name] = two_way_identification(similarity)
            values[f"{name}_ground_truth"] = two_way_identification(similarity, "ground_truth")
        else:
            values[name] = 1 - np.diag(similarity)
        if row in scores.tables:
            scores.tables[row][name] = (
                two_way_table(similarity) if metric.higher_is_better else similarity
            )


FAMILY = Family(
    metrics=(
        *_PLAIN,
        *(metric for metric in _BY_PRESETS if metric not in _PLAIN),
        *(item for metric in _BY_PRESETS for item in _fixed_truth(metric)),
    ),
    score=score_in_networks,
    depends_on_preset=True,
    place=1,
)

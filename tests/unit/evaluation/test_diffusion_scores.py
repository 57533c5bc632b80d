from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch

from fmri2img.containers.splits import Split
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.evaluation.diffusion_scores import _LAYERS, identify_by_samples, score_halves
from fmri2img.evaluation.network_features import open_networks
from fmri2img.evaluation.read_outs import Networks
from fmri2img.pretrained.scoring_networks import FrozenNetwork, build_network

N_TEST, N_TRAIN = 12, 30
HOW = {"n_bootstrap": 100, "seed": 3}


class MeanColours(torch.nn.Module):
    """Stands for a network: its one layer gives the mean of each of 4 x 4 parts of the picture."""

    def __init__(self):
        super().__init__()
        self._avg_pooling = torch.nn.AdaptiveAvgPool2d(4)
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, pictures):
        return self._avg_pooling(pictures)


@pytest.fixture
def networks():
    return Networks({"effnet_lite0": FrozenNetwork(MeanColours().eval())}, ("effnet_lite0",))


def mean_colours(pictures):
    """What the network sees of pictures of 224 x 224, by another way."""
    parts = pictures.reshape(len(pictures), 4, 56, 4, 56, 3).mean((2, 4)) / 255
    return ((parts - 127 / 255) / (128 / 255)).transpose(0, 3, 1, 2).reshape(len(pictures), -1)


def test_identification_is_that_of_the_authors_double_loop(networks, rng):
    truth = rng.integers(0, 256, (N_TEST, 4, 4, 3)).astype(np.uint8).repeat(56, 1).repeat(56, 2)
    noise = rng.normal(0, 400, (N_TEST, 3, 4, 4, 3)).repeat(56, 2).repeat(56, 3)
    samples = np.clip(truth[:, None] + noise, 0, 255).astype(np.uint8)
    found = identify_by_samples(truth, samples, networks, **HOW)["effnet_lite0"]
    seen, made = mean_colours(truth), [mean_colours(samples[:, number]) for number in range(3)]
    similarity = np.array(
        [
            [np.mean([np.corrcoef(seen[i], one[k])[0, 1] for one in made]) for k in range(N_TEST)]
            for i in range(N_TEST)
        ]
    )
    shares = [
        np.mean([similarity[i, i] > similarity[i, k] for k in range(N_TEST) if k != i])
        for i in range(N_TEST)
    ]
    assert found["score"] == pytest.approx(np.mean(shares))
    assert 0.6 < found["score"] < 1
    assert found["low"] < found["score"] < found["high"]
    assert abs(found["shuffled"] - 0.5) < 0.2


def test_the_truth_identifies_itself_and_networks_that_are_not_here_are_left_out(rng):
    pictures = rng.integers(0, 256, (5, 64, 64, 3)).astype(np.uint8)
    found = identify_by_samples(
        pictures, pictures[:, None], open_networks(["effnet_lite0"], None), **HOW
    )
    assert set(found) == {"effnet_lite0"}
    assert found["effnet_lite0"]["score"] == 1


@dataclass(frozen=True)
class Decoded:
    """The part of reconstructions that is scored."""

    image_ids: np.ndarray
    z_latents: np.ndarray
    text_embeddings: np.ndarray

    def rows(self, split):  # noqa: ARG002 (as containers have it)
        return np.arange(len(self.image_ids))


@pytest.fixture
def halves(rng):
    ids = np.arange(100, 100 + N_TEST + N_TRAIN)
    z_latents = rng.normal(1, 1, (len(ids), 4, 20, 20)).astype(np.float16)
    text_embeddings = rng.normal(0, 1, (len(ids), 77, 96)).astype(np.float16)
    text_embeddings[:, 0] = 7  # the first token of every text
    targets = DiffusionTargets(ids, z_latents, text_embeddings, np.zeros((77, 96), np.float16), {})
    test = ids[N_TRAIN:]
    noise = [rng.normal(0, 3, values[N_TRAIN:].shape) for values in (z_latents, text_embeddings)]
    decoded = Decoded(
        test,
        *(
            (values[N_TRAIN:] + one).astype(np.float16)
            for values, one in zip((z_latents, text_embeddings), noise, strict=True)
        ),
    )
    return (
        targets,
        decoded,
        Split("shared", tuple(ids[: N_TRAIN - 5]), tuple(ids[N_TRAIN - 5 : N_TRAIN]), tuple(test)),
    )


def test_each_half_is_scored_beside_its_floor(halves):
    targets, decoded, split = halves
    found = score_halves(decoded, targets, split, **HOW, n_permutations=99)
    for half, truth, made in (
        ("z", targets.z_latents, decoded.z_latents),
        ("c", targets.text_embeddings, decoded.text_embeddings),
    ):
        scores = found[half]
        assert scores["two_way"] == 1
        assert scores["two_way_p"] == 0.01
        # Of training images, not of validation or test.
        centre = truth[: N_TRAIN - 5].astype(np.float64).mean(0)
        seen, decoded_too = (
            (values.astype(np.float64) - centre).reshape(N_TEST, -1)
            for values in (truth[N_TRAIN:], made)
        )
        varies = truth[N_TRAIN:].reshape(N_TEST, -1).astype(np.float64).std(0) > 0
        expected = np.mean(
            [
                np.corrcoef(a[varies], b[varies])[0, 1]
                for a, b in zip(seen, decoded_too, strict=True)
            ]
        )
        assert scores["pattern_correlation"] == pytest.approx(expected, abs=1e-3)
        assert abs(scores["pattern_correlation_shuffled"]) < 0.05 < scores["pattern_correlation"]
        assert (
            abs(scores["dimension_correlation_shuffled"]) < 0.05 < scores["dimension_correlation"]
        )


def test_noise_finds_nothing(halves, rng):
    targets, decoded, split = halves
    noise = Decoded(
        decoded.image_ids,
        *(
            rng.normal(size=values.shape).astype(np.float16)
            for values in (decoded.z_latents, decoded.text_embeddings)
        ),
    )
    found = score_halves(noise, targets, split, **HOW, n_permutations=99)
    # What the mean of few training images has of their noise is on both sides.
    assert all(abs(found[half]["pattern_correlation"]) < 0.06 for half in "zc")
    assert all(found[half]["two_way_p"] > 0.02 for half in "zc")


def test_training_and_test_order_of_ids_do_not_matter(halves):
    targets, decoded, split = halves
    order = np.random.default_rng(1).permutation(N_TEST)
    turned = Decoded(
        decoded.image_ids[order], decoded.z_latents[order], decoded.text_embeddings[order]
    )
    ours, theirs = (
        score_halves(one, targets, split, **HOW, n_permutations=99) for one in (decoded, turned)
    )
    assert ours["z"]["pattern_correlation"] == pytest.approx(
        theirs["z"]["pattern_correlation"], abs=1e-6
    )


@cache
def network_of(name):
    """Built once for all its layers: CLIP's takes ten seconds."""
    return FrozenNetwork(build_network(name))


@pytest.mark.networks
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("alexnet_pool2", 192 * 17 * 17),
        ("alexnet_pool5", 256 * 8 * 8),
        ("alexnet_fc7", 4096),
        ("inception", 2048),
        ("clip", 768),
        ("clip_hidden6", 257 * 1024),
        ("clip_hidden12", 257 * 1024),
    ],
)
def test_layers_have_the_sizes_that_the_authors_read(name, size):
    layer = _LAYERS[name]
    network = network_of(layer.network)
    assert network.read_out(torch.zeros(1, 3, layer.side, layer.side), layer.layer).shape == (
        1,
        size,
    )

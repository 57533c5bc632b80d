"""The acceptance tests of the evaluation protocol (what an implementation must do before its
numbers are believed), one each.
"""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.ncsnr import estimate_ncsnr, noise_ceiling
from fmri2img.containers.splits import Split
from fmri2img.datasets.simulation.scenes import render_image
from fmri2img.evaluation.identification import (
    exact_top1,
    n_higher,
    retrieval_scores,
    similarity_matrix,
    two_way_identification,
)
from fmri2img.evaluation.metrics.network_metrics import score_in_networks
from fmri2img.evaluation.metrics.picture_metrics import constant_pictures, score_pictures
from fmri2img.evaluation.network_features import open_networks, prepare
from fmri2img.evaluation.predictions import Predictions, ShownPictures
from fmri2img.evaluation.presets import PRESETS
from fmri2img.evaluation.read_outs import READ_OUTS
from fmri2img.models._normalizer import VoxelNormalizer
from fmri2img.project.exceptions import MismatchError
from fmri2img.project.files_0_1 import with_facts
from fmri2img.training.training_set import make_training_set

N_IMAGES, N_MANY = 12, 1000
MINDEYE = PRESETS["mindeye"]


def in_networks(truth, predicted, networks):
    """Scores of one row of pictures in networks."""
    rows = Predictions({"model": predicted}, {})
    return score_in_networks(ShownPictures(truth, truth), rows, networks, MINDEYE).per_image[
        "model"
    ]


@pytest.fixture(scope="module")
def pictures():
    """Painted scenes with the spectra of photographs."""
    return np.stack([render_image(3, image_id, 425) for image_id in range(N_IMAGES)])


@pytest.fixture
def subject(rng):
    """Twenty images, two trials each; the last eight are the test set."""
    ids = np.arange(20)
    examples = Examples(
        voxel_ijk=np.zeros((7, 3), np.int16),
        roi_labels=np.ones(7, np.int16),
        ncsnr=np.ones(7, np.float32),
        training_ncsnr=np.ones(7, np.float32),
        in_brain=np.ones(7, bool),
        sessions=np.array([1], np.int16),
        valid=np.ones((1, 7), bool),
        saturated=np.zeros((1, 7), np.int16),
        affine=np.eye(4),
        provenance=with_facts({"roi_names": {}}),
        image_ids=ids,
        images=np.zeros((20, 8, 8, 3), np.uint8),
        is_shared=ids >= 12,
        betas=rng.integers(-900, 900, (40, 7)).astype(np.int16),
        trial_image_ids=ids.repeat(2),
        trial_session=np.ones(40, np.int16),
    )
    latents = Latents(
        ids,
        rng.normal(size=(20, 4, 2, 2)).astype(np.float32),
        np.zeros((20, 0, 1, 1), np.float32),
        provenance={},
    )
    return examples, Split("shared", tuple(range(9)), (9, 10, 11), tuple(range(12, 20))), latents


@pytest.fixture(scope="module")
def lite():
    return open_networks(["effnet_lite0"], None)


def test_identity(pictures, lite, rng):
    found = score_pictures(pictures, {"model": pictures}, MINDEYE.bring)["model"]
    np.testing.assert_allclose([*found["pixcorr"], *found["ssim"]], 1, atol=1e-6)
    features = in_networks(pictures, pictures, lite)
    assert (features["two_way_effnet_lite0"] == 1).all()
    assert (features["two_way_effnet_lite0_ground_truth"] == 1).all()
    np.testing.assert_allclose(features["effnet_lite0_distance"], 0, atol=1e-5)
    retrieval = retrieval_scores(
        similarity_matrix(rng.normal(size=(N_MANY, 40)), rng.normal(size=(N_MANY, 40)))
        + 9 * np.eye(N_MANY),
        rng,
    )
    assert {value for name, value in retrieval.items() if "top" in name} == {1}


def test_shuffle(rng):
    features = rng.normal(size=(N_MANY, 50))
    order = rng.permutation(N_MANY)
    similarity = similarity_matrix(features, features[order])
    assert two_way_identification(similarity).mean() == pytest.approx(0.5, abs=0.03)
    scores = retrieval_scores(similarity, rng)
    assert scores["image_to_brain_top1_of_300"] == pytest.approx(1 / 300, abs=0.005)
    noise = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    found = score_pictures(noise, {"shuffled": np.roll(noise, 1, axis=0)}, MINDEYE.bring)[
        "shuffled"
    ]
    assert found["pixcorr"].mean() == pytest.approx(0, abs=0.03)


def test_constant_prediction(pictures, rng):
    grey = np.full_like(pictures, 128)
    found = score_pictures(pictures, {"grey": grey}, MINDEYE.bring)["grey"]
    assert (found["pixcorr"] == 0).all()
    assert constant_pictures(grey) == N_IMAGES
    assert 0.3 < found["ssim"].mean() < 0.75  # 0.41 on photographs; painted scenes are smoother
    features = rng.normal(size=(60, 30))
    same = np.repeat(rng.normal(size=(1, 30)), 60, axis=0)
    assert two_way_identification(similarity_matrix(features, same)).mean() == pytest.approx(0.5)
    # Ties are failures.
    assert two_way_identification(similarity_matrix(features, same), "ground_truth").mean() == 0


def test_direction():
    # Rows are images, columns predictions. Image 0 finds prediction 1 before its own; every
    # prediction finds its image first.
    toy = np.array([[0.6, 0.7, 0.1], [0.2, 0.8, 0.3], [0.1, 0.2, 0.5]])
    ranks = n_higher(toy)
    assert ranks["image_to_brain"].tolist() == [1, 0, 0]
    assert ranks["brain_to_image"].tolist() == [0, 0, 0]
    assert exact_top1(ranks["image_to_brain"], pool=2).tolist() == [0.5, 1, 1]


def test_two_way_formula(rng):
    similarity = rng.normal(size=(5, 5))
    expected = [
        sum(similarity[i, j] < similarity[j, j] for i in range(5) if i != j) / 4 for j in range(5)
    ]
    assert two_way_identification(similarity).tolist() == expected
    tied = similarity.copy()
    tied[:, 2] = 0.3
    assert two_way_identification(tied)[2] == 0


def test_ssim_is_two_dimensional_whatever_scikit_image_is_installed():
    first = (
        np.random.default_rng(0)
        .integers(0, 256, (1, 16, 16, 1), dtype=np.uint8)
        .repeat(4, 1)
        .repeat(4, 2)
        .repeat(3, 3)
    )
    second = (
        sum(np.roll(first.astype(np.uint16), shift, axis=1) for shift in range(8)) // 8
    ).astype(np.uint8)
    found = score_pictures(
        first, {"model": second}, lambda images, _: images.astype(np.float32) / 255
    )["model"]
    grey = [
        images[0].astype(np.float32) / 255 @ np.array([0.2125, 0.7154, 0.0721])
        for images in (first, second)
    ]
    plain = structural_similarity(
        *grey, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
    )
    assert found["ssim"][0] == pytest.approx(plain, abs=1e-6)
    assert found["ssim"][0] == pytest.approx(0.329253, abs=1e-5)
    assert found["ssim_columnwise"][0] == pytest.approx(0.137938, abs=1e-5)


@pytest.mark.networks
def test_alexnet_shapes_and_efficientnet_weights():
    import torchvision.models

    from fmri2img.pretrained.scoring_networks import WEIGHTS, FrozenNetwork, build_network

    torch.manual_seed(0)
    alexnet = FrozenNetwork(build_network("alexnet"))
    images = np.zeros((2, 128, 128, 3), np.uint8)
    for preset, expected in (("mindeye", (184_512, 57_600)), ("brain_diffuser", (139_968, 43_264))):
        for name, size in zip(("alexnet_2", "alexnet_5"), expected, strict=True):
            given = prepare(images, READ_OUTS[name], PRESETS[preset])
            assert alexnet.read_out(given, READ_OUTS[name].layer).shape == (2, size)
    enum = torchvision.models.EfficientNet_B1_Weights
    for preset, version in (
        ("mindeye", enum.IMAGENET1K_V2),
        ("brain_diffuser", enum.IMAGENET1K_V1),
    ):
        assert WEIGHTS[READ_OUTS["effnet_b"].network[preset]].url == version.url


def test_exact_retrieval_equals_enumeration(rng):
    similarity = rng.normal(size=(8, 8))
    expected = []
    for query in range(8):
        pools = list(combinations([index for index in range(8) if index != query], 2))
        expected.append(
            np.mean(
                [
                    all(similarity[query, other] < similarity[query, query] for other in pool)
                    for pool in pools
                ]
            )
        )
    np.testing.assert_allclose(
        exact_top1(n_higher(similarity)["image_to_brain"], pool=3), expected, atol=1e-12
    )


def test_ncsnr_gives_the_noise_ceiling_of_known_signal_and_noise(rng):
    n_images, n_voxels = 600, 40
    signal_sd, noise_sd = np.linspace(0.3, 2, n_voxels), 1.5
    signal = signal_sd * rng.normal(size=(n_images, n_voxels))
    ids = np.repeat(np.arange(n_images), 3)
    betas = signal[ids] + noise_sd * rng.normal(size=(len(ids), n_voxels))
    found = estimate_ncsnr(betas, rng.integers(1, 4, len(ids)), ids, n_repetitions=3)
    ratio = signal_sd / noise_sd
    np.testing.assert_allclose(noise_ceiling(found, 3), 100 * ratio**2 / (ratio**2 + 1 / 3), atol=7)
    assert np.mean(noise_ceiling(found, 3) - 100 * ratio**2 / (ratio**2 + 1 / 3)) == pytest.approx(
        0, abs=2
    )
    ceilings = [noise_ceiling(found, count).mean() for count in (1, 2, 3)]
    assert ceilings == sorted(ceilings)
    assert ceilings[0] < ceilings[2]


def test_split_is_disjoint_and_scalers_do_not_see_test_trials(subject):
    with pytest.raises(MismatchError, match="an image is in two parts"):
        Split("shared", (1, 2), (3,), (2, 4))
    examples, split, latents = subject
    altered = examples.betas.copy()
    altered[examples.trials_of(split.ids("test"))] += 9_000
    scalers = []
    for betas in (examples.betas, altered):
        normalizer = VoxelNormalizer(examples.n_voxels)
        normalizer.fit(
            make_training_set(replace(examples, betas=betas), split, latents, latents).train.betas
        )
        scalers.append(normalizer.state_dict())
    assert all(torch.equal(scalers[0][name], scalers[1][name]) for name in ("mean", "std"))
    assert not torch.equal(scalers[0]["mean"], torch.zeros(examples.n_voxels))


def test_everything_is_joined_by_73k_id(pictures, lite, rng):
    order = rng.permutation(N_IMAGES)
    predicted = np.roll(pictures, 1, axis=0) // 2
    rows = {"model": predicted}, {"model": predicted[order]}
    found, other = (
        score_pictures(truth, row, MINDEYE.bring)["model"] | in_networks(truth, row["model"], lite)
        for truth, row in zip((pictures, pictures[order]), rows, strict=True)
    )
    for metric, values in found.items():
        np.testing.assert_allclose(values[order], other[metric], atol=1e-5, err_msg=metric)

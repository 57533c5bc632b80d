import numpy as np
import pytest
import scipy.stats
from skimage.metrics import structural_similarity

from fmri2img.evaluation.inference import bootstrap_interval, permutation_p
from fmri2img.evaluation.latents import (
    dimension_correlations,
    pattern_correlations,
    similarity_matrix,
    two_way_identification,
)
from fmri2img.evaluation.pixels import enlarge, pixel_correlations, structural_similarities
from fmri2img.evaluation.score import TestSet, score_test_set


@pytest.fixture
def pictures(rng):
    smooth = rng.random((6, 5, 5, 3)).repeat(8, 1).repeat(8, 2)
    return ((smooth + 0.2 * rng.random(smooth.shape)) / 1.2 * 255).astype(np.uint8)


@pytest.fixture
def two_sets(pictures):
    return enlarge(pictures, 60), enlarge(pictures[::-1], 60)


def test_pixcorr_agrees_with_scipy(two_sets):
    expected = [scipy.stats.pearsonr(a.ravel(), b.ravel())[0] for a, b in zip(*two_sets, strict=True)]
    np.testing.assert_allclose(pixel_correlations(*two_sets), expected, atol=1e-5)


def test_ssim_agrees_with_scikit_image_in_two_dimensions(two_sets):
    weights = np.array([0.2125, 0.7154, 0.0721])
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [structural_similarity(a @ weights, b @ weights, **settings) for a, b in zip(*two_sets, strict=True)]
    np.testing.assert_allclose(structural_similarities(*two_sets), expected, atol=1e-5)


def test_identity_and_constant_pictures(pictures):
    enlarged = enlarge(pictures, 40)
    np.testing.assert_allclose(pixel_correlations(enlarged, enlarged), 1, atol=1e-6)
    np.testing.assert_allclose(structural_similarities(enlarged, enlarged), 1, atol=1e-5)
    grey = np.full_like(enlarged, 128 / 255)
    np.testing.assert_array_equal(pixel_correlations(enlarged, grey), 0)


def test_two_way_agrees_with_a_double_loop_and_its_direction(rng):
    similarity = rng.normal(size=(5, 5))
    expected = [np.mean([similarity[i, j] < similarity[j, j] for i in range(5) if i != j]) for j in range(5)]
    np.testing.assert_allclose(two_way_identification(similarity), expected)
    # Prediction 1 resembles truth 0 more than its own; prediction 0 resembles none but its own.
    lopsided = np.array([[0.9, 0.8], [0.1, 0.5]])
    np.testing.assert_array_equal(two_way_identification(lopsided), [1, 0])


def test_ties_are_wrong():
    np.testing.assert_array_equal(two_way_identification(np.ones((4, 4))), 0)
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        two_way_identification(np.ones((1, 1)))


def test_pattern_correlation_is_centred_on_the_training_mean(rng):
    mean = 10 * rng.normal(size=30)
    truth = mean + rng.normal(size=(7, 30))
    predicted = mean + rng.normal(size=(7, 30))
    expected = [scipy.stats.pearsonr(a - mean, b - mean)[0] for a, b in zip(truth, predicted, strict=True)]
    np.testing.assert_allclose(pattern_correlations(truth, predicted, mean), expected, atol=1e-5)
    np.testing.assert_array_equal(pattern_correlations(truth, np.tile(mean, (7, 1)), mean), 0)
    assert pattern_correlations(truth, predicted, np.zeros(30)).mean() > 0.9


def test_dimension_correlation_agrees_with_scipy(rng):
    truth, predicted = rng.normal(size=(2, 20, 4))
    expected = [scipy.stats.pearsonr(truth[:, d], predicted[:, d])[0] for d in range(4)]
    np.testing.assert_allclose(dimension_correlations(truth, predicted), expected, atol=1e-5)


def test_similarity_has_truth_in_rows(rng):
    truth, predicted = rng.normal(size=(2, 6, 15))
    matrix = similarity_matrix(truth, predicted, np.zeros(15))
    assert matrix[1, 4] == pytest.approx(scipy.stats.pearsonr(truth[1], predicted[4])[0], abs=1e-5)


def test_bootstrap_agrees_with_scipy(rng):
    scores = rng.normal(0.4, 0.2, 80)
    found = bootstrap_interval(scores, 20_000, rng)
    expected = scipy.stats.bootstrap((scores,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    np.testing.assert_allclose(found, expected, atol=0.005)


def test_permutation_p_is_uniform_without_signal_and_small_with_it(rng):
    ps = [permutation_p(rng.normal(size=(12, 12)), 99, rng) for _ in range(200)]
    assert scipy.stats.kstest(ps, "uniform").pvalue > 0.001
    assert permutation_p(np.eye(20) + 0.1 * rng.normal(size=(20, 20)), 199, rng) == 1 / 200


def make_test_set(pictures, rng, predicted_images=None, predicted_latents=None):
    latents = rng.normal(size=(len(pictures), 4, 3, 3)).astype(np.float32)
    return TestSet(
        images=pictures,
        predicted_images=pictures if predicted_images is None else predicted_images,
        ceiling_images=pictures,
        latents=latents,
        predicted_latents=latents if predicted_latents is None else predicted_latents,
        train_mean_image=pictures.mean(0).astype(np.uint8),
        mean_decoded=pictures.mean(0).astype(np.uint8),
        train_mean_latent=np.zeros((4, 3, 3), np.float32),
    )


def score(test_set):
    return score_test_set(test_set, image_size=40, n_permutations=99, n_bootstrap=100, seed=0)


def test_perfect_predictions_score_one_everywhere(pictures, rng):
    means = score(make_test_set(pictures, rng)).means
    assert all(value == pytest.approx(1, abs=1e-5) for row in ("model", "vae_ceiling") for value in means[row].values())
    assert set(means["model"]) == {"pixcorr", "ssim", "pattern_correlation", "dimension_correlation", "two_way"}


def test_floors_know_nothing(rng):
    pictures = (rng.random((120, 16, 16, 3)) * 255).astype(np.uint8)
    means = score(make_test_set(pictures, rng)).means
    assert means["grey"]["pixcorr"] == 0
    assert means["shuffled"]["two_way"] == pytest.approx(0.5, abs=0.08)
    assert means["shuffled"]["pattern_correlation"] == pytest.approx(0, abs=0.06)
    assert means["mean_latent"]["pattern_correlation"] == 0


def test_scores_come_with_intervals_and_p(pictures, rng):
    noisy = rng.normal(size=(len(pictures), 4, 3, 3)).astype(np.float32)
    scores = score(make_test_set(pictures, rng, predicted_latents=noisy))
    assert set(scores.intervals) == set(scores.means["model"])
    for metric, (low, high) in scores.intervals.items():
        assert low - 1e-9 <= scores.means["model"][metric] <= high + 1e-9
    assert 0 < scores.p_values["pattern_correlation"] <= 1

import numpy as np
import pytest
import scipy.stats

from fmri2img.evaluation.latents import (
    dimension_correlations,
    latent_summary,
    pattern_correlations,
    resampled_dimension_correlation,
)
from fmri2img.evaluation.score import TestSet, score_test_set


@pytest.fixture
def pictures(rng):
    smooth = rng.random((6, 5, 5, 3)).repeat(8, 1).repeat(8, 2)
    return ((smooth + 0.2 * rng.random(smooth.shape)) / 1.2 * 255).astype(np.uint8)


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


def test_summary_tells_shrinkage_and_calibration(rng):
    truth = rng.normal(size=(500, 6)) + 3
    mean = truth.mean(axis=0)
    found = latent_summary(truth, mean + 0.5 * (truth - mean), mean)
    assert found["spread_ratio"] == pytest.approx(0.5)
    assert found["slope"] == pytest.approx(2)
    assert found["r2_mean"] == pytest.approx(0.75)
    assert found["r2_weighted"] == pytest.approx(0.75)
    assert found["mse_relative"] == pytest.approx(0.25)
    assert found["mae_relative"] == pytest.approx(0.5)
    nothing = latent_summary(truth, np.tile(mean, (500, 1)), mean)
    assert nothing["r2_mean"] == pytest.approx(0)
    assert nothing["slope"] == nothing["dimension_correlation"] == 0


def test_r2_is_measured_from_the_training_mean(rng):
    truth = rng.normal(size=(50, 3)) + 1
    assert latent_summary(truth, np.zeros((50, 3)), np.zeros(3))["r2_mean"] == pytest.approx(0)


def test_resampled_profile_agrees_with_plain_resampling(rng):
    truth = rng.normal(size=(40, 5))
    predicted = truth + rng.normal(size=(40, 5))
    fast = resampled_dimension_correlation(truth, predicted, 4000, rng)
    plain = [dimension_correlations(truth[rows], predicted[rows]).mean() for rows in rng.integers(40, size=(4000, 40))]
    np.testing.assert_allclose(np.percentile(fast, (2.5, 50, 97.5)), np.percentile(plain, (2.5, 50, 97.5)), atol=0.015)


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
    return score_test_set(test_set, preset="mindeye", n_permutations=99, n_bootstrap=100, seed=0)


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

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from fmri2img.evaluation.latents import (
    dimension_correlations,
    latent_summary,
    pattern_correlations,
    resampled_dimension_correlation,
)
from fmri2img.evaluation.score import TestSet, derangement, nearest_rows, score_test_set


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


def make_test_set(pictures, rng, predicted=None, images=None):
    truth = rng.normal(size=(len(pictures), 36)).astype(np.float32)
    predicted = truth if predicted is None else predicted
    images = pictures if images is None else images
    shuffle = derangement(len(pictures), rng)
    mean = pictures.mean(0).round().astype(np.uint8)[None]
    rows = np.arange(3)
    return TestSet(
        image_ids=np.arange(len(pictures)),
        truth=pictures,
        pictures={
            **dict.fromkeys(("model", "single_trial", "ridge"), images),
            **dict.fromkeys(("nearest_train", "shuffled"), images[shuffle]),
            **dict.fromkeys(("train_mean", "mean_latent"), mean),
            "grey": np.full_like(mean, 128),
            **dict.fromkeys(("vae_ceiling", "resize_ceiling"), pictures),
        },
        true_latents=truth,
        latents={
            **dict.fromkeys(("model", "single_trial", "ridge"), predicted),
            **dict.fromkeys(("nearest_train", "shuffled"), predicted[shuffle]),
            "mean_latent": np.zeros_like(truth),
            "vae_ceiling": truth,
        },
        train_mean=np.zeros(36, np.float32),
        repetitions=dict.fromkeys((1, 2), (rows, predicted[rows], images[rows])),
        reliability=(predicted, predicted),
    )


def score(test_set):
    return score_test_set(test_set, n_permutations=99, n_bootstrap=100, seed=0)


def test_perfect_predictions_score_one_everywhere(pictures, rng):
    scores = score(make_test_set(pictures, rng))
    assert all(value == pytest.approx(1, abs=1e-5) for row in ("model", "vae_ceiling") for value in scores.means[row].values())
    pictures_scored = {f"{prefix}{metric}" for prefix in ("", "brain_diffuser_") for metric in ("pixcorr", "ssim", "ssim_columnwise")}
    latents_scored = {"pattern_correlation", "dimension_correlation", "two_way", "two_way_ground_truth"}
    assert set(scores.means["model"]) == pictures_scored | latents_scored
    assert scores.latent["slope"] == scores.latent["reliability"] == pytest.approx(1)
    assert scores.retrieval["centred"]["brain_to_image_top1"] == 1
    assert scores.repetitions[2]["pattern_correlation"] == pytest.approx(1)
    assert scores.n_constant == 0


def test_floors_know_nothing(rng):
    pictures = (rng.random((120, 16, 16, 3)) * 255).astype(np.uint8)
    means = score(make_test_set(pictures, rng)).means
    assert means["grey"]["pixcorr"] == 0
    assert means["shuffled"]["two_way"] == pytest.approx(0.5, abs=0.08)
    assert means["shuffled"]["pattern_correlation"] == pytest.approx(0, abs=0.06)
    assert means["mean_latent"]["pattern_correlation"] == 0
    assert "two_way" not in means["mean_latent"]  # nothing left to identify


def test_scores_come_with_intervals_and_p(pictures, rng):
    noisy = rng.normal(size=(len(pictures), 36)).astype(np.float32)
    scores = score(make_test_set(pictures, rng, predicted=noisy))
    assert set(scores.intervals) == set(scores.means["model"])
    for metric, (low, high) in scores.intervals.items():
        assert low - 1e-9 <= scores.means["model"][metric] <= high + 1e-9
    assert 0 < scores.p_values["pattern_correlation"] <= 1


def test_constant_reconstructions_are_counted(pictures, rng):
    flat = np.full_like(pictures, 77)
    scores = score(make_test_set(pictures, rng, images=flat))
    assert scores.n_constant == len(pictures)
    assert scores.means["model"]["pixcorr"] == 0


def test_scores_do_not_depend_on_the_order_of_images(pictures, rng):
    test = make_test_set(pictures, rng, predicted=rng.normal(size=(len(pictures), 36)).astype(np.float32), images=pictures[::-1].copy())
    order = rng.permutation(len(pictures))

    def reorder(rows):
        return {row: values[order] if len(values) > 1 else values for row, values in rows.items()}

    other = replace(
        test,
        truth=test.truth[order],
        true_latents=test.true_latents[order],
        pictures=reorder(test.pictures),
        latents=reorder(test.latents),
    )
    first, second = score(test).means["model"], score(other).means["model"]
    assert first == pytest.approx(second, abs=1e-6)


def test_the_nearest_training_image_is_the_closest_in_latents(rng):
    train = rng.normal(size=(20, 5)).astype(np.float32)
    rows = rng.permutation(20)[:7]
    np.testing.assert_array_equal(nearest_rows(train[rows] + 1e-3, train), rows)


def test_no_image_keeps_its_place_when_shuffled(rng):
    for n_images in (2, 3, 50):
        assert (derangement(n_images, rng) != np.arange(n_images)).all()

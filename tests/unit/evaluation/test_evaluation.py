from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from fmri2img.containers import EncodingModel
from fmri2img.evaluation.brain import ALL_VOXELS, MeasuredResponses
from fmri2img.evaluation.latents import (
    dimension_correlations,
    latent_summary,
    pattern_correlations,
    resampled_dimension_correlation,
)
from fmri2img.evaluation.networks import NO_NETWORKS
from fmri2img.evaluation.score import MODEL_ROWS, Parts, Rows, TestTruth, derangement, nearest_rows, score_model, score_rows


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


N_VOXELS = 17


def make_truth(pictures, rng):
    """Truth of six pictures; responses follow from latents, with noise."""
    n_images = len(pictures)
    latents = rng.normal(size=(n_images, 36)).astype(np.float32)
    model = EncodingModel(
        rng.normal(size=(36, N_VOXELS)).astype(np.float32), np.zeros(36, np.float32), np.zeros(N_VOXELS, np.float32), provenance={}
    )
    responses = model.predict(latents) + rng.normal(size=(n_images, N_VOXELS)).astype(np.float32)
    regions = {ALL_VOXELS: np.arange(N_VOXELS), "V1": np.arange(5), "V2": np.arange(5, N_VOXELS)}
    return TestTruth(
        image_ids=np.arange(n_images),
        pictures=pictures,
        small=pictures,
        latents=latents,
        train_mean=np.zeros(36, np.float32),
        responses=MeasuredResponses(model, regions, responses, np.arange(3), responses[:3]),
        n_repetitions=np.full(n_images, 2),
    )


def make_rows(truth, rng, predicted=None, images=None):
    predicted = truth.latents if predicted is None else predicted
    images = truth.pictures if images is None else images
    shuffle = derangement(len(images), rng)
    table = Rows(
        pictures=dict.fromkeys(("model", "single_trial"), images) | dict.fromkeys(("shuffled", "nearest_train"), images[shuffle]),
        latents=dict.fromkeys(("model", "single_trial"), predicted) | dict.fromkeys(("shuffled", "nearest_train"), predicted[shuffle]),
        shuffles={"shuffled": ("model", shuffle)},
    )
    rows = np.arange(3)
    seeds = Rows({"seed_1": images}, {"seed_1": predicted})
    return table, Parts(dict.fromkeys((1, 2), (rows, predicted[rows], images[rows])), (predicted, predicted), predicted[:3], seeds)


def reference(truth):
    mean = truth.pictures.mean(0).round().astype(np.uint8)[None]
    flat = {"train_mean": mean, "mean_latent": mean, "grey": np.full_like(mean, 128)}
    latents = {"vae_ceiling": truth.latents, "mean_latent": np.zeros_like(truth.latents)}
    return Rows(flat | {"vae_ceiling": truth.pictures}, latents)


def score(truth, rows, parts, networks=NO_NETWORKS):
    return score_model(truth, rows, parts, networks, n_permutations=99, n_bootstrap=100, seed=0)


def test_perfect_predictions_score_one_everywhere_but_in_noisy_responses(pictures, rng):
    truth = make_truth(pictures, rng)
    scores = score(truth, *make_rows(truth, rng))
    found = scores.rows.means["model"]
    brain = found.pop("brain_correlation")
    assert 0.5 < brain < 1
    assert all(value == pytest.approx(1, abs=1e-5) for value in found.values())
    pictures_scored = {f"{prefix}{metric}" for prefix in ("", "brain_diffuser_") for metric in ("pixcorr", "ssim", "ssim_columnwise")}
    assert set(found) == pictures_scored | {"pattern_correlation", "dimension_correlation", "two_way", "two_way_ground_truth"}
    assert scores.latent["slope"] == scores.latent["reliability"] == pytest.approx(1)
    assert scores.retrieval["centred"]["brain_to_image_top1"] == 1
    assert scores.repetitions[2]["pattern_correlation"] == pytest.approx(1)
    assert scores.n_constant == 0
    assert set(scores.brain) == {ALL_VOXELS, "V1", "V2"}
    assert scores.brain[ALL_VOXELS]["brain_correlation"] == pytest.approx(brain)
    assert set(scores.brain["V1"]) == {"brain_correlation", "brain_correlation_held_out", "brain_correlation_held_out_truth"}
    assert (
        scores.brain["V1"]["brain_correlation_held_out"] == scores.brain["V1"]["brain_correlation_held_out_truth"]
    )  # latents are the true ones


def test_floors_know_nothing(rng):
    pictures = (rng.random((120, 16, 16, 3)) * 255).astype(np.uint8)
    truth = make_truth(pictures, rng)
    means = score_rows(truth, reference(truth), NO_NETWORKS).means
    assert means["grey"]["pixcorr"] == 0
    assert means["mean_latent"]["pattern_correlation"] == 0
    assert means["mean_latent"]["brain_correlation"] == 0
    assert "two_way" not in means["mean_latent"]  # nothing left to identify
    shuffled = score(truth, *make_rows(truth, rng)).rows.means["shuffled"]
    assert shuffled["two_way"] == pytest.approx(0.5, abs=0.08)
    assert shuffled["pattern_correlation"] == pytest.approx(0, abs=0.06)
    assert shuffled["brain_correlation"] == pytest.approx(0, abs=0.1)


def test_scores_come_with_intervals_and_p(pictures, rng):
    truth = make_truth(pictures, rng)
    scores = score(truth, *make_rows(truth, rng, predicted=rng.normal(size=(len(pictures), 36)).astype(np.float32)))
    assert set(scores.intervals["model"]) == set(scores.rows.means["model"])
    assert set(scores.intervals) == set(MODEL_ROWS)
    for row, ends in scores.intervals.items():
        for metric, (low, high) in ends.items():
            assert low - 1e-9 <= scores.rows.means[row][metric] <= high + 1e-9
    assert set(scores.p_values) == {"pixcorr", "ssim", "pattern_correlation", "two_way", "brain_correlation"}
    assert all(0 < value <= 1 for value in scores.p_values.values())


def test_the_spread_over_seeds_is_apart_from_images(pictures, rng):
    truth = make_truth(pictures, rng)
    rows, parts = make_rows(truth, rng)
    noisy = truth.latents + rng.normal(size=truth.latents.shape).astype(np.float32)
    others = Rows(dict.fromkeys(("seed_1", "seed_2"), pictures), dict.fromkeys(("seed_1", "seed_2"), noisy))
    seeds = score(truth, rows, replace(parts, seeds=others)).seeds["pattern_correlation"]
    assert seeds[0] == pytest.approx(1)
    assert seeds[1] == seeds[2] < 0.9
    assert score(truth, rows, replace(parts, seeds=Rows({}, {}))).seeds == {}


def test_constant_reconstructions_are_counted(pictures, rng):
    truth = make_truth(pictures, rng)
    scores = score(truth, *make_rows(truth, rng, images=np.full_like(pictures, 77)))
    assert scores.n_constant == len(pictures)
    assert scores.rows.means["model"]["pixcorr"] == 0


def test_the_nearest_training_image_is_the_closest_in_latents(rng):
    train = rng.normal(size=(20, 5)).astype(np.float32)
    rows = rng.permutation(20)[:7]
    np.testing.assert_array_equal(nearest_rows(train[rows] + 1e-3, train), rows)


def test_no_image_keeps_its_place_when_shuffled(rng):
    for n_images in (2, 3, 50):
        assert (derangement(n_images, rng) != np.arange(n_images)).all()

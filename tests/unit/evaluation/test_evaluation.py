from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from PIL import Image

from fmri2img.containers.encoding_model import EncodingModel
from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.splits import Split
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.evaluation.documents import references_document, repetition_table
from fmri2img.evaluation.metrics.latent_metrics import (
    dimension_correlations,
    latent_summary,
    pattern_correlations,
    resampled_dimension_correlation,
)
from fmri2img.evaluation.predictions import (
    ALL_VOXELS,
    MeasuredResponses,
    Parts,
    Predictions,
    TestTruth,
    derangement,
)
from fmri2img.evaluation.read_outs import NO_NETWORKS
from fmri2img.evaluation.row_predictions import (
    _check_same_pictures,
    join_truth,
    model_rows,
    nearest_rows,
    reference_rows,
)
from fmri2img.evaluation.score import score_model, score_rows
from fmri2img.project.exceptions import MismatchError
from fmri2img.project.files_0_1 import with_facts


@pytest.fixture
def pictures(rng):
    smooth = rng.random((6, 5, 5, 3)).repeat(8, 1).repeat(8, 2)
    return ((smooth + 0.2 * rng.random(smooth.shape)) / 1.2 * 255).astype(np.uint8)


def test_pattern_correlation_is_centred_on_the_training_mean(rng):
    mean = 10 * rng.normal(size=30)
    truth = mean + rng.normal(size=(7, 30))
    predicted = mean + rng.normal(size=(7, 30))
    expected = [
        scipy.stats.pearsonr(a - mean, b - mean)[0] for a, b in zip(truth, predicted, strict=True)
    ]
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
    plain = [
        dimension_correlations(truth[rows], predicted[rows]).mean()
        for rows in rng.integers(40, size=(4000, 40))
    ]
    np.testing.assert_allclose(
        np.percentile(fast, (2.5, 50, 97.5)), np.percentile(plain, (2.5, 50, 97.5)), atol=0.015
    )


N_VOXELS = 17


def make_truth(pictures, rng):
    """Truth of some pictures; responses follow from latents, with noise."""
    n_images = len(pictures)
    latents = rng.normal(size=(n_images, 36)).astype(np.float32)
    model = EncodingModel(
        rng.normal(size=(36, N_VOXELS)).astype(np.float32),
        np.zeros(36, np.float32),
        np.zeros(N_VOXELS, np.float32),
        provenance={},
    )
    responses = model.predict(latents) + rng.normal(size=(n_images, N_VOXELS)).astype(np.float32)
    regions = {ALL_VOXELS: np.arange(N_VOXELS), "V1": np.arange(5), "V2": np.arange(5, N_VOXELS)}
    return TestTruth(
        image_ids=np.arange(n_images),
        pictures=pictures,
        small=pictures,
        latents=latents,
        train_mean=np.zeros(36, np.float32),
        train_sd=np.ones(36, np.float32),
        responses=MeasuredResponses(model.predict, regions, np.arange(3), responses[:3]),
        n_repetitions=np.full(n_images, 2),
    )


def make_rows(truth, rng, predicted=None, images=None):
    predicted = truth.latents if predicted is None else predicted
    images = truth.pictures if images is None else images
    shuffle = derangement(len(images), rng)
    table = Predictions(
        pictures=dict.fromkeys(("model", "single_trial"), images)
        | dict.fromkeys(("shuffled", "nearest_train"), images[shuffle]),
        latents=dict.fromkeys(("model", "single_trial"), predicted)
        | dict.fromkeys(("shuffled", "nearest_train"), predicted[shuffle]),
        shuffles={"shuffled": ("model", shuffle)},
        tested=("model",),
    )
    rows = np.arange(3)
    parts = Parts(
        repetitions=dict.fromkeys((1, 2), (rows, predicted[rows], images[rows])),
        reliability=(predicted, predicted),
        seen_again={
            "model": predicted[:3],
            "shuffled": predicted[[1, 2, 0]],
            "truth": truth.latents[:3],
        },
        seeds=Predictions({"seed_1": images}, {"seed_1": predicted}),
        stated_sd=np.full_like(predicted, 2.0),
    )
    return table, parts


def reference(truth):
    mean = truth.pictures.mean(0).round().astype(np.uint8)[None]
    flat = {"train_mean": mean, "mean_latent": mean, "grey": np.full_like(mean, 128)}
    latents = {"vae_ceiling": truth.latents, "mean_latent": np.zeros_like(truth.latents)}
    return Predictions(flat | {"vae_ceiling": truth.pictures}, latents)


def score(truth, rows, parts, networks=NO_NETWORKS):
    return score_model(truth, rows, parts, networks, n_permutations=99, n_bootstrap=100, seed=0)


def test_perfect_predictions_score_one_everywhere_but_in_noisy_responses(pictures, rng):
    truth = make_truth(pictures, rng)
    scores = score(truth, *make_rows(truth, rng))
    found = scores.rows.means["model"]
    assert all(value == pytest.approx(1, abs=1e-5) for value in found.values())
    pictures_scored = {
        f"{prefix}{metric}"
        for prefix in ("", "brain_diffuser_")
        for metric in ("pixcorr", "ssim", "ssim_columnwise")
    }
    assert set(found) == pictures_scored | {
        *(
            "pattern_correlation",
            "pattern_correlation_scaled",
            "dimension_correlation",
            "two_way",
            "two_way_ground_truth",
        )
    }
    assert [scores.latent["slope"], scores.latent["reliability"]] == pytest.approx([1, 1])
    assert scores.latent["error_over_stated"] == 0
    assert scores.retrieval["centred"]["brain_to_image_top1"] == 1
    assert scores.repetitions[2]["pattern_correlation"] == pytest.approx(1)
    assert scores.n_constant == 0
    assert set(scores.brain) == {ALL_VOXELS, "V1", "V2"}
    brain = scores.brain[ALL_VOXELS]
    assert brain["model"]["mean"] == brain["truth"]["mean"] > 0.5 > brain["shuffled"]["mean"]


def test_floors_know_nothing(rng):
    pictures = (rng.random((48, 16, 16, 3)) * 255).astype(np.uint8)
    truth = make_truth(pictures, rng)
    means = score_rows(truth, reference(truth), NO_NETWORKS).means
    assert means["grey"]["pixcorr"] == 0
    assert means["mean_latent"]["pattern_correlation"] == 0
    assert "two_way" not in means["mean_latent"]  # nothing left to identify
    shuffle = derangement(len(pictures), rng)
    floor = Predictions({"shuffled": pictures[shuffle]}, {"shuffled": truth.latents[shuffle]})
    shuffled = score_rows(truth, floor, NO_NETWORKS).means["shuffled"]
    assert shuffled["two_way"] == pytest.approx(0.5, abs=0.12)
    assert shuffled["pattern_correlation"] == pytest.approx(0, abs=0.1)


def test_scores_come_with_intervals_and_p(pictures, rng):
    truth = make_truth(pictures, rng)
    scores = score(
        truth,
        *make_rows(truth, rng, predicted=rng.normal(size=(len(pictures), 36)).astype(np.float32)),
    )
    assert set(scores.intervals["model"]) == set(scores.rows.means["model"])
    assert set(scores.intervals) == {"model", "single_trial", "shuffled", "nearest_train"}
    for row, ends in scores.intervals.items():
        for metric, (low, high) in ends.items():
            assert low - 1e-9 <= scores.rows.means[row][metric] <= high + 1e-9
    assert set(scores.p_values) == {"pixcorr", "ssim", "pattern_correlation", "two_way"}
    assert all(0 < value <= 1 for value in scores.p_values.values())


def test_the_spread_over_seeds_is_apart_from_images(pictures, rng):
    truth = make_truth(pictures, rng)
    rows, parts = make_rows(truth, rng)
    noisy = truth.latents + rng.normal(size=truth.latents.shape).astype(np.float32)
    others = Predictions(
        dict.fromkeys(("seed_1", "seed_2"), pictures), dict.fromkeys(("seed_1", "seed_2"), noisy)
    )
    seeds = score(truth, rows, replace(parts, seeds=others)).seeds["pattern_correlation"]
    assert seeds[0] == pytest.approx(1)
    assert seeds[1] == seeds[2] < 0.9
    assert score(truth, rows, replace(parts, seeds=Predictions({}, {}))).seeds == {}


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


N_TEST, LATENT = 9, (4, 3, 3)


@pytest.fixture
def subject(rng):
    """A subject whose test images were shown once, twice or three times, and an encoder that
    finds the truth.
    """
    ids = np.sort(rng.choice(1000, 40, replace=False))
    split = Split(
        "shared", tuple(ids[:25].tolist()), tuple(ids[25:31].tolist()), tuple(ids[31:].tolist())
    )
    shown = rng.integers(1, 4, 40)
    shown[31:] = [1, 3, 2, 3, 1, 3, 2, 3, 2]
    trials = np.repeat(ids, shown)
    small = rng.integers(0, 256, (40, 4, 4, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
    examples = Examples(
        voxel_ijk=np.arange(3 * N_VOXELS, dtype=np.int16).reshape(N_VOXELS, 3),
        roi_labels=np.ones(N_VOXELS, np.int16),
        ncsnr=np.ones(N_VOXELS, np.float32),
        training_ncsnr=np.full(N_VOXELS, np.nan, np.float32),
        in_brain=np.ones(N_VOXELS, bool),
        sessions=np.array([1], np.int16),
        valid=np.ones((1, N_VOXELS), bool),
        saturated=np.zeros((1, N_VOXELS), np.int16),
        affine=np.eye(4),
        provenance=with_facts(
            {"roi_names": {"1": "V1"}, "subject": "subj01", "data_source": "simulated"}
        ),
        image_ids=ids,
        images=small,
        is_shared=np.arange(40) >= 31,
        betas=rng.integers(-900, 900, (len(trials), N_VOXELS)).astype(np.int16),
        trial_image_ids=trials,
        trial_session=np.ones(len(trials), np.int16),
    )
    latents = Latents(
        ids,
        rng.normal(size=(40, *LATENT)).astype(np.float32),
        np.zeros((40, 0, 1, 1), np.float32),
        provenance={},
    )
    test = split.ids("test")
    true = latents.of(test)
    parts = [
        (first, count, np.flatnonzero(shown[31:] > max(first, count)))
        for first, count in ((0, 1), (1, 1), (0, 2))
    ]
    rows = np.concatenate([rows for _, _, rows in parts])
    found = Reconstructions(
        image_ids=np.concatenate([test, ids[:2]]),
        split=np.array([b"test"] * N_TEST + [b"train"] * 2),
        latents=np.concatenate([true, latents.of(ids[:2])]),
        latent_sd=np.ones((N_TEST + 2, *LATENT), np.float32),
        images=np.concatenate([small[31:], small[:2]]),
        ceiling=np.concatenate([small[31:], small[:2]]),
        mean_latent=true.mean(axis=0),
        mean_decoded=small[0],
        partial_image_ids=test[rows],
        partial_first=np.concatenate(
            [np.full(len(rows), first, np.int8) for first, _, rows in parts]
        ),
        partial_count=np.concatenate(
            [np.full(len(rows), count, np.int8) for _, count, rows in parts]
        ),
        partial_latents=true[rows],
        partial_images=small[31:][rows],
        partial_seen=true[rows],
        mean_seen=true.mean(axis=0),
        seed_latents=np.stack([true, true]),
        seed_images=np.stack([small[31:], small[31:]]),
        provenance=examples.provenance,
    )
    pictures = TruePictures(ids, small.repeat(2, 1).repeat(2, 2), provenance={})
    model = EncodingModel(
        np.ones((36, N_VOXELS), np.float32),
        np.zeros(36, np.float32),
        np.zeros(N_VOXELS, np.float32),
        provenance={},
    )
    return examples, split, latents, pictures, model, found


def score_subject(examples, split, latents, pictures, model, found):
    truth = join_truth(examples, split, latents, pictures, model)
    rows, parts = model_rows(truth, examples, split, latents, found, seed=0)
    references = score_rows(truth, reference_rows(truth, examples, split, found), NO_NETWORKS)
    return truth, parts, score(truth, rows, parts), references


def test_the_truth_finds_itself_through_every_join(subject):
    truth, parts, scores, references = score_subject(*subject)
    for row in ("model", "single_trial"):
        assert (
            scores.rows.means[row]["two_way"] == scores.rows.means[row]["two_way_ground_truth"] == 1
        )
        assert scores.rows.means[row]["pixcorr"] > 0.98  # the truth is larger
    assert references.means["ridge"]["two_way"] == references.means["vae_ceiling"]["two_way"] == 1
    assert scores.rows.means["shuffled"]["two_way"] < 1
    assert set(scores.repetitions) == {1, 2, 3}
    assert all(
        curve["pattern_correlation"] == pytest.approx(1) and curve["n_images"] == 4
        for curve in scores.repetitions.values()
    )
    assert scores.latent["reliability"] == pytest.approx(1)
    np.testing.assert_array_equal(
        truth.responses.image_ids, truth.image_ids[truth.n_repetitions > 1]
    )
    np.testing.assert_array_equal(parts.seen_again["model"], parts.seen_again["truth"])
    assert scores.seeds["two_way"] == [1, 1, 1]


def test_a_wrong_join_would_be_seen(subject):
    *others, found = subject
    mixed = replace(found, latents=np.concatenate([found.latents[[1, 0]], found.latents[2:]]))
    assert score_subject(*others, mixed)[2].rows.means["model"]["two_way"] < 1
    fewer = replace(
        found,
        image_ids=found.image_ids[1:],
        split=found.split[1:],
        latents=found.latents[1:],
        latent_sd=found.latent_sd[1:],
        images=found.images[1:],
        ceiling=found.ceiling[1:],
    )
    with pytest.raises(MismatchError, match=r"image id \d+ is not among the reconstructions"):
        score_subject(*others, fewer)


def test_images_shown_once_leave_no_curve_and_no_brain(subject):
    examples, split, latents, pictures, model, found = subject
    trials = np.flatnonzero(np.r_[True, np.diff(examples.trial_image_ids) > 0])
    once = replace(
        examples,
        betas=examples.betas[trials],
        trial_image_ids=examples.trial_image_ids[trials],
        trial_session=examples.trial_session[trials],
    )
    none = {name: getattr(found, name)[:0] for name in vars(found) if name.startswith("partial")}
    scores = score_subject(once, split, latents, pictures, model, replace(found, **none))[2]
    assert scores.repetitions == scores.brain == {}
    assert "reliability" not in scores.latent
    assert repetition_table(scores) == "repetitions,n_images,pattern_correlation\n"


def test_the_truth_is_of_the_pictures_that_were_seen(subject):
    examples, split, latents, pictures, model, _ = subject
    others = replace(pictures, images=pictures.images[::-1].copy())
    image = split.test[0]
    with pytest.raises(
        MismatchError, match=f"the true picture of image {image} is not the picture of that id"
    ):
        join_truth(examples, split, latents, others, model)


def test_references_name_their_subject(subject):
    truth, _, _, references = score_subject(*subject)
    settings = {"n_bootstrap": 100, "seed": 0}
    document = references_document(references, truth, "subj01", settings=settings)
    assert document.about["subject"] == "subj01"


@pytest.mark.parametrize("side", [16, 24, 40, 128])
def test_sharp_pictures_of_any_size_are_their_own_truth(rng, side):
    large = rng.integers(0, 2, (3, 17, 17, 3), dtype=np.uint8).repeat(25, 1).repeat(25, 2) * 255
    large[2] = (np.arange(425) % 12 < 6)[:, None] * np.uint8(255)
    small = np.stack(
        [
            np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC))
            for one in large
        ]
    )
    _check_same_pictures(np.arange(3), large, small)
    with pytest.raises(MismatchError, match="the true picture of image 0 is not the picture"):
        _check_same_pictures(np.arange(3), large, small[::-1])

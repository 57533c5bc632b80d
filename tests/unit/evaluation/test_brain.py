from dataclasses import fields, replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.splits import Split
from fmri2img.evaluation.brain import regions_of, score_responses
from fmri2img.evaluation.encoding_fit import (
    ceiling_source,
    fit_encoding_model,
    score_encoding_model,
)
from fmri2img.evaluation.predictions import ALL_VOXELS
from fmri2img.evaluation.row_predictions import measure_responses
from fmri2img.project.config import FitEncodingModelParams
from fmri2img.project.files_0_1 import with_facts

N_IMAGES, N_VOXELS, N_REPETITIONS = 240, 11, 2
PARAMS = FitEncodingModelParams(
    penalties=[1.0, 10.0, 100.0], n_folds=3, min_noise_ceiling=10.0, seed=0
)


def make_examples(rng, latents, noise):
    """Two sessions with their own gain and offset; responses follow from latents."""
    weights = rng.normal(size=(latents[0].size, N_VOXELS)) / np.sqrt(latents[0].size)
    signal = latents.reshape(len(latents), -1) @ weights
    ids = np.repeat(np.arange(N_IMAGES), N_REPETITIONS)
    session = np.tile([3, 7], N_IMAGES).astype(np.int16)
    responses = signal[ids] + noise * rng.normal(size=(len(ids), N_VOXELS))
    responses = (
        responses * np.where(session == 3, 1, 2)[:, None] + np.where(session == 3, 0, 5)[:, None]
    )
    ncsnr = np.full(N_VOXELS, np.inf if noise == 0 else 1 / noise, dtype=np.float32)
    return Examples(
        voxel_ijk=np.zeros((N_VOXELS, 3), np.int16),
        roi_labels=np.array([1] * 4 + [2] * 7, np.int16),
        ncsnr=np.minimum(ncsnr, 1e3),
        training_ncsnr=np.full(N_VOXELS, np.nan, np.float32),
        in_brain=np.ones(N_VOXELS, bool),
        sessions=np.array([3, 7], np.int16),
        valid=np.ones((2, N_VOXELS), bool),
        saturated=np.zeros((2, N_VOXELS), np.int16),
        affine=np.eye(4),
        provenance=with_facts(
            {
                "roi_names": {"1": "V1v", "2": "hV4"},
                "subject": "subj01",
                "data_source": "simulated",
            }
        ),
        image_ids=np.arange(N_IMAGES),
        images=np.zeros((N_IMAGES, 8, 8, 3), np.uint8),
        is_shared=np.arange(N_IMAGES) >= 200,
        betas=np.rint(responses * 300).astype(np.int16),
        trial_image_ids=ids,
        trial_session=session,
    )


@pytest.fixture
def latents(rng):
    return Latents(
        np.arange(N_IMAGES),
        rng.normal(size=(N_IMAGES, 4, 2, 2)).astype(np.float32),
        np.zeros((N_IMAGES, 0, 1, 1), np.float32),
        provenance={},
    )


SPLIT = Split("shared", tuple(range(180)), tuple(range(180, 200)), tuple(range(200, N_IMAGES)))


def test_without_noise_everything_is_explained(rng, latents):
    examples = make_examples(rng, latents.values, noise=0)
    model = fit_encoding_model(examples, SPLIT, latents, PARAMS)
    found = score_encoding_model(model, examples, SPLIT, latents, min_noise_ceiling=10)
    assert set(found) == {ALL_VOXELS, "V1v", "hV4"}
    assert found["V1v"]["n_voxels"] == found["V1v"]["n_above"] == 4
    for region in found.values():
        assert region["r2"] > 97
        assert region["r2_normalized"] == pytest.approx(region["r2"], rel=1e-3)
        assert region["correlation"] > 0.98


def test_of_noisy_responses_the_model_explains_what_noise_allows(rng, latents):
    examples = make_examples(rng, latents.values, noise=1.5)
    model = fit_encoding_model(examples, SPLIT, latents, PARAMS)
    found = score_encoding_model(model, examples, SPLIT, latents, min_noise_ceiling=10)[ALL_VOXELS]
    assert found["noise_ceiling"] == pytest.approx(100 / (1 + 1.5**2 / 2), abs=0.1)
    assert 0.6 * found["noise_ceiling"] < found["r2"] < 1.2 * found["noise_ceiling"]
    assert found["r2_normalized"] == pytest.approx(
        100 * found["r2"] / found["noise_ceiling"], rel=1e-3
    )


def test_voxels_below_the_ceiling_leave_no_median(rng, latents):
    examples = make_examples(rng, latents.values, noise=9)
    model = fit_encoding_model(examples, SPLIT, latents, PARAMS)
    found = score_encoding_model(model, examples, SPLIT, latents, min_noise_ceiling=50)["hV4"]
    assert set(found) == {"n_voxels", "n_above", "noise_ceiling"}
    assert found["n_above"] == 0


def test_ridge_agrees_with_scikit_learn(rng, latents):
    examples = make_examples(rng, latents.values, noise=1)
    params = PARAMS.model_copy(update={"penalties": [10.0]})
    model = fit_encoding_model(examples, SPLIT, latents, params)
    features = latents.values[:180].reshape(180, -1)
    # z-scored within each session by its training trials, then averaged
    betas = examples.in_units(np.arange(360)).reshape(180, 2, N_VOXELS)
    responses = ((betas - betas.mean(axis=0)) / betas.std(axis=0, ddof=1)).mean(axis=1)
    expected = Ridge(alpha=10.0).fit(features, responses)
    np.testing.assert_allclose(model.weights, expected.coef_.T, atol=1e-4)
    test = latents.values[200:].reshape(40, -1)
    np.testing.assert_allclose(model.predict(test), expected.predict(test), atol=1e-4)


def test_the_model_is_the_same_bytes_whatever_test_trials_hold(rng, latents, tmp_path):
    examples = make_examples(rng, latents.values, noise=1)
    altered = examples.betas.copy()
    altered[examples.trials_of(SPLIT.ids("test"))] = 30_000
    other = Examples(
        **{
            **{item.name: getattr(examples, item.name) for item in fields(examples)},
            "betas": altered,
        }
    )
    for name, source in (("a", examples), ("b", other)):
        fit_encoding_model(source, SPLIT, latents, PARAMS).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_second_repetitions_are_those_of_images_shown_twice(rng, latents):
    examples = make_examples(rng, latents.values, noise=1)
    found = measure_responses(fit_encoding_model(examples, SPLIT, latents, PARAMS), examples, SPLIT)
    np.testing.assert_array_equal(found.image_ids, SPLIT.test)
    # alone, the second repetition was in session 7
    trials = examples.trials_of(SPLIT.ids("train"))
    reference = examples.in_units(trials[examples.trial_session[trials] == 7])
    seen = examples.in_units(examples.trials_of(SPLIT.ids("test"))[1::2])
    np.testing.assert_allclose(
        found.second, (seen - reference.mean(axis=0)) / reference.std(axis=0, ddof=1), atol=1e-4
    )


def test_responses_without_signal_are_not_predicted(rng, latents):
    """Encoder and encoding model share their training trials; on one showing they would find its
    noise again.
    """
    examples = make_examples(rng, 0 * latents.values, noise=1)  # noise alone
    responses = measure_responses(
        fit_encoding_model(examples, SPLIT, latents, PARAMS), examples, SPLIT
    )
    train, test = (examples.trials_of(SPLIT.ids(name)) for name in ("train", "test"))
    betas = np.repeat(np.arange(180), 2)
    decoder = Ridge(alpha=10.0).fit(
        examples.in_units(train), latents.values[betas].reshape(len(betas), -1)
    )
    first = decoder.predict(examples.in_units(test[::2])).astype(np.float32)
    found = score_responses(responses, {"model": first}, 200, 999, rng)[ALL_VOXELS]["model"]
    assert found["low"] < 0 < found["high"]
    assert found["p"] > 0.05


def test_true_pictures_predict_responses_and_others_do_not(rng, latents):
    examples = make_examples(rng, latents.values, noise=1)
    responses = measure_responses(
        fit_encoding_model(examples, SPLIT, latents, PARAMS), examples, SPLIT
    )
    truth = latents.of(SPLIT.ids("test")).reshape(40, -1)
    found = score_responses(
        responses,
        {"truth": truth, "model": truth, "shuffled": np.roll(truth, 1, axis=0)},
        200,
        999,
        rng,
    )
    assert set(found) == {ALL_VOXELS, "V1v", "hV4"}
    assert found[ALL_VOXELS]["truth"]["low"] > 0.4
    assert found[ALL_VOXELS]["model"]["p"] == found["V1v"]["model"]["p"] == 0.001
    assert "p" not in found[ALL_VOXELS]["truth"]
    assert abs(found[ALL_VOXELS]["shuffled"]["mean"]) < 0.2
    assert score_responses(replace(responses, image_ids=np.zeros(0, int)), {}, 200, 99, rng) == {}


def test_voxels_without_any_signal_count_in_no_median(rng, latents):
    examples = make_examples(rng, latents.values, noise=1)
    examples.ncsnr[:4] = 0
    model = fit_encoding_model(examples, SPLIT, latents, PARAMS)
    found = score_encoding_model(model, examples, SPLIT, latents, min_noise_ceiling=0)
    assert found["V1v"] == {"n_voxels": 4, "n_above": 0, "noise_ceiling": 0}
    assert found[ALL_VOXELS]["n_above"] == 7


def test_ceilings_come_from_images_that_are_not_shared_where_they_were_estimated(rng, latents):
    examples = make_examples(rng, latents.values, noise=1)
    model = fit_encoding_model(examples, SPLIT, latents, PARAMS)
    assert ceiling_source(examples).startswith("ncsnr shipped with the dataset")
    without = replace(examples, ncsnr=np.full_like(examples.ncsnr, np.nan))
    assert ceiling_source(without).startswith("ncsnr: there is none, neither shipped with the")
    examples.training_ncsnr[:] = 0.5
    assert ceiling_source(examples) == "ncsnr estimated on images that are not shared"
    found = score_encoding_model(model, examples, SPLIT, latents, min_noise_ceiling=10)
    assert found[ALL_VOXELS]["noise_ceiling"] == pytest.approx(100 * 0.25 / (0.25 + 0.5), abs=0.1)


def test_regions_hold_each_voxel_once_and_all_together(rng, latents):
    found = regions_of(make_examples(rng, latents.values, noise=1).roi_names)
    assert list(found) == [ALL_VOXELS, "V1v", "hV4"]
    np.testing.assert_array_equal(
        np.sort(np.concatenate([found["V1v"], found["hV4"]])), found[ALL_VOXELS]
    )

import numpy as np
import pandas as pd
import pytest

from fmri2img.evaluation.comparisons import (
    brain_differences,
    check_scored_alike,
    compared_metrics,
    corrected_p,
    effect_size,
    mean_over_subjects,
    paired_differences,
)
from fmri2img.evaluation.documents import latent_map_table, seed_spread
from fmri2img.evaluation.metrics_document import MetricsDocument, Score
from fmri2img.evaluation.table_rows import BRAIN_CORRELATION
from fmri2img.project.exceptions import MismatchError

METRICS = ("pixcorr", "ssim", "pattern_correlation", "two_way")


def test_differences_are_paired_by_image_not_by_row(rng):
    table = pd.DataFrame({metric: rng.random(40) for metric in METRICS})
    ridge = table.assign(image_id=np.arange(40))
    better = (table + 0.1).assign(image_id=np.arange(40)).iloc[::-1]
    found = paired_differences({"subj01": {"ridge": ridge, "other": better}}, n_resamples=999)
    assert [item["metric"] for item in found] == list(METRICS)
    for item in found:
        assert item["models"] == "other - ridge"
        assert item["mean"] == pytest.approx(0.1)
        assert item["interval"] == pytest.approx([0.1, 0.1])
        assert item["p"] == 0.001
        assert item["p_holm"] == 0.004


def test_a_long_list_takes_more_flips_so_that_it_can_tell(rng, monkeypatch):
    taken = []

    def count(difference, n_flips, rng):
        taken.append(n_flips)
        return 1.0

    monkeypatch.setattr("fmri2img.evaluation.comparisons.sign_flip_p", count)
    ridge = pd.DataFrame({metric: rng.random(9) for metric in METRICS}).assign(image_id=range(9))
    others = {f"model{number}": ridge for number in range(8)}
    paired_differences(
        {f"subj0{number}": {"ridge": ridge} | others for number in range(1, 9)}, n_resamples=99
    )
    assert set(taken) == {40 * 8 * 8 * len(METRICS)}


def test_ridge_alone_is_compared_with_nothing():
    assert (
        paired_differences({"subj01": {"ridge": pd.DataFrame({"image_id": [1], "pixcorr": [0.1]})}})
        == []
    )


def test_metrics_that_one_table_lacks_are_not_compared():
    assert compared_metrics(
        ["image_id", "pixcorr", "ssim", "two_way_clip"], ["pixcorr", "ssim"]
    ) == ["pixcorr", "ssim"]


def test_means_over_subjects_draw_an_image_for_all_subjects_at_once(rng):
    difficulty = rng.normal(size=200)  # what makes an image hard for everybody
    tables = {
        f"subj0{n}": pd.DataFrame({"image_id": np.arange(200), "pixcorr": difficulty + n})
        for n in (1, 2, 5)
    }
    found = mean_over_subjects(tables, "pixcorr", n_resamples=4000)
    assert found["mean"] == pytest.approx(difficulty.mean() + 8 / 3, abs=1e-6)
    assert list(found["subjects"]) == ["subj01", "subj02", "subj05"]
    half = (found["interval"][1] - found["interval"][0]) / 2
    # Not narrower for three subjects.
    assert half == pytest.approx(1.96 * difficulty.std() / np.sqrt(200), rel=0.1)


def test_an_image_that_one_subject_did_not_see_counts_for_the_others():
    tables = {
        "subj01": pd.DataFrame({"image_id": [3, 7], "ssim": [0.2, 0.4]}),
        "subj02": pd.DataFrame({"image_id": [7], "ssim": [0.9]}),
    }
    found = mean_over_subjects(tables, "ssim", n_resamples=50)
    assert found["subjects"] == {"subj01": 0.3, "subj02": 0.9}
    assert found["mean"] == pytest.approx(0.6)


def test_spread_over_seeds_is_that_of_a_sample():
    assert seed_spread([0.1, 0.2, 0.3]) == {"values": [0.1, 0.2, 0.3], "mean": 0.2, "sd": 0.1}


def test_latent_maps_name_channel_row_and_column():
    lines = latent_map_table(np.arange(2 * 3 * 4).reshape(2, 3, 4) / 10).splitlines()
    assert lines[0] == "channel,row,column,correlation"
    assert lines[-1] == "1,2,3,2.300000"
    assert len(lines) == 25


def test_scores_by_other_weights_are_not_put_side_by_side():
    about = {
        "versions": {},
        "weights": {"a.pth": "11"},
        "preset": "mindeye",
        "networks": [],
        "data_source": "nsd",
        "test_set": "shared",
    }
    ours = MetricsDocument(about, {})
    check_scored_alike({"subj01/ridge": ours, "subj02/ridge": MetricsDocument(dict(about), {})})
    with pytest.raises(
        MismatchError,
        match=r"subj02/ridge and subj01/ridge were scored with different weights: .*; run: dvc "
        r"repro --force",
    ):
        check_scored_alike(
            {
                "subj01/ridge": ours,
                "subj02/ridge": MetricsDocument(about | {"weights": {"a.pth": "22"}}, {}),
            }
        )


def test_p_of_all_encoders_is_corrected_together():
    documents = {
        "subj01/ridge": MetricsDocument({}, {}, p_values={"pixcorr": 0.01, "ssim": 0.04}),
        "subj02/ridge": MetricsDocument({}, {}, p_values={"pixcorr": 0.02}),
    }
    found = corrected_p(documents)
    assert found == {
        "subj01/ridge": {"pixcorr": 0.03, "ssim": 0.04},
        "subj02/ridge": {"pixcorr": 0.04},
    }


def test_names_for_mlflow_are_those_it_takes():
    document = MetricsDocument(
        about={},
        rows={
            "model": {"pixcorr": Score(0.5, 0.4, 0.6)},
            "grey": {"pixcorr": Score(0.0)},
            "shuffled": {"pixcorr": Score(0.1)},
        },
        repetitions={"2": {"two_way": 0.7}},
        seeds={"pixcorr": {"sd": 0.01}},
        brain={
            region: {"model": {"mean": 0.2, "low": 0.1, "high": 0.3}}
            for region in ("all voxels", "V1 (fovea)")
        },
    )
    assert document.flat({"all voxels": {"r2": 3.0}, "V1 (fovea)": {"r2": 4.0}}) == {
        "test/pixcorr": 0.5,
        "floor/pixcorr": 0.1,
        "floor_grey/pixcorr": 0.0,
        "floor_shuffled/pixcorr": 0.1,
        "repetitions_2/two_way": 0.7,
        "seeds_sd/pixcorr": 0.01,
        "interval/pixcorr_low": 0.4,
        "interval/pixcorr_high": 0.6,
        "brain/model": 0.2,
        "encoding/r2": 3.0,
    }


def test_predicted_responses_are_compared_on_images_that_were_shown_again(rng):
    brain = np.where(np.arange(40) < 30, rng.random(40), np.nan)
    ridge = pd.DataFrame({"image_id": np.arange(40), BRAIN_CORRELATION: brain})
    worse = ridge.assign(**{BRAIN_CORRELATION: brain - rng.uniform(0.05, 0.15, 40)})
    tables = {"subj01": {"ridge": ridge, "other": worse}}
    (found,) = brain_differences(tables, n_resamples=999)
    assert (found["models"], found["metric"]) == ("other - ridge", BRAIN_CORRELATION)
    assert found["mean"] == pytest.approx(np.nanmean(worse[BRAIN_CORRELATION] - brain), abs=1e-6)
    assert found["interval"][1] < 0
    assert found["effect"] < -1
    assert found["p"] == found["p_holm"] == 0.001
    without = {"subj01": {"ridge": ridge.drop(columns=BRAIN_CORRELATION), "other": worse}}
    assert brain_differences(without) == []  # of an earlier version


def test_the_size_of_an_effect_is_in_units_of_its_spread():
    assert effect_size(np.array([1.0, 2.0, 3.0])) == 2.0
    assert effect_size(np.full(7, 0.1)) == 0.0  # whose SD is not 0 after rounding
    assert effect_size(np.array([1.0])) == 0.0

import numpy as np
import pandas as pd
import pytest

from fmri2img.evaluation.report import paired_differences

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


def test_ridge_alone_is_compared_with_nothing():
    assert paired_differences({"subj01": {"ridge": pd.DataFrame({"image_id": [1], "pixcorr": [0.1]})}}) == []

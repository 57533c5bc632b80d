import json
from pathlib import Path

import pytest

from fmri2img.evaluation.metrics_document import MetricsDocument, Score, floor_of
from fmri2img.project.exceptions import FormatError

SOURCE = Path("reports/metrics/subj01/ridge.json")
DOCUMENT = MetricsDocument(
    about={"n_test_images": 7, "subject": "subj01"},
    rows={
        "model": {"pixcorr": Score(0.41, 0.3, 0.5), "dimension_correlation": Score(0.2)},
        "grey": {"pixcorr": Score(0.0), "effnet_lite0_distance": Score(0.7)},
        "shuffled": {"pixcorr": Score(0.1), "effnet_lite0_distance": Score(0.9)},
        "nearest_train": {"pixcorr": Score(0.9)},
    },
    absent={"two_way_clip": "not asked for"},
    p_values={"pixcorr": 0.004},
    latent={"slope": 1.25},
    retrieval={"raw": {"top": 0.5}, "centred": {"top": 0.25}},
    repetitions={"2": {"n_images": 3.0}},
    seeds={"pixcorr": {"values": [0.1, 0.2], "mean": 0.15, "sd": 0.07}},
    brain={"V1": {"model": {"mean": 0.5}}},
    halves={"z": {"two_way": 0.75}},
    samples={"clip": {"score": 0.5}},
    notes=("Simulated data.",),
)


def test_what_is_written_is_read_again():
    stored = json.loads(json.dumps(DOCUMENT.to_json(), sort_keys=True))
    assert MetricsDocument.from_json(stored, SOURCE) == DOCUMENT
    assert stored["version"] == 2
    assert stored["families"]["permutation"]["n"] == 1


def test_numbers_have_six_digits():
    document = MetricsDocument({}, {"model": {"ssim": Score(1 / 3, 0.1234567, 2 / 3)}})
    assert document.to_json()["rows"]["model"]["ssim"] == {
        "value": 0.333333,
        "low": 0.123457,
        "high": 0.666667,
    }


def test_the_floor_is_the_best_that_knows_no_test_trial():
    floor = DOCUMENT.floor("pixcorr")
    assert (floor.row, floor.value) == ("shuffled", 0.1)  # the nearest training image is no floor
    less_is_better = DOCUMENT.floor("effnet_lite0_distance")
    assert (less_is_better.row, less_is_better.value) == ("grey", 0.7)
    assert DOCUMENT.floor("dimension_correlation") is None
    assert floor_of("ssim", {"train_mean": {"ssim": 0.4}, "grey": {"ssim": 0.3}}).value == 0.4


@pytest.mark.parametrize(
    ("version", "line"),
    [
        ({}, f"{SOURCE} is a metrics document of version 1, expected 2; run: fmri2img migrate-"),
        ({"version": 3}, "of version 3, expected 2; use the version of fmri2img that wrote it"),
    ],
    ids=["older", "newer"],
)
def test_documents_of_other_versions(version, line):
    with pytest.raises(FormatError, match=line):
        MetricsDocument.from_json({"test": {"pixcorr": 0.4}} | version, SOURCE)

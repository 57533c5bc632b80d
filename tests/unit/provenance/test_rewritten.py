import json

import pytest

import fmri2img.provenance.rewritten as rewritten
from conftest import REPOSITORY
from fmri2img.provenance.rewritten import (
    current_fingerprints,
    earlier_models,
    fingerprint_md5,
    same_results,
)

LESS = "read_betas 1 1\n"
WAS, OTHER, NOW = "read_betas 1 2\n", "read_betas 5 2\n", "read_session 3 4\n"


def md5s(*texts):
    return [fingerprint_md5(text) for text in texts]


@pytest.fixture
def known(monkeypatch):
    entry = {
        "now": fingerprint_md5(NOW),
        "earlier": {fingerprint_md5(WAS): "0.1"},
        "rounded": {fingerprint_md5(OTHER): "0.2"},
        "extended": {fingerprint_md5(LESS): "0.3"},
    }
    monkeypatch.setattr(rewritten, "_entries", lambda: {"extract_betas": entry})


def test_rewritten_code_is_known_by_both_fingerprints(known):
    assert same_results("extract_betas", *md5s(WAS, NOW)) == (
        "rewritten since version 0.1 with bit-identical golden results"
    )
    assert same_results("extract_betas", *md5s(OTHER, NOW)) == (
        "rearranged since version 0.2, with golden results equal except for rounding; results lack "
        "what is new (CHANGELOG.md) until it runs again"
    )
    said = same_results("extract_betas", *md5s(LESS, NOW))
    assert said.startswith("extended since version 0.3")
    assert "until it runs again" in said


@pytest.mark.parametrize(
    ("name", "was", "now"),
    [
        pytest.param("extract_betas", WAS, NOW + "new 5 6\n", id="edited since"),
        pytest.param("extract_betas", WAS + "x 7 8\n", NOW, id="other code before"),
        pytest.param("train/ridge", WAS, NOW, id="another stage"),
    ],
)
def test_any_other_code_is_not_equivalent(known, name, was, now):
    assert same_results(name, *md5s(was, now)) == ""


def test_the_file_names_stages_and_versions():
    path = REPOSITORY / "src/fmri2img/provenance" / rewritten.NAME
    entries = json.loads(path.read_text())
    assert {"extract_betas/nsd", "extract_betas/simulated", "train/bayes_independent"} <= set(
        entries
    )
    for entry in entries.values():
        assert len(entry["now"]) == 32
        assert {*entry["earlier"].values(), *entry["rounded"].values()} <= {"0.1", "0.2", "0.3"}
        kinds = [entry.get(kind, {}) for kind in ("earlier", "rounded", "extended")]
        assert sum(map(len, kinds)) == len({md5 for kind in kinds for md5 in kind})


@pytest.mark.parametrize(
    ("earlier", "current"),
    [
        ("fetch_nsd", ["fetch_raw/nsd", "fetch_raw/simulated"]),
        ("extract_betas", ["extract_betas/nsd", "extract_betas/simulated"]),
        ("make_targets/takagi", ["make_targets/nsd", "make_targets/simulated"]),
        ("make_targets/ridge", []),
        ("extract_betas/folder", []),
        ("train/default", ["train/bayes_independent"]),
        ("evaluate", ["evaluate"]),
    ],
)
def test_an_earlier_fingerprint_is_that_of_both_datasets_that_there_were(earlier, current):
    assert (
        current_fingerprints(earlier, earlier_models(["src/fmri2img/models/bayes.py"])) == current
    )


def test_todays_bayes_is_not_an_earlier_one():
    files = ["fmri2img/models/bayes.py", "fmri2img/models/bayes_independent.py"]
    assert current_fingerprints("train/bayes", earlier_models(files)) == ["train/bayes"]

import json

import pytest

from commands import fmri2img, without_code


@pytest.fixture
def project(tmp_path):
    def run(score, champion):
        means = {"model": {"pixcorr": score}, "grey": {"pixcorr": 0.1}}
        return {"champion": champion, "means": means}

    runs = {
        "subj01/ridge": run(0.5, False),
        "subj01/bayes": run(0.6, True),
        "subj02/ridge": run(0.4, True),
    }
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/comparison.json").write_text(
        json.dumps({"data_source": "simulated", "runs": runs})
    )
    return tmp_path


def test_scores_stand_beside_their_floors(project):
    assert fmri2img(project, "metrics").stdout.splitlines() == [
        "test images           PixCorr",
        "subj01/ridge    0.500 (0.100)",
        "subj01/bayes *  0.600 (0.100)",
        "subj02/ridge *  0.400 (0.100)",
        "",
        "* champion, chosen on validation images.",
        "In brackets, the floor: the best score of a prediction that knows nothing of the image.",
        "SIMULATED DATA: painted scenes and a simulated brain; not results about real brains.",
    ]


def test_of_one_subject(project):
    told = fmri2img(project, "metrics", "subj02").stdout
    assert "subj02/ridge *  0.400 (0.100)" in told
    assert "subj01" not in told


def test_an_unknown_subject_is_one_line(project):
    result = fmri2img(project, "metrics", "subj03", check=False)
    assert result.returncode == 1
    assert without_code(result.stderr) == (
        "error: subj03: no such subject in reports/comparison.json; choose from: subj01, subj02\n"
    )


@pytest.mark.parametrize(
    "run",
    [
        3,
        {"champion": True},
        {"champion": "yes", "means": {"model": {}}},
        {"champion": True, "means": {"model": {"pixcorr": "high"}}},
        {"champion": True, "means": {"grey": {}}},
    ],
)
def test_a_comparison_of_another_form_is_one_line(project, run):
    path = project / "reports/comparison.json"
    runs = json.loads(path.read_text())["runs"] | {"subj01/bayes": run}
    path.write_text(json.dumps({"data_source": "simulated", "runs": runs}))
    result = fmri2img(project, "metrics", check=False)
    assert result.returncode == 1
    assert without_code(result.stderr) == (
        "error: reports/comparison.json: runs: subj01/bayes: expected means of rows and champion; "
        "run: fmri2img repro\n"
    )


def test_a_worse_score_is_marked(project):
    path = project / "reports/comparison.json"
    document = json.loads(path.read_text())
    for name, outcome in (("subj01/bayes", "worse"), ("subj01/ridge", "")):
        document["runs"][name]["against_ridge"] = {"pixcorr": outcome} if outcome else {}
    path.write_text(json.dumps(document))
    told = fmri2img(project, "metrics").stdout
    assert "subj01/bayes *  0.600▼ (0.100)" in told
    assert "subj01/ridge    0.500  (0.100)" in told
    assert "▼ worse than ridge" in told


def test_without_a_comparison_the_remedy_is_told(tmp_path):
    result = fmri2img(tmp_path, "metrics", check=False)
    assert result.returncode == 1
    assert (
        without_code(result.stderr)
        == "error: reports/comparison.json not found; run: fmri2img repro\n"
    )

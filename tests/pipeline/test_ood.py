"""A further test set in a finished project: what runs, what every table says, and what stays."""

import json
from dataclasses import replace

import mlflow
import numpy as np
import pytest

from fmri2img.containers.examples import Examples
from fmri2img.containers.true_pictures import TruePictures
from miniature import SUBJECT, changed_params, clone
from pipeline.projects import run
from pipeline.test_sharing import RAN

TEST, N_IMAGES = "nsdsynthetic", 6
MODELS = ("ridge", "basic_ae")
STAGES = {
    f"fetch_ood@{SUBJECT}-{TEST}",
    f"read_ood@{SUBJECT}-{TEST}",
    *(f"evaluate_ood@{SUBJECT}-{model}-{TEST}" for model in MODELS),
    "compare",
}


def write_test_set(project):
    """Put a few images of the main experiment in the place of a further test set."""
    known = Examples.open(project / f"data/examples/{SUBJECT}.h5", remedy="")
    truth = TruePictures.open(project / f"data/truth/{SUBJECT}.h5", remedy="")
    ids = truth.image_ids[:N_IMAGES]
    trials, rows = known.trials_of(ids), known.rows_of(ids)
    folder = project / "data/ood" / SUBJECT
    folder.mkdir(parents=True)
    replace(
        known,
        image_ids=ids,
        images=known.images[rows],
        is_shared=known.is_shared[rows],
        betas=known.betas[trials],
        trial_image_ids=known.trial_image_ids[trials],
        trial_session=known.trial_session[trials],
        provenance=known.provenance | {"ood": TEST, "left_out": 3},
    ).save(folder / f"{TEST}.h5")
    replace(truth, image_ids=ids, images=truth.of(ids)).save(folder / f"{TEST}_pictures.h5")


@pytest.fixture(scope="module")
def scored(pair_template, tmp_path_factory):
    """The project with a small test set in the place of NSD-synthetic, scored and compared."""
    project = clone(pair_template, tmp_path_factory.mktemp("ood") / "project")
    with changed_params(project) as params:
        params["ood"] = [TEST]
    write_test_set(project)
    for model in MODELS:
        names = ("--subject", SUBJECT, "--model", model, "--test", TEST)
        run(project, "python", "-m", "stages.evaluate_ood", *names)
    run(project, "python", "-m", "stages.compare")
    return project


def document_of(project, model):
    return json.loads((project / f"reports/ood/{SUBJECT}/{model}/{TEST}.json").read_text())


def test_scores_stand_in_every_table_with_their_floors(scored):
    comparison = json.loads((scored / "reports/comparison.json").read_text())["runs"]
    for model in MODELS:
        document = document_of(scored, model)
        about = document["about"]
        assert (about["n_test_images"], about["n_left_out"]) == (N_IMAGES, 3)
        assert any("Simulated data" in note for note in document["notes"])
        score = document["rows"]["model"]["pattern_correlation"]
        assert score["low"] < score["value"] < score["high"]
        floors = {"grey", "train_mean", "mean_latent", "shuffled", "vae_ceiling"}
        assert floors <= set(document["rows"])
        shown = comparison[f"{SUBJECT}/{model}"]["ood"][TEST]
        assert shown["means"]["model"]["pattern_correlation"] == score["value"]
        for page in ("index.html", "comparison.html", "comparison.md"):
            text = (scored / "reports" / page).read_text()
            assert TEST in text
            assert f"{score['value']:.3f}" in text
    assert f"{TEST} (other images)" in run(scored, "fmri2img", "metrics").stdout


def test_a_score_is_that_of_the_same_images_in_the_main_experiment(scored):
    """Means over the same images, of the same predictions, by the same metrics."""
    table = np.genfromtxt(
        scored / f"reports/scores/{SUBJECT}/ridge.csv", delimiter=",", names=True, encoding="utf-8"
    )
    rows = document_of(scored, "ridge")["rows"]
    for metric in ("pattern_correlation", "pixcorr", "ssim"):
        expected = table[metric][:N_IMAGES].mean()
        assert rows["model"][metric]["value"] == pytest.approx(expected, abs=2e-5)


def test_scores_are_in_the_encoders_run_and_those_of_other_weights_are_not(scored, tmp_path):
    def metrics_of(project):
        client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
        (version,) = client.search_model_versions(f"name = 'fmri2img-ridge-{SUBJECT}'")
        return client.get_run(version.run_id).data

    score = document_of(scored, "ridge")["rows"]["model"]["pattern_correlation"]["value"]
    data = metrics_of(scored)
    assert data.metrics[f"{TEST}/pattern_correlation"] == pytest.approx(score, abs=1e-6)
    assert f"{TEST}/floor_pattern_correlation" in data.metrics
    assert data.tags["data.dataset"] == "simulated Natural Scenes Dataset"
    project = clone(scored, tmp_path / "project")
    path = project / f"reports/ood/{SUBJECT}/ridge/{TEST}.json"
    document = document_of(project, "ridge")
    document["about"]["model_md5"] = "0" * 32
    document["rows"]["model"]["pattern_correlation"]["value"] = 0.99
    path.unlink()
    path.write_text(json.dumps(document))
    run(project, "fmri2img", "track")
    assert metrics_of(project).metrics == data.metrics


def test_the_foot_of_every_page_names_the_data(scored):
    pages = (f"runs/{SUBJECT}/ridge.html", f"gallery/{SUBJECT}/ridge.html")
    for page in ("index.html", "comparison.html", *pages):
        assert "Data: simulated Natural Scenes Dataset." in (scored / "reports" / page).read_text()


def test_a_mistake_in_the_tables_stands_first(scored, tmp_path):
    project = clone(scored, tmp_path / "project")
    path = project / f"reports/alignment/{SUBJECT}.json"
    alignment = json.loads(path.read_text())
    assert alignment["fault"] == ""
    assert alignment["matches"][0]["pictures"] == "as given"
    path.unlink()
    path.write_text(
        json.dumps(alignment | {"fault": "the tables of sessions 3 and 7 are exchanged"})
    )
    run(project, "python", "-m", "stages.compare")
    sentences = json.loads((project / "reports/comparison.json").read_text())["verdict"]
    assert sentences[0].startswith(f"{SUBJECT}: the tables of sessions 3 and 7 are exchanged; ")
    assert sentences[0].endswith(f"run: fmri2img check-alignment {SUBJECT}")


def test_a_test_set_that_there_is_not_is_one_line(scored, tmp_path):
    project = clone(scored, tmp_path / "project")
    with changed_params(project) as params:
        params["ood"] = ["nsdsyntetic"]
    result = run(project, "fmri2img", "check", check=False)
    assert result.returncode == 1
    assert "has no test set 'nsdsyntetic' (did you mean nsdsynthetic?)" in result.stderr


@pytest.mark.slow
def test_only_its_own_stages_run_and_taken_out_again_only_the_comparison(pair_template, tmp_path):
    project = clone(pair_template, tmp_path / "project")
    with changed_params(project) as params:
        params["ood"] = [TEST]
    assert set(RAN.findall(run(project, "dvc", "repro").stdout)) == STAGES
    assert run(project, "fmri2img", "why").stdout.endswith("stages are up to date\n")
    about = document_of(project, "ridge")["about"]
    assert (about["n_test_images"], about["repetitions"]) == (284, [2, 10])
    with changed_params(project) as params:
        params["ood"] = []
    assert set(RAN.findall(run(project, "dvc", "repro").stdout)) == {"compare"}
    assert TEST not in (project / "reports/index.html").read_text()

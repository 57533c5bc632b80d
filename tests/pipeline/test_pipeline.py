"""The whole graph as a user runs it: ``dvc repro`` in a project of its own, on a miniature
experiment.
"""

import json
import re

import mlflow
import numpy as np
import pytest
import yaml

import miniature
from commands import without_code
from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.splits import Split
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.evaluation.table_rows import ROWS
from fmri2img.provenance import rewritten
from fmri2img.provenance.rewritten import fingerprint_md5
from miniature import MODELS, PAIR, SUBJECT, clone, copy_project
from pipeline.projects import repro, run


def test_nothing_is_left_to_do(project):
    assert "Data and pipelines are up to date." in run(project, "dvc", "repro").stdout


def test_every_container_says_that_it_is_simulated(project):
    paths = {
        "voxels": TrialBetas,
        "examples": Examples,
        "latents": Latents,
        "reconstructions": Reconstructions,
    }
    for folder, kind in paths.items():
        name = "subj02/ridge.h5" if folder == "reconstructions" else "subj02.h5"
        assert (
            kind.open(project / "data" / folder / name, remedy="").provenance["data_source"]
            == "simulated"
        )
    assert "Simulated data" in (project / "reports/gallery/subj02/basic_ae.html").read_text()
    assert "**Simulated data.**" in (project / "reports/comparison.md").read_text()


def test_split_is_by_image(project):
    split = Split.open(project / "data/splits/subj02.json", remedy="")
    examples = Examples.open(project / "data/examples/subj02.h5", remedy="")
    assert {*split.test, *split.train, *split.validation} == set(examples.image_ids)
    assert not set(split.test) & (set(split.train) | set(split.validation))


def test_reconstructions_are_joined_by_id(project):
    found = Reconstructions.open(project / "data/reconstructions/subj02/ridge.h5", remedy="")
    split = Split.open(project / "data/splits/subj02.json", remedy="")
    np.testing.assert_array_equal(found.image_ids[found.rows("test")], split.test)
    assert set(found.image_ids[found.rows("train")]) <= set(split.train)


def test_metrics_hold_floors_ceiling_and_what_they_depend_on(project):
    document = json.loads((project / "reports/metrics/subj02/ridge.json").read_text())
    assert set(document) == {
        "version",
        "about",
        "notes",
        "rows",
        "families",
        "absent",
        "latent",
        "retrieval",
        "repetitions",
        "seeds",
        "brain",
        "halves",
        "identification_by_samples",
    }
    rows = document["rows"]
    assert set(rows) == set(ROWS) - {"z_only", "c_only"}
    numbers = [
        {metric: score["value"] for metric, score in rows[row].items()}
        for row in ("ridge", "model")
    ]
    assert numbers[0] == numbers[1]
    assert document["about"]["truth_pixels"] == [425, 425]
    assert rows["vae_ceiling"]["pattern_correlation"]["value"] == pytest.approx(1)
    assert rows["vae_ceiling"]["two_way"]["value"] == 1
    assert all("low" in scores["pixcorr"] for scores in rows.values())
    assert document["notes"] == [
        "Simulated data: these numbers come from a simulated brain.",
        "Few images behind the curve over repetitions (3): it is unreliable.",
    ]
    about = document["about"]
    assert about["data_source"] == "simulated"
    fields = {
        "preset",
        "versions",
        "weights",
        "test_set",
        "test_ids_sha256",
        "subject",
        "repetitions",
        "reconstructions_per_image",
        "seed",
    }
    assert fields <= set(about)
    assert "two_way_effnet_lite0" in rows["model"]
    assert document["absent"]["two_way_clip"] == "not asked for"
    assert "two_way_clip" not in rows["model"]


def test_spread_over_seeds_and_the_brains_side_are_there(project):
    ridge, network = (
        json.loads((project / f"reports/metrics/subj02/{name}.json").read_text())
        for name in ("ridge", "basic_ae")
    )
    assert ridge["seeds"] == {}  # in closed form
    assert len(network["seeds"]["pixcorr"]["values"]) == 2
    assert network["seeds"]["pixcorr"]["values"][0] == pytest.approx(
        network["rows"]["model"]["pixcorr"]["value"], abs=1e-6
    )
    regions = json.loads((project / "reports/encoding/subj02.json").read_text())["regions"]
    assert set(regions) == set(ridge["brain"])
    assert 0 < regions["all voxels"]["noise_ceiling"] < 100


def test_plots_are_shown_without_a_network(project, tmp_path):
    run(project, "dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    page = (tmp_path / "plots/index.html").read_text()
    assert re.findall(r'<img[^>]* src="([^"]+)"', page)
    assert not re.search(r"<script[^>]*src=|https?://", page)
    maps = (project / "reports/latent_maps/subj02/ridge.csv").read_text().splitlines()
    assert len(maps) == 1 + 4 * 16 * 16


def test_scoring_again_gives_the_same_bits(project):
    paths = [
        project / f"reports/{folder}/subj02/ridge.{ending}"
        for folder, ending in (("metrics", "json"), ("scores", "csv"), ("runs", "html"))
    ]
    before = [path.read_bytes() for path in paths]
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{project}/other.db"}
    run(
        project,
        "python",
        "-m",
        "stages.evaluate",
        "--subject",
        "subj02",
        "--model",
        "ridge",
        **store,
    )
    assert before == [path.read_bytes() for path in paths]


def test_runs_models_and_pictures_are_in_mlflow(project):
    client = mlflow.MlflowClient(
        tracking_uri=f"sqlite:///{project}/mlflow.db", registry_uri=f"sqlite:///{project}/mlflow.db"
    )
    experiment = client.get_experiment_by_name("fmri2img")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    # Of the three that the project had before, too.
    assert set(runs) == {f"{SUBJECT}-{model}" for model in MODELS}
    runs = {name: run for name, run in runs.items() if name.partition("-")[2] in PAIR}
    names = [set(run.data.metrics) for run in runs.values()]
    # What only one kind of training has: its facts, a curve, and a spread over seeds.
    assert {name.partition("/")[0] for name in names[0] ^ names[1]} == {
        *("training", "curve", "seeds_sd")
    }
    assert {
        "test/pixcorr",
        "floor_grey/ssim",
        "ceiling/pixcorr",
        "validation/pattern_correlation",
    } <= names[0]
    keys = [
        {item.path.split("+")[0] for item in client.list_artifacts(run.info.run_id, "images")}
        for run in runs.values()
    ]
    assert keys[0] == keys[1] != set()
    shown = Split.open(project / "data/splits/subj02.json", remedy="").test[:8]
    assert {key.split("/")[1] for key in keys[0]} == {f"pictures~{image:05d}" for image in shown}
    view = json.loads(json.loads(experiment.tags["mlflow.sharedViewState.scores"])["state"])
    assert {
        chart["metricKey"] for chart in view["compareRunCharts"] if chart["type"] != "IMAGE"
    } <= names[0] | names[1]
    (grid,) = [chart for chart in view["compareRunCharts"] if chart["type"] == "IMAGE"]
    assert set(grid["imageKeys"]) == {
        key.removeprefix("images/").replace("~", "/") for key in keys[0]
    }
    assert all(
        "report.html" in {item.path for item in client.list_artifacts(run.info.run_id)}
        for run in runs.values()
    )
    lock = yaml.safe_load((project / "dvc.lock").read_text())["stages"]["train@subj02-ridge"]
    weights = next(out["md5"] for out in lock["outs"] if out["path"].endswith("model.safetensors"))
    assert runs["subj02-ridge"].data.tags["dvc.model_md5"] == weights
    described = client.get_model_version("fmri2img-ridge-subj02", "1").description
    scores = json.loads((project / "reports/metrics/subj02/ridge.json").read_text())
    score = scores["rows"]["model"]["pixcorr"]
    low, high = score["low"], score["high"]
    assert f"{scores['about']['n_test_images']} images" in described
    assert f"PixCorr {score['value']:.3f} [{low:.3f}, {high:.3f}] (floor " in described
    champions = [
        name
        for name in MODELS
        if "champion" in client.get_registered_model(f"fmri2img-{name}-subj02").aliases
    ]
    assert len(champions) == 1
    validation = {
        name: json.loads((project / f"reports/training/subj02/{name}.json").read_text())
        for name in PAIR
    }
    scores = {
        name: trained["validation/pattern_correlation"] for name, trained in validation.items()
    }
    comparison = json.loads((project / "reports/comparison.json").read_text())["runs"]
    assert [name for name in PAIR if comparison[f"subj02/{name}"]["champion"]] == [
        max(scores, key=scores.get)
    ]


def test_an_edit_reruns_only_what_it_touches(project):
    params = project / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("n_train_images: 2", "n_train_images: 3"))
    try:
        status = json.loads(run(project, "dvc", "status", "--json").stdout)
    finally:
        params.write_text(text)
    assert {name.split("@")[0] for name in status} == {"predict"}


def test_a_missing_raw_file_stops_extraction_and_keeps_earlier_results(project):
    raw = next((project / "data/raw").rglob("betas_session20.hdf5"))
    hidden = raw.with_suffix(".hidden")
    raw.rename(hidden)
    before = (project / "data/voxels/subj02.h5").read_bytes()
    try:
        result = run(
            project, "python", "-m", "stages.extract_betas", "--subject", "subj02", check=False
        )
    finally:
        hidden.rename(raw)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "betas_session20.hdf5 not found" in result.stderr
    assert (
        without_code(result.stderr)
        .rstrip()
        .endswith("fetch it again: dvc repro --force --single-item fetch_raw@subj02")
    )
    assert (project / "data/voxels/subj02.h5").read_bytes() == before


def test_a_stage_that_fails_in_dvc_costs_no_earlier_output(project):
    params = project / "params.yaml"
    text = params.read_text()
    before = {
        path: path.read_bytes()
        for path in (project / "data/rois").iterdir()
        if path.suffix in (".gz", ".json")
    }
    params.write_text(text.replace("roi: streams", "roi: V1"))
    try:
        result = run(project, "dvc", "repro", "convert_roi", check=False)
    finally:
        params.write_text(text)
    assert result.returncode != 0
    assert (
        "there is no ROI 'V1' in the anatomical space of subj02, and no rois/subj02/V1.nii.gz; "
        "choose from: " in result.stderr
    )
    assert before == {path: path.read_bytes() for path in before}
    assert len(before) == 2


def test_the_split_of_somebody_else_stops_the_reconstruction(pair_template, tmp_path):
    project = clone(pair_template, tmp_path / "project")
    path = project / f"data/splits/{SUBJECT}.json"
    split = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps(split | {"test": [image_id + 1 for image_id in split["test"]]}))
    made = project / f"data/reconstructions/{SUBJECT}/ridge.h5"
    before = made.stat().st_ino
    names = ("--subject", SUBJECT, "--model", "ridge")
    result = run(project, "python", "-m", "stages.predict", *names, check=False)
    assert result.returncode == 1
    assert "is not among the examples" in result.stderr
    assert made.stat().st_ino == before


def test_results_of_known_code_are_kept_without_that_code(copied, monkeypatch):
    """As in a fresh clone, whose git history does not take fingerprints as today's code does."""
    lock, earlier = copied / "dvc.lock", "a" * 32
    current = fingerprint_md5((copied / "data/fingerprints/split_examples.txt").read_text())
    lock.write_text(lock.read_text().replace(current, earlier))
    told = run(copied, "fmri2img", "why", "split_examples").stdout
    assert "in neither DVC's cache nor git" in told
    entry = {"now": current, "earlier": {earlier: "0.2"}, "rounded": {}}
    monkeypatch.setattr(rewritten, "_entries", lambda: {"split_examples": entry})
    told = run(copied, "fmri2img", "accept").stdout
    assert "kept split_examples@subj02: its code was rewritten since version 0.2 with bit" in told
    assert earlier not in lock.read_text()


def test_files_of_somebody_else_are_made_again(copied):
    """Those that name no subject: DVC knows their bytes."""
    names = ["rois/subj02.json", "rois/subj02.nii.gz", "truth/subj02.h5", "prior/subj02.h5"]
    expected = {name: (copied / "data" / name).read_bytes() for name in names}
    for name in names:
        (copied / "data" / name).unlink()  # it is a link to another project's
        (copied / "data" / name).write_bytes(expected[name] + b" ")
    run(copied, "dvc", "repro", "convert_roi", "collect_truth", "collect_prior")
    for name in names:
        assert (copied / "data" / name).read_bytes() == expected[name], name


def test_a_store_without_runs_gets_them_again_from_the_files(project):
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{project}/fresh.db"}
    run(
        project,
        "python",
        "-m",
        "stages.evaluate",
        "--subject",
        "subj02",
        "--model",
        "ridge",
        **store,
    )
    client = mlflow.MlflowClient(
        tracking_uri=store["MLFLOW_TRACKING_URI"], registry_uri=store["MLFLOW_TRACKING_URI"]
    )
    (restored,) = client.search_runs([client.get_experiment_by_name("fmri2img").experiment_id])
    assert restored.data.tags["restored"] == "true"
    assert "test/pixcorr" in restored.data.metrics
    # The stage that compares leaves no encoder without a run, those whose training came from DVC's
    # cache included.
    run(project, "python", "-m", "stages.compare", **store)
    runs = client.search_runs([restored.info.experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["subj02-basic_ae", "subj02-ridge"]
    assert (
        len(
            [
                model
                for model in client.search_registered_models()
                if "champion" in client.get_registered_model(model.name).aliases
            ]
        )
        == 1
    )


def outs(project):
    stages = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


@pytest.mark.slow
def test_two_clean_runs_give_the_same_bytes_and_metrics(template, tmp_path):
    """The finished project was made in one process, this one by DVC and a process for each
    stage.
    """
    again = copy_project(template, tmp_path / "again")
    repro(again, by=miniature.run)
    assert outs(template) == outs(again)

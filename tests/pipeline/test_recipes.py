"""The recipes of CONTRIBUTING.md, followed word for word in throw-away projects."""

import importlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml

import miniature
from commands import dvc, run_script
from conftest import REPOSITORY
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.evaluation.metrics import catalogue
from miniature import changed_params, clone, keep_only_fingerprints

_RECIPE = re.compile(r"^### (.+?)\n(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
RECIPES = dict(_RECIPE.findall((REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")))
# Packages in which a file is found by its being there.
OPEN = (
    *("datasets", "evaluation.metrics", "models"),
    *("training.targets", "generation.renderers"),
)


def follow(recipe, project):
    """Do what a recipe says with files; returns its commands."""
    commands = []
    for language, content in _BLOCK.findall(RECIPES[recipe]):
        if language == "console":
            commands += [line[2:] for line in content.splitlines() if line.startswith("$ ")]
            continue
        first, _, rest = content.partition("\n")
        path = project / first.removeprefix("# ")
        if path.name == "params.yaml":
            with changed_params(project) as params:
                for section, values in yaml.safe_load(rest).items():
                    is_section = isinstance(values, dict)
                    params[section] = params[section] | values if is_section else values
        elif path.exists():
            end = "\n" if path.suffix == ".yaml" else "\n\n"
            path.write_text(f"{path.read_text(encoding='utf-8').rstrip()}\n{end}{rest}")
        else:
            path.write_text(rest)
    return commands


@pytest.fixture
def project(pair_template, tmp_path, monkeypatch):
    """A finished project with sources of its own, in which new files are found."""
    project = clone(pair_template, tmp_path / "project")
    shutil.rmtree(project / "src")
    shutil.copytree(
        REPOSITORY / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg*")
    )
    for name in ("scripts", "docs"):
        shutil.copytree(REPOSITORY / name, project / name)
    packages = [importlib.import_module(f"fmri2img.{name}") for name in OPEN]
    for package in packages:
        folder = project / "src" / package.__name__.replace(".", "/")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    before = set(sys.modules)
    forget()
    yield project
    for name in set(sys.modules) - before:
        if any(name.startswith(f"{package.__name__}.") for package in packages):
            del sys.modules[name]
    forget()


def forget():
    """Have metrics looked for anew."""
    for name in ("families", "all_metrics"):
        getattr(catalogue, name).cache_clear()
    importlib.invalidate_caches()


def carry_out(commands, project):
    """Run a recipe's commands, in this process."""
    for command in commands:
        words = shlex.split(command)
        if words[0] == "dvc":
            dvc(project, *words[1:])
        else:
            with pytest.MonkeyPatch.context() as patch:
                run_script(project / words[1], patch, *words[2:])


def scores_of(project, model):
    path = project / f"reports/metrics/subj02/{model}.json"
    return json.loads(path.read_text())["rows"]


def test_a_metric_in_one_new_file_is_shown_everywhere(project):
    with changed_params(project) as params:
        params["evaluate"]["networks"] = []  # everything is scored again
    carry_out(follow("A metric", project), project)
    rows = scores_of(project, "ridge")
    assert 0 < rows["model"]["contrast_kept"]["value"] < 1
    assert rows["grey"]["contrast_kept"]["value"] == 0
    assert rows["vae_ceiling"]["contrast_kept"]["value"] > 0.5
    for page in ("runs/subj02/ridge.html", "comparison.html", "comparison.md"):
        assert "contrast kept" in (project / "reports" / page).read_text()
    compared = json.loads((project / "reports/comparison.json").read_text())
    assert "contrast_kept" in {item["metric"] for item in compared["differences"]}
    assert (
        "| `contrast_kept` | contrast kept | pictures | higher |"
        in (project / "docs/metrics.md").read_text()
    )
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("fmri2img")
    runs = client.search_runs([experiment.experiment_id])
    metrics = [run.data.metrics for run in runs if run.data.tags["model"] in miniature.PAIR]
    assert len(metrics) == 2
    assert all({"test/contrast_kept", "floor/contrast_kept"} <= set(found) for found in metrics)


def test_a_model_with_a_helper_and_targets_of_its_own(project):
    with changed_params(project) as params:
        params["models"]["latents"] = ["ridge"]
    carry_out(follow("A model", project), project)
    ours, ridge = (
        Reconstructions.open(project / f"data/reconstructions/subj02/{model}.h5", remedy="")
        for model in ("smooth_ridge", "ridge")
    )
    detail = [np.abs(np.diff(found.latents, axis=3)).mean() for found in (ours, ridge)]
    assert detail[0] < 0.9 * detail[1]
    assert "pixcorr" in scores_of(project, "smooth_ridge")["model"]
    assert (project / "models/subj02/smooth_ridge/model.safetensors").exists()


def test_a_renderer(project):
    with changed_params(project) as params:
        params["models"]["latents"] = ["ridge"]
    carry_out(follow("A renderer", project), project)
    ours = Reconstructions.open(project / "data/reconstructions/subj02/grey_ridge.h5", remedy="")
    assert (ours.images == ours.images[..., :1]).all()
    assert ours.images.std() > 0
    assert "pixcorr" in scores_of(project, "grey_ridge")["model"]


def test_a_stage(project):
    """In a process: layout and sources are the project's own."""
    commands = follow("A stage", project)
    assert commands == ["dvc repro count_images"]
    source = str(project / "src")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", source)
        miniature.run(project, *shlex.split(commands[0]))
    counts = json.loads((project / "reports/image_counts/subj02.json").read_text())
    assert set(counts) == {"train", "validation", "test"}
    assert Path(source, "stages/count_images.py").exists()


def write_stripes(root):
    """Responses of one person: 80 pictures of stripes, each shown twice, 30 voxels."""
    rng = np.random.default_rng(8)
    angles, phases = rng.uniform(0, np.pi, 80), rng.uniform(0, 2 * np.pi, 80)
    rows, columns = np.mgrid[:64, :64] / 8
    waves = [
        np.sin(rows * np.cos(angle) + columns * np.sin(angle) + phase)
        for angle, phase in zip(angles, phases, strict=True)
    ]
    pictures = np.repeat((127 + 90 * np.array(waves))[..., None], 3, axis=3).astype(np.uint8)
    shown = np.concatenate([rng.permutation(80) for _ in range(2)])
    root.mkdir()
    np.save(root / "pictures.npy", pictures)
    signal = pictures[:, ::8, ::8, 0].reshape(80, -1) / 128 - 1
    responses = signal[shown] @ rng.normal(size=(64, 30)) / 4
    np.savez(
        root / "anna.npz",
        betas=(responses + 0.2 * rng.normal(size=responses.shape)).astype(np.float32),
        session=np.repeat([1, 2], 80),
        run=np.ones(160, int),
        trial=np.tile(np.arange(1, 81), 2),
        image_id=shown,
        voxel_ijk=np.stack(np.unravel_index(np.arange(30), (2, 3, 5)), axis=1),
        region=np.array(["V1"] * 20 + ["V4"] * 10),
    )


def test_a_dataset_from_fetch_to_comparison(project):
    with changed_params(project) as params:
        params["models"]["latents"] = ["ridge"]
        params["evaluate"]["networks"] = []
    keep_only_fingerprints(project)
    write_stripes(project / "data/stripes")
    carry_out(follow("A dataset", project), project)
    found = Reconstructions.open(project / "data/reconstructions/anna/ridge.h5", remedy="")
    # Five of twenty look like training pictures, and became some.
    assert len(found.rows("test")) == 15
    document = json.loads((project / "reports/metrics/anna/ridge.json").read_text())
    assert document["about"]["data_source"] == "stripes"
    assert document["about"]["truth_pixels"] == [64, 64]
    rows = document["rows"]
    assert rows["model"]["pattern_correlation"]["value"] > 0.1
    page = (project / "reports/comparison.html").read_text()
    assert "anna" in page
    assert "Simulated data" not in page

import json

import pytest
import yaml

from conftest import REPOSITORY
from fmri2img.migration.earlier_models import add_models, earlier_models
from fmri2img.migration.lock import migrate_lock
from fmri2img.migration.project import migrate_params, plan
from fmri2img.migration.renamed_files import changes_of_files
from fmri2img.models.registry import EARLIER_NAMES
from fmri2img.project.config import ModelLists
from fmri2img.project.exceptions import ConfigError, FormatError, MissingDataError

MODELS = ModelLists(
    latents=["ridge", "bayes_independent"], population=[], pixels=[], diffusion=["takagi"]
)
CURRENT = {
    "subjects": ["subj01"],
    "models": MODELS.model_dump(),
    "dataset": "simulated",
    "datasets": {},
}
PARAMS = """\
# What a person wrote.
subjects: [subj01]
models: [ridge, default, takagi]       # ours

train:
  ridge: {n_folds: 5}   # kept
  default:              # the best
    seed: 3
"""
OLD_DOCUMENT = {
    "test": {"pixcorr": 0.5},
    "floor_shuffled": {"pixcorr": 0.1},
    "reference_ridge": {"pixcorr": 0.4},
    "interval": {"test": {"pixcorr": [0.4, 0.6]}},
    "p": {"pixcorr": 0.01},
    "latent": {"slope": 1.0},
    "retrieval_raw": {"top": 0.5},
    "retrieval_centred": {"top": 0.6},
    "repetitions": {},
    "seeds": {},
    "brain": {},
    "about": {"data_source": "simulated", "absent": {"two_way_clip": "not asked for"}},
}


@pytest.fixture
def project(tmp_path):
    """The files of version 0.1 that have other names or layouts now."""
    files = {
        "params.yaml": PARAMS,
        "models/subj01/default/config.json": '{"model": "default"}',
        "data/reconstructions/subj01/default.h5": "arrays",
        "data/targets/subj01/default.h5": "",
        "data/targets/subj01/takagi.h5": "targets",
        "data/captions/ridge.json": "{}",
        "reports/metrics/subj01/default.json": json.dumps(OLD_DOCUMENT),
        "reports/runs/subj01/default.html": "<h1>subj01 · default</h1> by default",
        "reports/training/subj01/default.csv": "epoch\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def lock_of(*stages):
    return {"schema": "2.0", "stages": dict(stages)}


def file(path, md5="0" * 32):
    return {"path": path, "hash": "md5", "md5": md5, "size": 3}


def test_params_keep_comments_and_get_todays_names():
    text = migrate_params(PARAMS, EARLIER_NAMES)
    assert yaml.safe_load(text)["models"] == MODELS.by_kind()
    assert list(yaml.safe_load(text)["train"]) == ["ridge", "bayes_independent"]
    for comment in ("# What a person wrote.", "# ours", "# kept", "# the best"):
        assert comment in text
    assert migrate_params(text, EARLIER_NAMES) == text


def test_a_block_list_of_models():
    text = migrate_params("models:\n- ridge\n- default\n\ntrain: {}\n", EARLIER_NAMES)
    assert yaml.safe_load(text) == {
        "models": MODELS.by_kind() | {"diffusion": []},
        "train": {},
    }


def test_a_model_that_there_is_not():
    with pytest.raises(ConfigError, match="there is no model 'vit'; choose from: basic_ae, bayes"):
        migrate_params("models: [ridge, vit]\n", EARLIER_NAMES)


def test_every_step_is_done_once(project):
    steps = plan(project)
    for step in steps:
        step.do()
    assert plan(project) == []
    left = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    assert left == {
        "params.yaml",
        "models/subj01/bayes_independent/config.json",
        "data/reconstructions/subj01/bayes_independent.h5",
        "data/targets/subj01/takagi.h5",
        "reports/metrics/subj01/bayes_independent.json",
        "reports/runs/subj01/bayes_independent.html",
        "reports/training/subj01/bayes_independent.csv",
    }
    # The config's bytes are the encoder's identity in the registry.
    assert (
        project / "models/subj01/bayes_independent/config.json"
    ).read_text() == '{"model": "default"}'
    page = (project / "reports/runs/subj01/bayes_independent.html").read_text()
    assert page == "<h1>subj01 · bayes_independent</h1> by default"
    document = json.loads((project / "reports/metrics/subj01/bayes_independent.json").read_text())
    assert document["rows"]["model"]["pixcorr"] == {"value": 0.5, "low": 0.4, "high": 0.6}
    assert document["rows"]["shuffled"]["pixcorr"] == {"value": 0.1}
    assert document["families"]["permutation"]["p"] == {"pixcorr": 0.01}


@pytest.mark.parametrize("n_done", range(9))
def test_a_call_that_was_cut_off_is_made_good_by_the_same_call(project, n_done):
    (project / "dvc.lock").write_text(
        yaml.safe_dump(lock_of(("train@subj01-default", {"cmd": "x --model default"})))
    )
    for step in plan(project)[:n_done]:
        step.do()
    for step in plan(project):
        step.do()
    assert plan(project) == []
    assert set(yaml.safe_load((project / "dvc.lock").read_text())["stages"]) == {
        "train@subj01-bayes_independent"
    }


def test_the_lock_names_what_it_named_by_todays_names(project):
    changes = changes_of_files(project, MODELS, EARLIER_NAMES)
    document = next(change for change in changes if change.md5 and "metrics" in change.words)
    stages = (
        ("fetch_captions@ridge", {"cmd": "c"}),
        (
            "make_targets@subj01-takagi",
            {
                "cmd": "python -m stages.make_targets --subject subj01 --model takagi",
                "deps": [file("data/fingerprints/make_targets/takagi.txt")],
                "outs": [file("data/targets/subj01/takagi.h5")],
            },
        ),
        (
            "predict@subj01-default",
            {
                "cmd": "python -m stages.predict --subject subj01 --model default",
                "deps": [
                    file("data/fingerprints/predict/default.txt"),
                    file("src/fmri2img/models/default.py"),
                    file("data/targets/subj01/default.h5"),
                    file("models/subj01/default/model.safetensors"),
                ],
                "params": {"params.yaml": {"generate": {"n_steps": 5}, "predict": {"seed": 1}}},
            },
        ),
        (
            "evaluate@subj01-takagi",
            {
                "cmd": "e",
                "deps": [file("data/targets/subj01/takagi.h5")],
                "outs": [file("reports/metrics/subj01/default.json", document.md5[0])],
            },
        ),
        ("train@subj01-default", {"cmd": "t", "params": {"params.yaml": {"train.default": {}}}}),
        ("compare", {"cmd": "p", "params": {"params.yaml": {"models": ["ridge", "default"]}}}),
    )
    (project / "dvc.lock").write_text(yaml.safe_dump(lock_of(*stages)))
    found = yaml.safe_load(migrate_lock(project, CURRENT, changes, EARLIER_NAMES).text)["stages"]
    assert set(found) == {
        "make_targets@subj01-takagi",
        "predict@subj01-bayes_independent",
        "evaluate_diffusion@subj01-takagi",
        "train@subj01-bayes_independent",
    }
    predict = found["predict@subj01-bayes_independent"]
    assert predict["cmd"] == "python -m stages.predict --subject subj01 --model bayes_independent"
    assert [dep["path"] for dep in predict["deps"]] == [
        "data/fingerprints/predict/bayes_independent.txt",
        "src/fmri2img/models/default.py",  # by which accept finds the commit
        "models/subj01/bayes_independent/model.safetensors",
    ]
    assert predict["params"]["params.yaml"] == {"predict": {"seed": 1}}
    targets = found["make_targets@subj01-takagi"]
    assert targets["deps"][0]["path"] == "data/fingerprints/make_targets/simulated.txt"
    scores = found["evaluate_diffusion@subj01-takagi"]
    assert scores["deps"] == [file("data/targets/subj01/takagi.h5")]
    assert scores["outs"][0]["path"] == "reports/metrics/subj01/bayes_independent.json"
    assert scores["outs"][0]["md5"] == document.md5[1]
    assert found["train@subj01-bayes_independent"]["params"]["params.yaml"] == {
        "train.bayes_independent": {}
    }


def test_an_output_that_was_changed_keeps_the_locked_hash(project):
    changes = changes_of_files(project, MODELS, EARLIER_NAMES)
    entry = {"cmd": "e", "outs": [file("reports/metrics/subj01/default.json", "f" * 32)]}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock_of(("evaluate@subj01-default", entry))))
    found = yaml.safe_load(migrate_lock(project, CURRENT, changes, EARLIER_NAMES).text)["stages"]
    assert found["evaluate@subj01-bayes_independent"]["outs"][0]["md5"] == "f" * 32


def test_what_is_not_there_or_not_readable(tmp_path, project):
    with pytest.raises(MissingDataError, match="run the command in the project's root folder"):
        plan(tmp_path / "nothing")
    (project / "reports/metrics/subj01/default.json").write_text("{")
    with pytest.raises(FormatError, match=r"default.json: not JSON \(.*\); bring it back: dvc"):
        plan(project)


OF_0_2_0 = """\
dataset: nsd
datasets: {}
subjects: [subj01]
population: [subj01]
models:
  latents: [ridge, bayes]   # ours
  pixels: []
  diffusion: []

train:
  ridge: {n_folds: 5}

  bayes:
    penalties: [100]        # kept
    seed: 3
"""


def test_what_was_bayes_until_0_2_0_is_bayes_independent(project):
    for path in sorted(project.rglob("default.*")):
        path.unlink()
    (project / "models/subj01/default").rename(project / "models/subj01/bayes")
    (project / "params.yaml").write_text(OF_0_2_0)
    entry = {"cmd": "x --model bayes", "deps": [file("data/fingerprints/train/bayes.txt")]}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock_of(("train@subj01-bayes", entry))))
    for step in plan(project):
        step.do()
    assert plan(project) == []
    assert (project / "models/subj01/bayes_independent/config.json").exists()
    assert not (project / "models/subj01/bayes").exists()
    (name,), (stage,) = zip(
        *yaml.safe_load((project / "dvc.lock").read_text())["stages"].items(), strict=True
    )
    assert name == "train@subj01-bayes_independent"
    assert stage["cmd"] == "x --model bayes_independent"
    assert stage["deps"][0]["path"] == "data/fingerprints/train/bayes_independent.txt"
    text = (project / "params.yaml").read_text()
    assert "latents: [ridge, bayes_independent]   # ours" in text
    assert "penalties: [100]        # kept" in text
    train = yaml.safe_load(text)["train"]
    assert train["bayes_independent"] == {"penalties": [100], "seed": 3}
    today = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]
    for name in ("bayes", "bayes_population"):
        assert train[name] == today[name]
    assert yaml.safe_load(text)["models"]["population"] == []


@pytest.mark.parametrize("train", [None, "x", {"bayes": 5}, {"bayes": None}])
def test_sections_that_are_none_have_todays_names(train):
    assert earlier_models({"train": train}) == EARLIER_NAMES


def test_lists_of_models_in_one_line_get_the_new_one():
    text = "models: {latents: [ridge], pixels: [], diffusion: []}\ntrain: {}\n"
    added = add_models(text)
    lists = MODELS.by_kind() | {"latents": ["ridge"], "diffusion": []}
    assert yaml.safe_load(added)["models"] == lists
    assert add_models(added) == added

import ast
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest

from conftest import REPOSITORY
from fmri2img.cli.encoder_verbs import list_encoders
from fmri2img.project.exceptions import ConfigError, MismatchError, MissingDataError
from fmri2img.project.layout import encoder_folder
from fmri2img.tracking.champions import REMOVED, difference, promote, retire
from fmri2img.tracking.registered_names import migrate_store
from fmri2img.tracking.registration import _SERVED_CODE
from fmri2img.tracking.runs import propose_champions
from fmri2img.tracking.store import open_store
from fmri2img.tracking.versions import champion_of, download, list_versions, resolve, summaries

RIDGE, OURS = "models:/fmri2img-ridge-subj01", "models:/fmri2img-bayes-subj01"


def aliases(client, subject="subj01"):
    return {item.uri: item.aliases for item in list_versions(client, subject) if item.aliases}


def test_the_first_encoder_becomes_champion_and_a_better_one_takes_its_place(project, monkeypatch):
    told = []
    monkeypatch.setattr(
        "fmri2img.tracking.champions.tell_service", lambda _, change: told.append(change)
    )
    project.train_and_log("ridge", weight=1.0, score=0.3)
    propose_champions({"subj01": "ridge"})
    client, _ = open_store()
    assert aliases(client) == {f"{RIDGE}/1": ("champion",)}
    project.train_and_log("bayes", weight=2.0, score=0.4)
    propose_champions({"subj01": "bayes"})
    # One champion a subject, whatever the model.
    assert aliases(client) == {f"{OURS}/1": ("champion",)}
    gain = difference(client, resolve(client, f"{OURS}@champion"), resolve(client, f"{RIDGE}/1"))
    assert (gain.mean, gain.n_images) == (pytest.approx(0.1), 30)
    assert champion_of(client, "subj01").uri == f"{OURS}/1"
    assert champion_of(client, "subj02") is None
    # Whoever asked for it is told of both.
    assert [(one.champion, one.previous) for one in told] == [
        (f"{RIDGE}/1", ""),
        (f"{OURS}/1", f"{RIDGE}/1"),
    ]
    assert "replaces" in told[1].reason
    retire(client, champion_of(client, "subj01"), "wrong sessions")
    assert (told[2].champion, told[2].previous) == ("", f"{OURS}/1")
    assert "wrong sessions" in told[2].reason


def test_an_encoder_that_is_not_shown_to_be_better_is_the_challenger(project, caplog):
    caplog.set_level(logging.INFO)
    project.train_and_log("ridge", weight=1.0, score=0.3)
    propose_champions({"subj01": "ridge"})
    project.train_and_log("bayes", weight=2.0, score=0.3)
    propose_champions({"subj01": "bayes"})
    client, _ = open_store()
    assert aliases(client) == {f"{RIDGE}/1": ("champion",), f"{OURS}/1": ("challenger",)}
    assert f"{OURS}/1 is the challenger" in caplog.text
    candidate = resolve(client, f"{OURS}/1")
    with pytest.raises(
        MismatchError,
        match=r"not shown to be better than .*/1: [+-]0\.0000 .*; to promote it all the same: "
        r"--force",
    ):
        promote(client, candidate)
    assert "by force" in promote(client, candidate, force=True)
    assert aliases(client) == {f"{OURS}/1": ("champion",)}
    assert "already" in promote(client, resolve(client, f"{OURS}/1"))


def test_a_version_whose_run_was_deleted_is_listed_without_scores(project):
    project.train_and_log("ridge", weight=1.0, score=0.3)
    client, experiment = open_store()
    (item,) = list_versions(client, "subj01")
    (before,) = summaries(client, experiment, [item])
    client.delete_run(item.run_id)
    (row,) = summaries(client, experiment, list_versions(client, "subj01"))
    assert (row["encoder"], row["version"]) == (before["encoder"], before["version"])
    assert before["validation r"] == "0.300"
    assert row["validation r"] == ""


def test_a_subject_without_encoders_is_told_who_has_some(project):
    project.train_and_log("ridge", weight=1.0, score=0.3)
    with pytest.raises(ConfigError, match=r"subj03: no encoder of this subject .*: subj01$"):
        list_encoders(SimpleNamespace(subject="subj03"))


def test_a_worse_encoder_is_refused_with_its_interval(project):
    project.train_and_log("ridge", weight=1.0, score=0.4)
    propose_champions({"subj01": "ridge"})
    project.train_and_log("bayes", weight=2.0, score=0.3)
    client, _ = open_store()
    with pytest.raises(
        MismatchError, match=r"-0\.1000 \[-0\.1000, -0\.1000\] on 30 validation images"
    ):
        promote(client, resolve(client, f"{OURS}/1"))


@pytest.mark.parametrize(
    "change",
    [{"images": range(200, 230)}, {"data.source": "nsd"}, {"autoencoder.sha256": "1" * 64}],
)
def test_scores_on_other_data_are_not_compared(change, project):
    project.train_and_log("ridge", weight=1.0, score=0.3)
    propose_champions({"subj01": "ridge"})
    project.train_and_log("bayes", weight=2.0, score=0.9, **change)
    propose_champions({"subj01": "bayes"})
    client, _ = open_store()
    assert aliases(client) == {f"{RIDGE}/1": ("champion",), f"{OURS}/1": ("challenger",)}


def test_a_retired_encoder_loses_its_aliases_and_is_not_proposed_again(project, caplog):
    caplog.set_level(logging.INFO)
    project.train_and_log("ridge", weight=1.0)
    propose_champions({"subj01": "ridge"})
    client, experiment = open_store()
    retire(client, resolve(client, f"{RIDGE}@champion"), "trained on a wrong split")
    propose_champions({"subj01": "ridge"})
    assert aliases(client) == {}
    (row,) = summaries(client, experiment, [resolve(client, f"{RIDGE}/1")])
    assert row["alias"] == "retired"
    with pytest.raises(MismatchError, match=r"is retired \(trained on a wrong split\)"):
        promote(client, resolve(client, f"{RIDGE}/1"))
    promote(client, resolve(client, f"{RIDGE}/1"), force=True)
    assert not resolve(client, f"{RIDGE}@champion").is_retired


def test_a_subject_that_was_removed_and_comes_back_has_a_champion_again(project):
    project.train_and_log("ridge", weight=1.0)
    client, _ = open_store()
    retire(client, resolve(client, f"{RIDGE}/1"), REMOVED)
    propose_champions({"subj01": "ridge"})
    assert aliases(client) == {f"{RIDGE}/1": ("champion",)}
    assert not resolve(client, f"{RIDGE}@champion").is_retired


def test_subjects_have_champions_of_their_own(project):
    for subject in ("subj01", "subj02"):
        project.train_and_log("ridge", subject, weight=float(subject[-1]))
    propose_champions({"subj01": "ridge", "subj02": "ridge"})
    client, _ = open_store()
    assert aliases(client, "subj02") == {"models:/fmri2img-ridge-subj02/1": ("champion",)}
    assert len(list_versions(client)) == 2


def test_weights_on_disk_that_nobody_registered_are_told(project, caplog):
    caplog.set_level(logging.INFO)
    project.train("ridge")
    propose_champions({"subj01": "ridge"})
    assert (
        "no version of fmri2img-ridge-subj01 has the weights on disk; run: fmri2img track"
        in caplog.text
    )


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("ridge", ConfigError, "not the address of an encoder; expected models:/"),
        (f"{RIDGE}@latest", MissingDataError, "those of fmri2img-ridge-subj01 are: 1"),
        (f"{RIDGE}/7", MissingDataError, "no such version"),
        ("models:/another/1", MissingDataError, "see: fmri2img list"),
    ],
)
def test_an_address_that_leads_nowhere_says_what_there_is(uri, error, message, project):
    project.train_and_log("ridge")
    client, _ = open_store()
    with pytest.raises(error, match=message):
        resolve(client, uri)


def test_files_of_the_registry_come_verified(project, tmp_path):
    project.train_and_log("ridge")
    client, _ = open_store()
    item = resolve(client, f"{RIDGE}/1")
    place = download(item, tmp_path / "first")
    own = encoder_folder("subj01", "ridge")
    assert all(
        (place / name).read_bytes() == (own / name).read_bytes()
        for name in ("model.safetensors", "config.json")
    )


def stored_weights(project):
    (path,) = (project.root / "mlruns").rglob("model.safetensors")
    return path


def test_a_model_file_that_was_swapped_is_refused(project, tmp_path):
    project.train_and_log("ridge", weight=1.0)
    path = stored_weights(project)
    swapped = bytearray(path.read_bytes())
    swapped[-1] ^= 1
    path.write_bytes(swapped)
    client, _ = open_store()
    (tmp_path / "new").mkdir()
    with pytest.raises(
        MismatchError, match=r"model\.safetensors has MD5 .*, expected .* as registered"
    ):
        download(resolve(client, f"{RIDGE}/1"), tmp_path / "new")
    with pytest.raises(MismatchError, match="is not loaded"):
        mlflow.pyfunc.load_model(f"{RIDGE}/1")


def test_a_pickle_among_the_files_is_refused(project, tmp_path):
    project.train_and_log("ridge", weight=1.0)
    (stored_weights(project).parent / "model.pkl").write_bytes(
        b"cos\nsystem\n(S'touch /tmp/owned'\ntR."
    )
    client, _ = open_store()
    (tmp_path / "new").mkdir()
    with pytest.raises(
        MismatchError, match=r"model\.pkl does not belong to an encoder; not loaded"
    ):
        download(resolve(client, f"{RIDGE}/1"), tmp_path / "new")
    with pytest.raises(MismatchError, match=r"model\.pkl does not belong"):
        mlflow.pyfunc.load_model(f"{RIDGE}/1")


def test_a_pickled_model_in_its_place_is_not_unpickled(project):
    """As an attacker would do it: MLmodel names a pickle instead of our code."""
    project.train_and_log("ridge", weight=1.0)
    (model,) = (project.root / "mlruns").rglob("MLmodel")
    (model.parent / "python_model.pkl").write_bytes(
        b"cos\nsystem\n(S'touch " + str(project.root / "owned").encode() + b"'\ntR."
    )
    lines = model.read_text().replace("model_code_path", "was_code_path").splitlines()
    where = next(row for row, line in enumerate(lines) if "loader_module" in line)
    indent = lines[where][: len(lines[where]) - len(lines[where].lstrip())]
    lines.insert(where, f"{indent}python_model: python_model.pkl")
    model.write_text("\n".join(lines))
    with pytest.raises(mlflow.exceptions.MlflowException, match=r"(?i)pickle"):
        mlflow.pyfunc.load_model(f"{RIDGE}/1")
    assert not (project.root / "owned").exists()


@pytest.mark.parametrize(
    ("betas", "params", "message"),
    [
        (np.zeros((2, 8), np.float32), {}, "does not match expected shape"),
        (np.zeros((2, 9), np.float64), {}, "float64"),
        (
            np.full((2, 9), np.nan, np.float32),
            {},
            "18 values are not finite, the first in row 0, voxel 0",
        ),
        (np.full((2, 9), np.inf, np.float32), {"allow_missing": True}, "not finite"),
        (np.zeros((2, 9), np.float32), {"output": "jpg"}, "expected latents or png"),
        (np.zeros((2, 9), np.float32), {"repetitions": 0}, "1 or more"),
    ],
)
def test_a_served_encoder_refuses_what_it_cannot_use(betas, params, message, project):
    project.train_and_log("ridge")
    served = mlflow.pyfunc.load_model(f"{RIDGE}/1")
    with pytest.raises(mlflow.exceptions.MlflowException, match=message):
        served.predict(betas, params=params)
    missing = np.zeros((2, 9), np.float32)
    missing[0, 3] = np.nan
    assert served.predict(missing, params={"allow_missing": True}).shape == (2, 4, 16, 16)


def test_the_package_stays_whole_beside_a_loaded_encoder(project):
    project.train_and_log("ridge")
    script = f"""
import mlflow
mlflow.set_tracking_uri("sqlite:///{project.root}/mlflow.db")
mlflow.pyfunc.load_model("{RIDGE}/1")
from fmri2img.sharing import open_voxels
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-1500:]


def test_a_registered_encoder_needs_none_of_our_files(project):
    """It is loaded by a Python that has MLflow and torch, and no fmri2img."""
    project.train_and_log("ridge")
    script = f"""
import sys
names = [type(finder).__module__ + getattr(finder, "__name__", "") for finder in sys.meta_path]
sys.meta_path = [item for item, name in zip(sys.meta_path, names) if "editable" not in name]
sys.path = [place for place in sys.path if not place.endswith("/src")]
import mlflow, numpy
try:
    import fmri2img
except ImportError:
    pass
else:
    sys.exit(f"not hidden: {{fmri2img.__file__}}")
mlflow.set_tracking_uri("sqlite:///{project.root}/mlflow.db")
print(mlflow.pyfunc.load_model("{RIDGE}/1").predict(numpy.zeros((1, 9), "float32")).shape)
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.stdout.strip() == "(1, 4, 16, 16)", done.stderr[-1500:]


def test_what_was_bayes_until_0_2_0_gets_todays_name(project):
    """Its runs have settings that today's ``bayes`` lacks; runs of today's stay."""
    project.train_and_log("bayes_independent", weight=2.0, score=0.4)
    propose_champions({"subj01": "bayes_independent"})
    project.train_and_log("bayes", "subj02", weight=1.0, score=0.4)
    client, experiment = open_store()
    now, before = "fmri2img-bayes_independent-subj01", "fmri2img-bayes-subj01"
    (run,) = client.search_runs([experiment], "tags.model = 'bayes_independent'")
    client.rename_registered_model(now, before)
    client.set_model_version_tag(before, "1", "model", "bayes")
    client.set_tag(run.info.run_id, "model", "bayes")
    client.log_param(run.info.run_id, "bayes.penalties", "[100]")
    assert migrate_store() == [
        f"registered model {before} -> {now} (champion stays)",
        f"run {run.info.run_name} -> subj01-bayes_independent",
    ]
    assert client.get_model_version(now, "1").tags["model"] == "bayes_independent"
    assert {model.name for model in client.search_registered_models()} == {
        now,
        "fmri2img-bayes-subj02",
    }
    assert migrate_store() == []


def test_the_code_of_a_served_encoder_holds_all_that_it_imports():
    package = REPOSITORY / "src/fmri2img"
    served = {path for name in _SERVED_CODE for path in package.glob(name)}
    needed = set()
    for path in served:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fmri2img."):
                name = node.module.removeprefix("fmri2img.").replace(".", "/")
                module = package / f"{name}.py"
                needed.add(module if module.exists() else package / name / "__init__.py")
    assert len(needed) > 10
    assert needed <= served, needed - served

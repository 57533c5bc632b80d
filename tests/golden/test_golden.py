"""The net: no number, no error line and no old file changes its meaning unnoticed. What changes
on purpose: ``make goldens``.
"""

import json
import shutil
import sys
from pathlib import Path
from tempfile import mkdtemp

import mlflow
import numpy as np
import pytest
import yaml

from commands import fmri2img
from fmri2img.containers.splits import split_images
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.models.registry import load_encoder
from fmri2img.tracking.runs import log_encoder
from fmri2img.tracking.store import open_store
from golden import collect
from golden.compare import differences, is_close, load, on_another_machine
from golden.demo import collect_demo, make_demo_examples
from golden.encoders import predict
from golden.error_page import KINDS, PAGE, error_page, told_of_kind
from golden.machine import this_machine
from golden.store import restore_store
from miniature import REPOSITORY

ENCODERS, STORE = collect.GOLDEN / "encoders", collect.GOLDEN / "store"


def check(kind, found, *, exact=None):
    """Compare with a golden; says if that was made on another machine."""
    golden = load(kind)
    if note := on_another_machine(golden):
        print(f"goldens of {kind}: {note}")
    lines = differences(golden["entries"], found, exact=not note if exact is None else exact)
    assert not lines, "\n".join(
        [
            f"{kind}: {len(lines)} entries are not the golden ones (make goldens says what "
            "changes)",
            *lines[:20],
        ]
    )


def test_every_array_of_the_miniature(template):
    check("miniature", collect.collect_miniature(template))


def test_every_score_of_the_miniature(template):
    check("metrics", collect.collect_metrics(template))


def test_the_simulated_raw_tree(template):
    golden, found = load("raw"), collect.collect_raw(template)
    if on_another_machine(golden):  # its last digits are not compared here: those of the voxels are
        golden, found = (dict.fromkeys(entries, True) for entries in (golden["entries"], found))
        assert golden == found
    else:
        check("raw", found)


def test_the_demos_voxels_and_splits_as_the_small_remote_has_them():
    """What ``dvc pull`` brings, without the seconds that it takes; splits follow from the images
    that voxel files name.
    """
    golden = load("demo")["entries"]
    locked = yaml.safe_load((REPOSITORY / "dvc.lock").read_text())["stages"]
    stages = {out["path"]: out["md5"] for stage in locked.values() for out in stage["outs"]}
    for subject in ("subj01", "subj02"):
        found = {}
        for path in (f"data/voxels/{subject}.h5", f"data/rois/{subject}.nii.gz"):
            md5 = stages[path]
            blob = REPOSITORY / "demo_remote/files/md5" / md5[:2] / md5[2:]
            copy = collect.arrays_of(_named(blob, path))
            found |= {
                f"{path}: {name}": collect.describe_array(values) for name, values in copy.items()
            }
        # The remote in git holds what the processor of its day made.
        assert not differences({name: golden[name] for name in found}, found, exact=False)
        blob = stages[f"data/voxels/{subject}.h5"]
        trials = TrialBetas.open(
            REPOSITORY / "demo_remote/files/md5" / blob[:2] / blob[2:], remedy=""
        )
        image_ids = np.unique(trials.image_ids)
        is_shared = np.isin(image_ids, trials.image_ids[trials.is_shared])
        settings = {
            "kind": "shared",
            "validation_fraction": 0.1,
            "n_train_random": 9000,
            "rng": np.random.default_rng(0),
        }
        split = split_images(image_ids, is_shared, **settings)
        for part in ("train", "validation", "test"):
            assert list(split.ids(part)) == golden[f"data/splits/{subject}/{part}"]


def _named(blob, path):
    """A link to an object of the remote, with the ending by which readers know what it is."""
    link = Path(mkdtemp()) / path.rsplit("/", 1)[1]
    link.symlink_to(blob)
    return link


@pytest.mark.slow
def test_the_demo_from_its_raw_files_to_its_splits(tmp_path):
    check("demo", collect_demo(make_demo_examples(tmp_path / "demo")))


@pytest.mark.parametrize("model", sorted(path.name for path in ENCODERS.iterdir()))
def test_encoders_of_version_0_1_predict_what_they_predicted(model):
    folder = ENCODERS / model
    encoder, _ = load_encoder(folder)
    with np.load(folder / "predictions.npz") as kept:
        found = predict(encoder, kept["betas"])
        np.testing.assert_allclose(found, kept["latents"], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings(
    "ignore:.*Any type hint is inferred as AnyType"
)  # MLflow's, where it loads such a model first
def test_a_store_of_version_0_1_opens_and_goes_on(tmp_path, monkeypatch):
    restore_store(STORE, tmp_path)
    shutil.copytree(STORE / "files", tmp_path, dirs_exist_ok=True)
    (tmp_path / "data/examples").mkdir(parents=True)
    (tmp_path / "data/examples/subj01.h5").write_bytes(b"voxels")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    lines = fmri2img(tmp_path, "list").stdout.splitlines()[1:]
    assert [line.split()[:3] for line in lines] == [
        ["fmri2img-default-subj01", "1", "champion"],
        ["fmri2img-ridge-subj01", "2", *lines[1].split()[2:3]],
        ["fmri2img-ridge-subj01", "1", *lines[2].split()[2:3]],
    ]
    client, experiment = open_store()
    before = {run.info.run_id: run.data.metrics for run in client.search_runs([experiment])}
    assert len(before) == 3
    log_encoder("subj01", "default", evaluation=False)  # all is there: nothing is added
    assert {run.info.run_id: run.data.metrics for run in client.search_runs([experiment])} == before
    # An encoder that is loaded puts its code first.
    monkeypatch.setattr(sys, "path", list(sys.path))
    encoder = mlflow.pyfunc.load_model("models:/fmri2img-ridge-subj01/2")
    assert encoder.predict(np.ones((2, 9), np.float32)).shape == (2, 4, 16, 16)


def test_the_page_of_error_lines_has_them_all():
    """The documentation lists every line; regenerate.py errors writes it."""
    assert PAGE.read_text(encoding="utf-8") == error_page(collect.collect_errors())


def test_every_error_line_says_what_to_do():
    told = [line for kind in KINDS for line in told_of_kind(collect.collect_errors(), kind)]
    assert len(told) > 290
    # What stands for another message at the end says it in that one.
    assert [line for line in told if "; " not in line and not line.endswith(": {}")] == []


@pytest.mark.parametrize("kind", ["help", "errors"])
def test_what_is_said_is_what_was_said(kind):
    found = (
        collect.collect_help() if kind == "help" else dict.fromkeys(collect.collect_errors(), True)
    )
    check(kind, found, exact=True)


def test_no_test_is_lost():
    """A test that goes names its successor in ``successors.json``."""
    names = {name.rpartition("::")[2] for name in collect.collect_tests()}
    successors = json.loads((collect.GOLDEN / "successors.json").read_text())
    lost = []
    for test in load("tests")["entries"]:
        name = test.rpartition("::")[2]
        if name not in names and successors.get(name) not in names:
            lost.append(test)
    assert not lost, f"{lost}: name the test that does its work now in tests/golden/successors.json"


def test_every_test_is_in_the_list():
    assert not set(collect.collect_tests()) - load("tests")["entries"].keys(), (
        "run: python tests/golden/regenerate.py tests"
    )


# The net itself.


def test_a_golden_that_moves_fails_with_the_arrays_name(rng):
    values = rng.normal(size=(50, 4)).astype(np.float32)
    golden = {"data/voxels/subj02.h5: betas": collect.describe_array(values)}
    values[3, 2] += 1e-6
    (line,) = differences(
        golden, {"data/voxels/subj02.h5: betas": collect.describe_array(values)}, exact=True
    )
    assert line.startswith('data/voxels/subj02.h5: betas: was {"shape": [50, 4]')
    with pytest.raises(
        AssertionError, match=r"help: 1 entries are not the golden ones .*\n.*help: is new"
    ):
        check("help", load("help")["entries"] | {"help": []}, exact=True)


def test_on_another_processor_rounding_passes_and_a_change_does_not(rng):
    values = rng.normal(size=(500, 4)).astype(np.float32)
    golden = collect.describe_array(values)
    assert is_close(
        golden,
        collect.describe_array(values + rng.normal(size=values.shape).astype(np.float32) * 1e-5),
    )
    assert not is_close(golden, collect.describe_array(values[::-1]))
    assert not is_close(golden, collect.describe_array(values + 0.1))
    assert not is_close(golden, collect.describe_array(values[:-1]))
    assert not is_close(golden, collect.describe_array(values.astype(np.float64)))
    assert not is_close({"a": 1.0}["a"], 1.3)
    assert is_close([0.5, 0.51], [0.52, 0.5])


def test_a_golden_of_another_machine_says_so():
    machine = this_machine() | {"processor": "another"}
    assert on_another_machine({"machine": this_machine()}) == ""
    note = on_another_machine({"machine": machine})
    assert note.startswith("made on another (")
    assert note.endswith("numbers are compared within a tolerance")

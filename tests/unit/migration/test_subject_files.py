"""What version 0.2.0 kept in one file for all subjects becomes a file for each."""

import hashlib
import json

import numpy as np
import pytest
import yaml

from fmri2img.containers.ids import id_name
from fmri2img.containers.latents import Latents
from fmri2img.containers.splits import Split
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.migration.subject_entries import entries_by_subject
from fmri2img.migration.subject_files import add_population, changes_of_subject_files
from fmri2img.project.config import ModelLists

SUBJECTS = ["anna", "berta"]
TESTS = {"anna": (1, 4), "berta": (1, 7)}
MODELS = ModelLists(latents=["ridge"], population=[], pixels=[], diffusion=["takagi"])


def md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def project(tmp_path):
    for subject, test in TESTS.items():
        train = (10, 11) if subject == "anna" else (11, 12)
        Split("shared", train, (13,), test).save(tmp_path / f"data/splits/{subject}.json")
    ids = np.array([1, 4, 7])
    pictures = np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3)
    provenance = {"data_source": "nsd", "receipts": {}}
    TruePictures(ids, pictures, provenance).save(tmp_path / "data/truth.h5")
    about = {"autoencoder": {"name": "vae", "sha256": "abc"}, "data_source": "nsd"}
    for subject, test in TESTS.items():
        seen = np.array(sorted((11, 13, *test)))
        values = np.linspace(0, 1, 64, dtype=np.float32).reshape(4, 4, 2, 2)
        Latents(seen, values, values[:, :2], about).save(tmp_path / f"data/latents/{subject}.h5")
    Latents(np.array([11, 13]), values[:2], values[:2, :2], about).save(tmp_path / "data/prior.h5")
    captions = {id_name(number): [f"picture {number}"] for number in (1, 4, 7, 10, 11, 12, 13)}
    (tmp_path / "data/captions").mkdir()
    (tmp_path / "data/captions/takagi.json").write_text(
        json.dumps({"captions": captions, "data_source": "nsd", "sha256": {}})
    )
    return tmp_path


def lock_of(project):
    truth = {"path": "data/truth.h5", "md5": md5(project / "data/truth.h5"), "size": 1}
    captions = project / "data/captions/takagi.json"
    captions = {"path": "data/captions/takagi.json", "md5": md5(captions), "size": 1}
    prior = {"path": "data/prior.h5", "md5": md5(project / "data/prior.h5"), "size": 1}
    shared = {"path": "data/receipts/shared.json", "md5": "s", "size": 1}
    stages = {
        "fetch_raw_shared": {
            "cmd": "python -m stages.fetch_raw --subject shared",
            "params": {"params.yaml": {"subjects": SUBJECTS, "datasets.nsd": {"a": 1}}},
            "outs": [shared],
        },
        "collect_truth": {
            "cmd": "python -m stages.collect_truth",
            "deps": [shared, {"path": "data/splits", "md5": "d.dir", "nfiles": 2}],
            "params": {"params.yaml": {"subjects": SUBJECTS}},
            "outs": [truth],
        },
        "collect_prior": {
            "cmd": "python -m stages.collect_prior",
            "deps": [
                {"path": "data/splits", "md5": "d.dir", "nfiles": 2},
                {"path": "data/latents", "md5": "e.dir", "nfiles": 2},
            ],
            "params": {"params.yaml": {"subjects": SUBJECTS}},
            "outs": [prior],
        },
        "fetch_captions@takagi": {
            "cmd": "python -m stages.fetch_captions --model takagi",
            "deps": [{"path": "data/splits", "md5": "d.dir", "nfiles": 2}],
            "params": {"params.yaml": {"subjects": SUBJECTS, "fetch_captions": {"b": 2}}},
            "outs": [captions],
        },
    }
    for subject in SUBJECTS:
        split = {"path": f"data/splits/{subject}.json", "md5": f"split {subject}", "size": 1}
        receipt = {"path": f"data/receipts/{subject}.json", "md5": f"raw {subject}", "size": 1}
        stages |= {
            f"fetch_raw@{subject}": {"cmd": "x", "deps": [shared], "outs": [receipt]},
            f"split_examples@{subject}": {"cmd": "x", "deps": [], "outs": [split]},
            f"create_examples@{subject}": {"cmd": "x", "deps": [shared], "outs": []},
            f"encode_latents@{subject}": {
                "cmd": "x",
                "deps": [],
                "outs": [{"path": f"data/latents/{subject}.h5", "md5": "l", "size": 1}],
            },
            f"train@{subject}-ridge": {
                "cmd": "x",
                "deps": [prior],
                "params": {"params.yaml": {"train.ridge": {"n_folds": 5}}},
                "outs": [],
            },
            f"evaluate@{subject}-ridge": {"cmd": "x", "deps": [truth], "outs": []},
            f"make_targets@{subject}-takagi": {"cmd": "x", "deps": [captions], "outs": []},
        }
    return stages


def dvc_hash(folder):
    """The MD5 by which DVC records a folder."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import localfs

    store = HashFileDB(localfs, str(folder.parent / "store"))
    return build(store, str(folder), localfs, "md5")[2].hash_info.value


def paths(entry, part="deps"):
    return {item["path"]: item["md5"] for item in entry[part]}


def test_each_subject_gets_its_own_test_images_and_captions(project):
    changes = list(changes_of_subject_files(project, SUBJECTS, MODELS))
    for change in changes:
        change.do()
    for subject, test in TESTS.items():
        truth = TruePictures.open(project / f"data/truth/{subject}.h5", remedy="")
        assert truth.image_ids.tolist() == list(test)
        assert truth.images[1, 0, 0, 0] == {4: 48, 7: 96}[test[1]]
        path = project / f"data/captions/{subject}/takagi.json"
        captions = json.loads(path.read_text())["captions"]
        ids = (1, test[1], 11, 13, 10 if subject == "anna" else 12)
        assert set(captions) == {f"{number:05d}" for number in ids}
        prior = Latents.open(project / f"data/prior/{subject}.h5", remedy="")
        assert prior.image_ids.tolist() == [11, 13]
        assert prior.provenance["test_image_ids"] == list(test)
    assert not (project / "data/truth.h5").exists()
    assert not (project / "data/prior.h5").exists()
    assert not (project / "data/captions/takagi.json").exists()
    assert list(changes_of_subject_files(project, SUBJECTS, MODELS)) == []


def test_a_subject_with_all_test_images_keeps_the_bytes(project):
    before = md5(project / "data/truth.h5")
    Split("shared", (10,), (13,), (1, 4, 7)).save(project / "data/splits/anna.json")
    for change in changes_of_subject_files(project, SUBJECTS, MODELS):
        change.do()
    assert md5(project / "data/truth/anna.h5") == before != md5(project / "data/truth/berta.h5")


def test_planning_leaves_what_is_there(project):
    list(changes_of_subject_files(project, SUBJECTS, MODELS))
    assert (project / "data/truth.h5").exists()
    assert not (project / "data/truth").exists()


def test_the_lock_names_each_subjects_files(project):
    changes = list(changes_of_subject_files(project, SUBJECTS, MODELS))
    stages = entries_by_subject(lock_of(project), SUBJECTS, changes)
    for change in changes:
        change.do()
    assert "subjects" not in stages["fetch_raw_shared"]["params"]["params.yaml"]
    assert not {"collect_truth", "collect_prior", "fetch_captions@takagi"} & set(stages)
    (folder,) = stages["train@anna-ridge"]["deps"]
    assert folder["path"] == "data/prior"
    assert folder["nfiles"] == 2
    assert folder["md5"] == dvc_hash(project / "data/prior")
    for subject in SUBJECTS:
        assert stages[f"train@{subject}-ridge"]["params"]["params.yaml"] == {
            "train.ridge": {"n_folds": 5},
            "population": SUBJECTS,
        }
        prior = stages[f"collect_prior@{subject}"]
        assert prior["cmd"] == f"python -m stages.collect_prior --subject {subject}"
        assert prior["params"]["params.yaml"] == {"population": SUBJECTS}
        assert paths(prior) == {
            f"data/splits/{subject}.json": f"split {subject}",
            f"data/latents/{subject}.h5": "l",
        }
        where = f"data/prior/{subject}.h5"
        assert paths(prior, "outs") == {where: md5(project / where)}
        truth = stages[f"collect_truth@{subject}"]
        assert truth["cmd"] == f"python -m stages.collect_truth --subject {subject}"
        assert "params" not in truth
        assert paths(truth) == {
            "data/receipts/shared.json": "s",
            f"data/receipts/{subject}.json": f"raw {subject}",
            f"data/splits/{subject}.json": f"split {subject}",
        }
        where = f"data/truth/{subject}.h5"
        assert paths(truth, "outs") == {where: md5(project / where)}
        assert paths(stages[f"evaluate@{subject}-ridge"]) == {where: md5(project / where)}
        captions = stages[f"fetch_captions@{subject}-takagi"]
        assert captions["cmd"].endswith(f"--subject {subject} --model takagi")
        assert captions["params"]["params.yaml"] == {"fetch_captions": {"b": 2}}
        where = f"data/captions/{subject}/takagi.json"
        assert paths(captions, "outs") == {where: md5(project / where)}
        assert paths(stages[f"make_targets@{subject}-takagi"]) == {
            where: md5(project / where),
            f"data/receipts/{subject}.json": f"raw {subject}",
        }
        assert f"data/receipts/{subject}.json" in paths(stages[f"create_examples@{subject}"])
    assert entries_by_subject(stages, SUBJECTS, []) == stages


def test_what_was_made_from_other_pictures_stays_stale(project):
    stages = lock_of(project)
    stages["evaluate@anna-ridge"]["deps"][0] = {"path": "data/truth.h5", "md5": "old", "size": 1}
    changes = list(changes_of_subject_files(project, SUBJECTS, MODELS))
    renewed = entries_by_subject(stages, SUBJECTS, changes)
    assert paths(renewed["evaluate@anna-ridge"]) == {"data/truth.h5": "old"}


@pytest.mark.parametrize("listed", ["[anna, berta]  # both", "\n  - anna\n  - berta"])
def test_the_population_is_everybody_until_somebody_says_otherwise(listed):
    text = f"# ours\nsubjects: {listed}\ntrain: {{}}\n".replace(": \n", ":\n")
    renewed = add_population(text)
    assert yaml.safe_load(renewed) == yaml.safe_load(text) | {"population": SUBJECTS}
    assert renewed.replace("population: [anna, berta]\n", "") == text
    assert add_population(renewed) == renewed

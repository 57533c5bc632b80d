"""One's own scans by the words of their page; and the simulator's NSD as such a folder."""

import json
import re
import shlex

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from conftest import REPOSITORY
from datasets import PERSON, write_volumes
from fmri2img.containers.splits import Split
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.datasets.nsd.volumes import write_volume
from miniature import SUBJECT, changed_params, clone, keep_only_fingerprints
from pipeline.projects import repro, run

PAGE = (REPOSITORY / "docs/own-data.md").read_text(encoding="utf-8")
PLACE = "/data/breakfast"
SHARED = {"split_examples": {"kind": "shared", "validation_fraction": 0.2}}  # as in a new project


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def with_params(project, root, values):
    keep_only_fingerprints(project)
    with changed_params(project) as params:
        for name, value in values.items():
            params[name] = params[name] | value if isinstance(value, dict) else value
        params["machine"]["raw_root"] = str(root)
        params["models"] |= {"latents": ["ridge"], "pixels": [], "diffusion": []}
        params["evaluate"]["networks"] = []


@pytest.fixture(scope="module")
def walk(pair_template, tmp_path_factory):
    """What each command of the page printed, typed as it stands there."""
    folder = tmp_path_factory.mktemp("own")
    root = write_volumes(folder / "breakfast", ".mat")
    for name in ("dataset.yaml", "pictures.csv"):
        (root / name).unlink()
    project = clone(pair_template, folder / "project")
    values = yaml.safe_load(blocks("yaml")[0])
    with_params(project, root, values | {"extract_betas": {"labels": "all"}} | SHARED)
    told = {}
    for block in blocks("console"):
        for line in re.findall(r"^\$ (.*)", block, re.MULTILINE):
            words = shlex.split(line.replace(PLACE, str(root)), comments=True)
            result = run(project, *words, check=False)
            printed = result.stdout.replace(str(root), PLACE)
            told.setdefault(words[1], (result.returncode, printed, result.stderr))
    return project, told


def test_the_walk_prints_what_the_page_prints(walk):
    code, printed, _ = walk[1]["new-dataset"]
    assert code == 0
    (block,) = [block for block in blocks("console") if "new-dataset" in block]
    assert printed.splitlines() == block.splitlines()[1:]


def test_the_walk_ends_with_scores_and_an_answer(walk):
    project, told = walk
    assert told["repro"][0] == 0, told["repro"][2]
    document = json.loads((project / f"reports/metrics/{PERSON}/ridge.json").read_text())
    assert document["about"]["n_test_images"] == 4
    assert f"{PERSON}: " in told["check-alignment"][1]


def test_its_owner_says_who_may_have_it(walk, tmp_path):
    """In ``dataset.yaml`` as it is, and in the voxel files that were made from it."""
    project, _ = walk
    declared = project.parent / "breakfast/dataset.yaml"
    run(project, "dvc", "remote", "add", "--local", "--force", "all", str(tmp_path / "all"))
    public = ("fmri2img", "share", "--remote", "all", "--public")
    assert "in all, remote all" in run(project, *public).stdout
    text = declared.read_text()
    declared.write_text(text.replace("terms: ''", "terms: only our group"))
    for options in (("--public",), ()):  # its files are simulated ones, which changes nothing
        refused = run(project, *public[:4], *options, check=False)
        assert refused.returncode == 1
        assert "only our group; " in refused.stderr
    declared.write_text(text)
    voxels = project / f"data/voxels/{PERSON}.h5"
    content = voxels.read_bytes()
    voxels.unlink()
    voxels.write_bytes(content + b"more")
    refused = run(project, *public, check=False)
    assert "not here as dvc.lock records it, and it says who may have the data" in refused.stderr


def as_folder(project, root):
    """Write what a subject of the simulator's NSD saw and how it responded in a folder's form."""
    person = root / SUBJECT
    (person / "betas").mkdir(parents=True)
    (person / "regions").mkdir()
    trials = TrialBetas.open(project / f"data/voxels/{SUBJECT}.h5", remedy="")
    volume = nib.load(project / f"data/rois/{SUBJECT}.nii.gz")
    labels = np.asarray(volume.dataobj)
    write_volume(
        person / "regions/visual.nii.gz", labels.astype(np.int16), 1.8, affine=volume.affine
    )
    names = json.loads((project / f"data/rois/{SUBJECT}.json").read_text())["names"]
    table = pd.DataFrame({"label": list(names), "name": list(names.values())})
    table.to_csv(person / "regions/visual.csv", index=False)
    for session in trials.sessions:
        (source,) = (project / "data/raw/nsddata_betas").rglob(f"betas_session{session:02d}.hdf5")
        with (
            h5py.File(source) as raw,
            h5py.File(person / f"betas/ses-{session:02d}.hdf5", "w") as file,
        ):
            file["betas"] = raw["betas"][()].astype(np.float32) / 300
    columns = {name: getattr(trials, name) for name in ("session", "run", "trial")}
    pd.DataFrame(columns | {"image_id": trials.image_ids}).to_csv(
        person / "trials.csv", index=False
    )
    write_pictures(project, root, trials)
    declared = {
        "title": "NSD in a folder",
        "subjects": [SUBJECT],
        "unit": "percent signal change",
        "voxel_mm": 1.8,
        "picture_side": 425,
        "n_repetitions": 3,
        "ids": "numbers",
        "missing": "masked",
        "terms": "",
    }
    (root / "dataset.yaml").write_text(yaml.safe_dump(declared))
    return root


def write_pictures(project, root, trials):
    ids, first = np.unique(trials.image_ids, return_index=True)
    (source,) = (project / "data/raw/nsddata_stimuli").rglob("nsd_stimuli.hdf5")
    with h5py.File(source) as shown, h5py.File(root / "pictures.hdf5", "w") as file:
        file["pictures"] = np.stack([shown["imgBrick"][image_id] for image_id in ids])
    is_test = trials.is_shared[first].astype(int)
    table = pd.DataFrame({"image_id": ids, "row": np.arange(len(ids)), "is_test": is_test})
    table.to_csv(root / "pictures.csv", index=False)


def test_the_simulators_nsd_in_a_folder_gives_the_same_scores(pair_template, tmp_path):
    there = as_folder(pair_template, tmp_path / "nsd")
    project = clone(pair_template, tmp_path / "project")
    regions = {"roi": "visual", "drawn_in": "func"}
    with_params(
        project,
        there,
        {"dataset": "folder", "subjects": [SUBJECT], "population": [SUBJECT]}
        | {"convert_roi": regions},
    )
    repro(project, "evaluate")
    for kind in ("split", "truth", "scores"):
        same_in(kind, pair_template, project)


def same_in(kind, one, other):
    if kind == "split":
        path = f"data/splits/{SUBJECT}.json"
        splits = [Split.open(project / path, remedy="") for project in (one, other)]
        for side in ("train", "validation", "test"):
            np.testing.assert_array_equal(splits[0].ids(side), splits[1].ids(side))
    elif kind == "truth":
        path = f"data/truth/{SUBJECT}.h5"
        truths = [TruePictures.open(project / path, remedy="") for project in (one, other)]
        np.testing.assert_array_equal(truths[0].image_ids, truths[1].image_ids)
    else:
        path = f"reports/metrics/{SUBJECT}/ridge.json"
        rows = [
            json.loads((project / path).read_text())["rows"]["model"] for project in (one, other)
        ]
        for name, score in rows[1].items():
            assert score["value"] == pytest.approx(rows[0][name]["value"], abs=2e-4), name

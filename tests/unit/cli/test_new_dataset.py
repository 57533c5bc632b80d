"""``fmri2img new-dataset``: what a folder holds is declared, and what it lacks is named."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from commands import fmri2img, without_code
from datasets import DECLARED, N_IMAGES, PERSON, SIDE, folder, pictures_in_hdf5, write_volumes
from fmri2img.datasets.folder.alike import alike_groups
from fmri2img.datasets.simulation.scenes import render_image
from fmri2img.provenance.receipts import Ledger, unwatched

TOLD = ("--unit", "z-score", "--terms", "", "--title", "Colours at breakfast")


@pytest.fixture
def undeclared(tmp_path):
    root = write_volumes(tmp_path / "breakfast", ".nii.gz")
    (root / "dataset.yaml").unlink()
    (root / "pictures.csv").unlink()
    return root


def begin(root, *options, check=True):
    return fmri2img(root.parent, "new-dataset", root, *options, check=check)


def test_what_files_tell_is_declared(undeclared):
    told = begin(undeclared, *TOLD)
    declared = yaml.safe_load((undeclared / "dataset.yaml").read_text())
    assert declared | {"n_repetitions": 4} == DECLARED
    assert "complete; in params.yaml:" in told.stdout
    assert f"raw_root: {undeclared}" in told.stdout
    assert "anna: 96 trials in 2 sessions, 2 files of betas, regions visual" in told.stdout
    pictures = pd.read_csv(undeclared / "pictures.csv")
    assert pictures["is_test"].sum() == N_IMAGES // 10
    for part in ("shared", PERSON):  # the pipeline takes it
        folder(undeclared).fetch_files(part, Ledger(None), watch=unwatched)


def test_the_same_folder_is_declared_alike(undeclared, tmp_path):
    shutil.copytree(undeclared, tmp_path / "again" / "breakfast")
    begin(undeclared, *TOLD)
    begin(tmp_path / "again" / "breakfast", *TOLD)
    for name in ("dataset.yaml", "pictures.csv"):
        again = (tmp_path / "again" / "breakfast" / name).read_bytes()
        assert (undeclared / name).read_bytes() == again


def test_what_no_file_tells_is_asked_for(undeclared):
    result = begin(undeclared, check=False)
    assert result.returncode == 1
    assert "unit (unit of the betas, such as percent signal change or z-score)" in result.stdout
    (line,) = without_code(result.stderr).splitlines()
    assert line.startswith(f"error: {undeclared}: 2 things are missing, first ")
    text = (undeclared / "dataset.yaml").read_text()
    assert "# unit:   # unit of the betas" in text
    assert yaml.safe_load(text)["picture_side"] == SIDE
    # Written by hand, it is complete.
    (undeclared / "dataset.yaml").write_text(text + "unit: z-score\nterms: ''\n")
    assert "complete" in begin(undeclared).stdout


def lose_trials(root):
    (root / PERSON / "trials.csv").unlink()


def lose_betas(root):
    shutil.rmtree(root / PERSON / "betas")


def lose_a_session(root):
    path = root / PERSON / "trials.csv"
    path.write_text(path.read_text().replace("\n2,", "\n3,", 10))


def lose_regions(root):
    shutil.rmtree(root / PERSON / "regions")


def lose_pictures(root):
    shutil.rmtree(root / "pictures")


def lose_a_picture(root):
    (root / "pictures/cup-07.png").unlink()


def crop(root):
    path = root / "pictures/cup-07.png"
    with Image.open(path) as picture:
        picture.crop((0, 0, SIDE, SIDE - 8)).save(path)


@pytest.mark.parametrize(
    ("spoil", "missing"),
    [
        (lose_trials, "anna/trials.csv: a table session,run,trial,image_id with a line for each"),
        (lose_betas, "anna/betas: a file for each session (.nii.gz, .nii, .hdf5,"),
        (lose_a_session, "anna/betas: 2 files for the 3 sessions of trials.csv"),
        (lose_regions, "anna/regions: a label volume on the grid of the betas, such as visual.nii"),
        (lose_pictures, "pictures: the pictures, all square and of one size, named by image id"),
        (lose_a_picture, "pictures of 1 images, such as cup-07"),
        (crop, f"square and of one size (cup-00 {SIDE} x {SIDE}, cup-07 {SIDE - 8} x {SIDE})"),
    ],
)
def test_what_is_not_there_is_named(undeclared, spoil, missing):
    spoil(undeclared)
    result = begin(undeclared, *TOLD, check=False)
    assert result.returncode == 1
    assert missing in result.stdout
    assert result.stderr.count("\n") == 1


def test_a_folder_without_anybody(tmp_path):
    (tmp_path / "empty").mkdir()
    result = begin(tmp_path / "empty", check=False)
    assert "empty: no folder of a subject, expected <subject>/trials.csv" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--test-fraction", "2"), "--test-fraction: got 2.0, expected a share between 0 and 1"),
        (("--test-sessions", "9"), "no subject has a session 9; choose from: 1, 2"),
    ],
)
def test_options_that_cannot_be(undeclared, options, message):
    assert message in begin(undeclared, *TOLD, *options, check=False).stderr
    assert not (undeclared / "pictures.csv").exists()


def test_the_images_of_a_session_may_be_the_test_images(undeclared):
    path = undeclared / PERSON / "trials.csv"
    trials = pd.read_csv(path)
    alone = trials["image_id"] == "cup-11"
    trials.loc[(trials["session"] == 2) & ~alone, "image_id"] = "cup-12"
    trials.to_csv(path, index=False)
    begin(undeclared, *TOLD, "--test-sessions", "2")
    table = pd.read_csv(undeclared / "pictures.csv").set_index("image_id")["is_test"]
    assert {*table[table == 1].index} == {"cup-11", "cup-12"}


def test_a_changed_folder_is_compared_with_what_was_declared(undeclared):
    begin(undeclared, *TOLD)
    path = undeclared / "dataset.yaml"
    path.write_text(path.read_text().replace("n_repetitions: 4", "n_repetitions: 3"))
    assert "n_repetitions is 3, files say 4" in begin(undeclared).stdout


def test_pictures_in_an_array(tmp_path):
    root = pictures_in_hdf5(write_volumes(tmp_path / "raw", ".h5", n_files=1))
    for name in ("dataset.yaml", "pictures.csv"):
        (root / name).unlink()
    trials = pd.read_csv(root / PERSON / "trials.csv")
    trials["image_id"] = trials["image_id"].str.removeprefix("cup-").astype(int)
    trials.to_csv(root / PERSON / "trials.csv", index=False)
    begin(root, *TOLD)
    assert yaml.safe_load((root / "dataset.yaml").read_text())["ids"] == "numbers"
    folder(root).fetch_files("shared", Ledger(None), watch=unwatched)


def test_pictures_that_look_alike_stay_together(undeclared):
    pictures = undeclared / "pictures"
    scene = Image.fromarray(render_image(1, 3, SIDE))
    scene.save(pictures / "cup-20.png")
    scene.save(pictures / "cup-21.jpg", quality=70)
    (pictures / "cup-21.png").unlink()
    told = begin(undeclared, *TOLD).stdout
    assert "look alike, and stay together: cup-20, cup-21" in told
    path = undeclared / "pictures.csv"
    table = pd.read_csv(path)
    assert table[table["image_id"].isin(["cup-20", "cup-21"])]["is_test"].nunique() == 1
    table["is_test"] = (table["image_id"] == "cup-20").astype(int)
    table.to_csv(path, index=False)
    result = begin(undeclared, *TOLD, check=False)
    assert "cup-20, a test image, looks like cup-21, a training image; give both" in result.stderr


def test_what_looks_alike():
    scenes = [render_image(1, number, 96) for number in range(40)]
    rng = np.random.default_rng(0)
    noisy = np.clip(scenes[5] + rng.normal(0, 6, scenes[5].shape), 0, 255).astype(np.uint8)
    smaller = np.asarray(Image.fromarray(scenes[9]).resize((80, 80)))
    darker = (scenes[7] * 0.5).astype(np.uint8)
    groups = alike_groups([*scenes, noisy, smaller, darker])
    assert groups.tolist() == [*range(40), 5, 9, 42]
    assert alike_groups([]).tolist() == []

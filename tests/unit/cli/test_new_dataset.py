"""``fmri2img new-dataset``: what a folder holds is declared, and what it lacks is named."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from commands import fmri2img, without_code
from datasets import DECLARED, N_IMAGES, PERSON, SIDE, folder, pictures_in_hdf5, write_volumes
from fmri2img.datasets.alike import alike_groups
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
    assert "complete; change in params.yaml:" in told.stdout
    settings = told.stdout.partition("params.yaml:\n\n")[2].partition("\n\nthen")[0]
    assert yaml.safe_load(settings)["machine"] == {"raw_root": str(undeclared)}
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
    assert line.startswith(f"error: {undeclared}: 2 of the things it needs are missing, first ")
    text = (undeclared / "dataset.yaml").read_text()
    assert "# unit:   # unit of the betas" in text
    assert yaml.safe_load(text)["picture_side"] == SIDE
    # Told now, or written by hand, it is complete.
    begin(undeclared, "--unit", "z-score", check=False)
    with (undeclared / "dataset.yaml").open("a") as file:
        file.write("terms: ''\n")
    assert "complete" in begin(undeclared).stdout
    assert yaml.safe_load((undeclared / "dataset.yaml").read_text())["unit"] == "z-score"


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


def name_with_a_blank(root):
    (root / PERSON).rename(root / "anna b")


def crop(root):
    path = root / "pictures/cup-07.png"
    with Image.open(path) as picture:
        picture.crop((0, 0, SIDE, SIDE - 8)).save(path)


@pytest.mark.parametrize(
    ("spoil", "missing"),
    [
        (lose_trials, "anna/trials.csv: a table session,run,trial,image_id with a line for each"),
        (lose_betas, "anna/betas: a file for each session (.nii.gz, .nii, .hdf5,"),
        (lose_a_session, "anna/betas: 2 files, expected 3, one for each session of trials.csv"),
        (lose_regions, "anna/regions: a label volume on the grid of the betas, such as visual.nii"),
        (lose_pictures, "pictures: the pictures, all square and of one size, named by image id"),
        (lose_a_picture, "pictures of images that trials name: cup-07"),
        (name_with_a_blank, "anna b: a name of letters, digits and _ for this folder"),
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
    result = begin(undeclared, check=False)
    assert result.returncode == 1
    assert "n_repetitions is 3, and the files say 4: correct" in result.stdout


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


def test_what_was_missing_is_taken_up_when_it_is_there(undeclared, tmp_path):
    shutil.move(undeclared / "pictures/cup-07.png", tmp_path / "cup-07.png")
    shutil.move(undeclared / PERSON / "trials.csv", tmp_path / "trials.csv")
    begin(undeclared, *TOLD, check=False)
    assert not (undeclared / "pictures.csv").exists()
    shutil.move(tmp_path / "trials.csv", undeclared / PERSON / "trials.csv")
    assert "that trials name: cup-07" in begin(undeclared, check=False).stdout
    assert not (undeclared / "pictures.csv").exists()
    shutil.move(tmp_path / "cup-07.png", undeclared / "pictures/cup-07.png")
    assert "complete" in begin(undeclared).stdout
    declared = yaml.safe_load((undeclared / "dataset.yaml").read_text())
    assert declared | {"n_repetitions": 4} == DECLARED
    folder(undeclared).fetch_files("shared", Ledger(None), watch=unwatched)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--terms", "only our group"), "terms is '', and the option says 'only our group'"),
        (("--test-sessions", "2"), "it says already which images are for tests; delete it to"),
        (("--test-fraction", "0.2"), "it says already which images are for tests; delete it to"),
    ],
)
def test_an_option_that_contradicts_what_is_written_is_not_ignored(undeclared, option, message):
    begin(undeclared, *TOLD)
    result = begin(undeclared, *option, check=False)
    assert result.returncode == 1
    assert message in result.stdout


def test_another_person_must_be_declared(undeclared):
    begin(undeclared, *TOLD)
    shutil.copytree(undeclared / PERSON, undeclared / "berta")
    assert (
        "subjects is ['anna'], and the files say ['anna', 'berta']"
        in begin(undeclared, check=False).stdout
    )


def test_test_images_are_drawn_from_those_that_were_shown(undeclared):
    rng = np.random.default_rng(1)
    for number in range(200):
        noise = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(undeclared / f"pictures/more-{number:03d}.png")
    assert "pictures that no trial showed: more-000 and 199 more" in begin(undeclared, *TOLD).stdout
    table = pd.read_csv(undeclared / "pictures.csv")
    test = table.loc[table["is_test"] == 1, "image_id"]
    assert len(test) == N_IMAGES // 10
    assert test.str.startswith("cup").all()


def test_letters_on_grey_are_not_all_alike(undeclared):
    rng = np.random.default_rng(1)
    for number in range(N_IMAGES):
        letter = np.kron(rng.random((6, 6)) < 0.4, np.ones((2, 2)))
        picture = np.full((SIDE, SIDE, 3), 128, np.uint8)
        picture[18:30, 18:30][letter > 0] = 0
        Image.fromarray(picture).save(undeclared / f"pictures/cup-{number:02d}.png")
    assert "look alike" not in begin(undeclared, *TOLD).stdout


def test_a_choice_that_leaves_hardly_a_training_image_is_refused(undeclared):
    result = begin(undeclared, *TOLD, "--test-sessions", "2", check=False)
    assert "40 of 40 images that were shown would be test images" in result.stderr
    assert not (undeclared / "pictures.csv").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("title: a: b", "not valid YAML"), ("[1, 2]", "expected keys with values")],
)
def test_a_declaration_that_is_none(undeclared, text, message):
    (undeclared / "dataset.yaml").write_text(text)
    result = begin(undeclared, *TOLD, check=False)
    assert result.returncode == 1
    assert message in result.stderr


def test_a_blank_picture_beside_numbers_makes_ids_texts(undeclared):
    path = undeclared / PERSON / "trials.csv"
    path.write_text(path.read_text().replace("cup-", ""))
    for picture in (undeclared / "pictures").glob("cup-*.png"):
        picture.rename(picture.with_name(picture.name.removeprefix("cup-")))
    shutil.copy(undeclared / "pictures/07.png", undeclared / "pictures/blank.png")
    begin(undeclared, *TOLD, check=False)
    assert yaml.safe_load((undeclared / "dataset.yaml").read_text())["ids"] == "texts"


def test_a_name_that_was_wrong_is_not_declared(undeclared):
    (undeclared / PERSON).rename(undeclared / "sub-01")
    begin(undeclared, *TOLD, check=False)
    (undeclared / "sub-01").rename(undeclared / "sub01")
    assert "subjects: [sub01]" in begin(undeclared).stdout


def test_comments_of_the_owner_stay(undeclared):
    (undeclared / "dataset.yaml").write_text("# Scanned in 2021.\ntitle: Breakfast\n")
    begin(undeclared, *TOLD[:4])
    text = (undeclared / "dataset.yaml").read_text()
    assert text.startswith("# Scanned in 2021.\ntitle: Breakfast\n")


def test_sets_of_regions_that_not_all_subjects_have(undeclared):
    shutil.copytree(undeclared / PERSON, undeclared / "berta")
    regions = undeclared / "berta/regions"
    (regions / "visual.nii.gz").rename(regions / "motor.nii.gz")
    result = begin(undeclared, *TOLD, check=False)
    assert "a set of regions that all subjects have, by name" in result.stdout
    shutil.copy(undeclared / PERSON / "regions/visual.nii.gz", regions)
    assert "  roi: visual\n" in begin(undeclared).stdout


def test_blank_pictures_are_alike():
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    assert alike_groups([white, white - 1, white // 2]).tolist() == [0, 0, 2]

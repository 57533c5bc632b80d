import fcntl

import h5py
import numpy as np
import pytest

from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.containers.units import Units
from fmri2img.project.exceptions import FormatError, MismatchError

N, N_TEST, SIDE = 5, 3, 8
ABOUT = {"subject": "subj01", "units": {"name": "units"}, "roi_names": {"0": "V0", "1": "V1"}}


def reconstructions(**changes):
    pictures = np.zeros((N, SIDE, SIDE, 3), np.uint8)
    some = np.zeros((2, 4, 1, 1), np.float32)
    arrays = {
        "image_ids": np.arange(N),
        "split": np.array([b"test"] * N_TEST + [b"train"] * 2),
        "images": pictures,
        "ceiling": pictures,
        "mean_latent": some[0],
        "mean_decoded": pictures[0],
        "mean_seen": some[0],
        "partial_image_ids": np.arange(2),
        "partial_first": np.zeros(2, np.int8),
        "partial_count": np.ones(2, np.int8),
        "partial_images": pictures[:2],
        "partial_seen": some,
        "provenance": {"subject": "subj01"},
    }
    return Reconstructions(**arrays | changes)


def test_arrays_that_an_encoder_has_nothing_for_are_not_in_the_file(tmp_path):
    latents = np.ones((N, 4, 1, 1), np.float32)
    reconstructions(found_latents=latents).save(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert {"latents", "samples", "seed_images"}.isdisjoint(file)
    again = Reconstructions.open(tmp_path / "a.h5", remedy="")
    assert again.latents is again.samples is again.seed_images is None
    assert again.n_samples == 0
    np.testing.assert_array_equal(again.any_latents, latents)


def test_files_of_version_0_1_open_under_todays_names(tmp_path):
    z_latents = np.full((N_TEST, 4, 40, 40), 2, np.float16)
    path = tmp_path / "old.h5"
    reconstructions(latents=np.ones((N, 4, 1, 1), np.float32), z_latents=z_latents).save(path)
    with h5py.File(path, "a") as file:
        file.move("z_latents", "scenes")
        file["samples"] = np.zeros((0, 0, 512, 512, 3), np.uint8)
        file["seed_images"] = np.zeros((0, N_TEST, SIDE, SIDE, 3), np.uint8)
        file["prompts"] = np.zeros((0, 77, 768), np.float16)
    found = Reconstructions.open(path, remedy="")
    np.testing.assert_array_equal(found.z_latents, z_latents)
    assert found.samples is found.seed_images is found.text_embeddings is None


def test_targets_of_version_0_1(tmp_path):
    path = tmp_path / "targets.h5"
    nothing = DiffusionTargets.nothing()
    old = {"prompts": {"captions": "ab"}, "scenes": {"pictures": "cd"}}
    DiffusionTargets(
        nothing.image_ids, nothing.z_latents, nothing.text_embeddings, nothing.empty_text, old
    ).save(path)
    with h5py.File(path, "a") as file:
        for name, earlier in DiffusionTargets.earlier_names.items():
            file.move(name, earlier)
    found = DiffusionTargets.open(path, remedy="")
    assert found.empty_text.shape == (77, 768)
    assert found.made_from("text_embeddings") == {"captions": "ab"}
    assert nothing.made_from("z_latents") is None


def test_lengths_that_do_not_belong_together():
    with pytest.raises(MismatchError, match=r"arrays over predicted differ in length: .*latent_sd"):
        reconstructions(
            latents=np.zeros((N, 4, 1, 1)), latent_sd=np.zeros((N - 1, 4, 1, 1), np.float32)
        )


def examples(**changes):
    arrays = {
        "voxel_ijk": np.arange(6, dtype=np.int16).reshape(2, 3),
        "roi_labels": np.ones(2, np.int16),
        "ncsnr": np.ones(2, np.float32),
        "training_ncsnr": np.full(2, np.nan, np.float32),
        "in_brain": np.ones(2, bool),
        "sessions": np.array([1, 2], np.int16),
        "valid": np.ones((2, 2), bool),
        "saturated": np.zeros((2, 2), np.int16),
        "affine": np.eye(4),
        "provenance": ABOUT,
        "image_ids": np.array([3, 7, 9]),
        "images": np.zeros((3, 8, 8, 3), np.uint8),
        "is_shared": np.zeros(3, bool),
        "betas": np.zeros((4, 2), np.int16),
        "trial_image_ids": np.array([3, 3, 7, 9]),
        "trial_session": np.array([1, 2, 1, 2], np.int16),
    }
    return Examples(**arrays | changes)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"trial_image_ids": np.array([3, 7, 3, 9])},
            "trial_image_ids: 3 after 7, expected sorted values",
        ),
        ({"image_ids": np.array([3, 7, 7])}, "image_ids: 7 after 7, expected ascending values"),
        ({"image_ids": np.array([9, 7, 3])}, "image_ids: 7 after 9, expected ascending values"),
        (
            {"image_ids": np.array([3, 7, 8])},
            "trial_image_ids: a trial showed an image that is not among image_ids",
        ),
        (
            {"trial_session": np.array([1, 2, 1, 5], np.int16)},
            "trial_session: session 5 is not among sessions",
        ),
        ({"betas": np.zeros((4, 2))}, "betas: dtype float64, expected int16 or float32"),
        (
            {"ncsnr": np.ones((2, 2), np.float32)},
            r"ncsnr: shape \(2, 2\), expected \(voxels\)",
        ),
        (
            {"valid": np.ones((2, 3), bool)},
            "valid: 3 voxels, expected the 2 of voxel_ijk",
        ),
        (
            {"images": np.zeros((3, 8, 9, 3), np.uint8)},
            "images: 9 side, expected the 8 of images",
        ),
        ({"affine": np.full((4, 4), np.nan)}, r"affine: nan at \(0, 0\), expected finite numbers"),
    ],
)
def test_a_file_whose_arrays_are_not_as_declared(tmp_path, changes, line):
    path, wrong = tmp_path / "e.h5", examples(**changes)
    wrong._write(path)  # as other hands and earlier versions did
    with pytest.raises(FormatError, match=rf"e\.h5: {line}; run: dvc repro x"):
        Examples.open(path, remedy="dvc repro x")
    examples().save(path)
    before = path.read_bytes()
    with pytest.raises(MismatchError, match=f"{line}; nothing was written, and what was there is"):
        wrong.save(path)
    assert path.read_bytes() == before


def test_a_file_of_somebody_else(tmp_path):
    examples().save(tmp_path / "e.h5")
    assert Examples.open(tmp_path / "e.h5", remedy="", subject="subj01").n_voxels == 2
    with pytest.raises(
        MismatchError, match=r"e\.h5 belongs to subj01, expected subj02; run: dvc repro"
    ):
        Examples.open(tmp_path / "e.h5", remedy="dvc repro", subject="subj02")


def trial_betas(**changes):
    names = ("voxel_ijk", "roi_labels", "ncsnr", "training_ncsnr", "in_brain", "sessions")
    known = examples()
    voxels = {name: getattr(known, name) for name in (*names, "valid", "saturated", "affine")}
    trials = {
        "provenance": ABOUT,
        "betas": np.zeros((3, 2), np.int16),
        "image_ids": np.array([5, 2, 5]),
        "is_shared": np.zeros(3, bool),
        "session": np.array([1, 1, 2], np.int16),
        "run": np.ones(3, np.int16),
        "trial": np.array([1, 2, 1], np.int16),
        "repetition": np.array([0, 0, 1], np.int8),
    }
    return TrialBetas(**voxels, **trials | changes)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"trial": np.array([1, 1, 1], np.int16)},
            "session, run, trial: two trials have the same numbers",
        ),
        (
            {"image_ids": np.array([5, 5, 2])},
            r"repetition: 0 in trial 1 \(from 0\), expected 1, how often image 5 was shown",
        ),
        (
            {"is_shared": np.array([True, False, False])},
            "is_shared: image 5 is shared in some trials and not in others",
        ),
        ({"session": np.array([1, 1, 7], np.int16)}, "session: session 7 is not among sessions"),
    ],
    ids=["two at one place", "shuffled ids", "shared at times", "a session without voxels"],
)
def test_trials_that_contradict_one_another(tmp_path, changes, line):
    path = tmp_path / "v.h5"
    trial_betas().save(path)
    assert TrialBetas.open(path, remedy="").image_ids.tolist() == [5, 2, 5]
    trial_betas(**changes)._write(path)
    with pytest.raises(FormatError, match=line):
        TrialBetas.open(path, remedy="")
    with pytest.raises(MismatchError, match=line):
        trial_betas(**changes).save(path)


def test_latents_that_are_no_numbers(tmp_path):
    values = np.zeros((2, 4, 2, 2), np.float32)
    values[1, 0, 1, 0] = np.inf
    none = np.zeros((2, 0, 1, 1), np.float32)
    Latents(np.arange(2), values, none, {"autoencoder": {}})._write(tmp_path / "l.h5")
    with pytest.raises(FormatError, match=r"values: inf at \(1, 0, 1, 0\), expected finite"):
        Latents.open(tmp_path / "l.h5", remedy="")


def test_latents_that_do_not_depend_on_the_picture(tmp_path):
    same = np.full((3, 4, 2, 2), 0.7, np.float32)
    none = np.zeros((3, 0, 1, 1), np.float32)
    latents = Latents(np.arange(3), same, none, {"autoencoder": {}})
    with pytest.raises(MismatchError, match="values: the same latents for all 3 pictures"):
        latents.save(tmp_path / "l.h5")
    latents._write(tmp_path / "l.h5")
    with pytest.raises(FormatError, match="values: the same latents for all 3 pictures; run: x"):
        Latents.open(tmp_path / "l.h5", remedy="x")
    latents.only(np.array([1])).save(tmp_path / "one.h5")


def test_image_ids_may_be_texts(tmp_path):
    ids = np.array(["cat", "dog", "owl"])
    examples(image_ids=ids, trial_image_ids=ids[[0, 0, 1, 2]]).save(tmp_path / "e.h5")
    opened = Examples.open(tmp_path / "e.h5", remedy="")
    np.testing.assert_array_equal(opened.image_ids, ids)
    np.testing.assert_array_equal(opened.rows_of(ids[[2, 0]]), [2, 0])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"voxel_ijk": np.ones((2, 3), np.int16)},
            "voxel_ijk: two voxels have the same place",
        ),
        (
            {"voxel_ijk": -np.arange(6, dtype=np.int16).reshape(2, 3)},
            "voxel_ijk: a voxel lies outside of the grid",
        ),
        ({"provenance": ABOUT | {"grid": "x"}}, "provenance: grid: 'x', expected three whole"),
        (
            {"provenance": ABOUT | {"grid": [9, 9, 5]}},
            r"voxel_ijk: a voxel lies outside of the grid of \[9, 9, 5\]",
        ),
        (
            {"roi_labels": np.array([1, 999], np.int16)},
            "roi_labels: label 999 has no name among roi_names",
        ),
        (
            {"ncsnr": np.array([1, -np.inf], np.float32)},
            "ncsnr: -inf, expected 0 or more, or NaN",
        ),
        (
            {"trial_image_ids": np.array([3, 3, 7, 7])},
            "image_ids: no trial showed image 9",
        ),
        ({"valid": np.zeros((2, 2), bool)}, "valid: no voxel has data in any session"),
        ({"provenance": {}}, "provenance: subject: got None, expected a str"),
        (
            {"provenance": ABOUT | {"units": 3}},
            "provenance: units: got 3, expected a dict",
        ),
    ],
)
def test_voxels_and_images_that_there_cannot_be(tmp_path, changes, line):
    examples(**changes)._write(tmp_path / "e.h5")
    with pytest.raises(FormatError, match=rf"e\.h5: {line}.*; run: dvc repro x"):
        Examples.open(tmp_path / "e.h5", remedy="dvc repro x")


@pytest.mark.parametrize(
    "units",
    [
        {},
        {"name": 3},
        {"name": "percent", "per_unit": 0},
        {"name": "percent", "per_unit": float("nan")},
        {"name": "percent", "per_unit": "300"},
    ],
)
def test_units_of_another_form(units):
    with pytest.raises(FormatError, match=r"^units: got .*, expected a name and a positive per_un"):
        Units.of({"units": units})
    assert Units.of({"units": {"name": "percent", "per_unit": 300, "more": 1}}).per_unit == 300


def test_true_pictures_of_another_size_than_the_datasets(tmp_path):
    pictures = np.zeros((2, 6, 6, 3), np.uint8)
    TruePictures(np.arange(2), pictures, {"picture_side": 6}).save(tmp_path / "t.h5")
    TruePictures(np.arange(2), pictures, {}).save(tmp_path / "old.h5")  # version 0.2 did not say
    with pytest.raises(MismatchError, match="images: 6 pixels wide, expected the dataset's 425"):
        TruePictures(np.arange(2), pictures, {"picture_side": 425}).save(tmp_path / "t.h5")


@pytest.mark.parametrize("way", ["external storage", "external link", "soft link", "virtual"])
def test_arrays_that_lie_in_another_file_are_refused(tmp_path, way):
    examples().save(tmp_path / "e.h5")
    examples().save(tmp_path / "other.h5")
    with h5py.File(tmp_path / "e.h5", "r+") as file:
        betas = file["betas"][()]
        del file["betas"]
        if way == "external storage":
            (tmp_path / "secret").write_bytes(betas.tobytes())
            place = (tmp_path / "secret", 0, betas.nbytes)
            file.create_dataset("betas", betas.shape, betas.dtype, external=[place])
        elif way == "external link":
            file["betas"] = h5py.ExternalLink(tmp_path / "other.h5", "betas")
        elif way == "soft link":
            file["kept"] = betas
            file["betas"] = h5py.SoftLink("/kept")
        else:
            layout = h5py.VirtualLayout(betas.shape, betas.dtype)
            layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "betas", betas.shape)
            file.create_virtual_dataset("betas", layout)
    for on_disk in ((), ("betas",)):
        with pytest.raises(FormatError, match=r"e\.h5: .*run: dvc repro x"):
            Examples.open(tmp_path / "e.h5", remedy="dvc repro x", on_disk=on_disk)


def test_no_trial_at_all(tmp_path):
    none = {
        name: getattr(trial_betas(), name)[:0]
        for name in ("betas", "image_ids", "is_shared", "session", "run", "trial", "repetition")
    }
    with pytest.raises(MismatchError, match="image_ids: no trial; nothing was written"):
        trial_betas(**none).save(tmp_path / "t.h5")


def test_latents_of_no_autoencoder_and_another_kind_of_file(tmp_path):
    none = np.zeros((2, 0, 1, 1), np.float32)
    latents = Latents(np.arange(2), np.zeros((2, 4, 2, 2), np.float32), none, {})
    latents._write(tmp_path / "l.h5")
    with pytest.raises(FormatError, match="provenance: autoencoder: got None, expected a dict"):
        Latents.open(tmp_path / "l.h5", remedy="")
    with pytest.raises(
        FormatError, match=r"^[^(]*: expected a file of Examples, got 'Latents'; run: x$"
    ):
        Examples.open(tmp_path / "l.h5", remedy="x")


def test_a_file_that_another_process_holds_is_read(tmp_path):
    examples().save(tmp_path / "e.h5")
    with (tmp_path / "e.h5").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        opened = Examples.open(tmp_path / "e.h5", remedy="", on_disk=["betas"])
        assert opened.betas[:2].shape == (2, 2)

"""An experiment in a folder whose betas are volumes, in the forms in which labs have them."""

import shutil

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from datasets import (
    PERSON,
    PLACE,
    folder,
    pictures_in_hdf5,
    write_folder,
    write_volumes,
)
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.datasets import folder_dataset
from fmri2img.datasets.contract import check_betas
from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.datasets.protocol import Resources
from fmri2img.datasets.regions import read_region
from fmri2img.project.config import ConvertRoiParams, ExtractBetasParams, TimeseriesParams
from fmri2img.project.exceptions import (
    ConfigError,
    FormatError,
    MismatchError,
    MissingDataError,
)
from fmri2img.provenance.receipts import Ledger, RawFiles, unwatched

WINDOWS = TimeseriesParams(window_seconds=[4.0, 8.0], baseline_seconds=[-4.0, 0.0])
ALL = ExtractBetasParams(labels="all", recompute_ncsnr=False, min_ncsnr=0.0, timeseries=WINDOWS)
N_TRIALS = 96
FORMS = [(".nii.gz", 2), (".nii", 2), (".npy", 1), (".hdf5", 2), (".mat", 1), (".h5", 2)]


def extract(dataset, workspace, roi="visual", params=ALL):
    raw, shared = (
        RawFiles(
            dataset.fetch_files(part, Ledger(None), watch=unwatched),
            dataset.setting.root,
            Ledger(None),
        )
        for part in (PERSON, "shared")
    )
    volume = dataset.read_regions(
        raw, ConvertRoiParams(roi=roi, drawn_in="func", mapping="nearest")
    )
    workspace.mkdir(exist_ok=True)
    write_volume(workspace / "roi.nii.gz", volume.labels, volume.voxel_mm, affine=volume.affine)
    region = read_region(workspace / "roi.nii.gz", volume.table, "all", remedy="")
    resources = Resources(dataset.setting.machine, workspace / "pieces")
    trials = dataset.read_betas(raw, shared, region, params, resources)
    check_betas(trials, dataset.facts, PERSON).save(workspace / "voxels.h5")
    return TrialBetas.open(workspace / "voxels.h5", remedy="", subject=PERSON)


def values(trials):
    return np.asarray(trials.betas[:])


@pytest.fixture(scope="module")
def in_a_table(tmp_path_factory):
    root = tmp_path_factory.mktemp("table")
    return extract(folder(write_folder(root / "raw")), root / "work")


@pytest.mark.parametrize(("form", "n_files"), FORMS)
def test_every_form_gives_the_numbers_of_the_table(form, n_files, in_a_table, tmp_path):
    trials = extract(folder(write_volumes(tmp_path / "raw", form, n_files=n_files)), tmp_path / "w")
    np.testing.assert_array_equal(trials.voxel_ijk, in_a_table.voxel_ijk)
    np.testing.assert_array_equal(values(trials), values(in_a_table))
    np.testing.assert_array_equal(trials.image_ids, in_a_table.image_ids)
    np.testing.assert_array_equal(trials.repetition, in_a_table.repetition)
    np.testing.assert_array_equal(trials.affine, PLACE)
    names = trials.provenance["roi_names"]
    assert [names[str(label)] for label in np.unique(trials.roi_labels)] == ["V1", "V4"]


def test_one_session_of_a_file_for_all(in_a_table, tmp_path):
    dataset = folder(write_volumes(tmp_path / "raw", ".h5", n_files=1))
    dataset.settings = folder_dataset.Settings(sessions=[2])
    trials = extract(dataset, tmp_path / "work")
    assert trials.sessions.tolist() == [2]
    np.testing.assert_array_equal(values(trials), values(in_a_table)[in_a_table.session == 2])


def test_ncsnr_from_training_images_chooses_the_voxels_that_it_chose_in_the_table(tmp_path):
    params = ALL.model_copy(update={"min_ncsnr": 1.0})
    table = extract(folder(write_folder(tmp_path / "a")), tmp_path / "work-a", params=params)
    there = extract(
        folder(write_volumes(tmp_path / "b", ".nii.gz")), tmp_path / "work-b", params=params
    )
    assert 0 < table.n_voxels < 22
    np.testing.assert_array_equal(there.voxel_ijk, table.voxel_ijk)
    np.testing.assert_allclose(there.training_ncsnr, table.training_ncsnr, rtol=1e-6)


def test_a_voxel_without_data_is_missing(tmp_path):
    root = write_volumes(tmp_path / "raw", ".nii.gz")
    path = root / PERSON / "betas/ses-02.nii.gz"
    volumes = nib.load(path).get_fdata(dtype=np.float32)
    volumes[1, 2, 3] = 0  # of V1
    write_volume(path, volumes, 2.0, affine=PLACE)
    trials = extract(folder(root), tmp_path / "work")
    assert trials.valid.tolist()[0].count(False) == 0
    assert trials.valid.tolist()[1].count(False) == 1


def test_labels_without_a_table_are_numbered_and_a_single_one_has_the_sets_name(tmp_path):
    root = write_volumes(tmp_path / "raw", ".nii.gz")
    (root / PERSON / "regions/visual.csv").unlink()
    mask = np.ones((2, 3, 4), np.int16)
    write_volume(root / PERSON / "regions/brain.nii.gz", mask, 2.0, affine=PLACE)
    dataset = folder(root)
    assert extract(dataset, tmp_path / "a").provenance["roi_names"] == {
        "1": "visual-1",
        "4": "visual-4",
    }
    assert extract(dataset, tmp_path / "b", roi="brain").provenance["roi_names"] == {"1": "brain"}


def test_a_table_as_bids_has_it(tmp_path):
    root = write_volumes(tmp_path / "raw", ".nii.gz")
    regions = root / PERSON / "regions"
    (regions / "visual.csv").unlink()
    (regions / "visual.tsv").write_text("index\tname\tcolor\n1\tV1\t#ff0000\n4\tV4\t#00ff00\n")
    assert extract(folder(root), tmp_path / "w").provenance["roi_names"] == {"1": "V1", "4": "V4"}


def test_pictures_may_be_rows_of_an_array(tmp_path):
    root = write_folder(tmp_path / "raw")
    ids = np.array(["cup-03", "cup-00", "cup-39"])

    def shown(dataset):
        receipt = dataset.fetch_files("shared", Ledger(None), watch=unwatched)
        return list(dataset.iterate_pictures(None, RawFiles(receipt, root, Ledger(None)), ids))

    before = shown(folder(root))
    np.testing.assert_array_equal(shown(folder(pictures_in_hdf5(root))), before)


def write_hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def pickled(person):
    shutil.rmtree(person / "betas")
    np.save(person / "betas.npy", {"betasmd": np.zeros((2, 3, 4, N_TRIALS))}, allow_pickle=True)


def old_matlab(person):
    shutil.rmtree(person / "betas")
    (person / "betas.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))


def one_session_less(person):
    (person / "betas/ses-02.nii.gz").unlink()


def one_trial_less(person):
    path = person / "betas/ses-02.nii.gz"
    write_volume(path, nib.load(path).get_fdata(dtype=np.float32)[..., :-1], 2.0, affine=PLACE)


def another_place(person):
    path = person / "betas/ses-02.nii.gz"
    write_volume(
        path, nib.load(path).get_fdata(dtype=np.float32), 2.0, affine=PLACE * [[-1], [1], [1], [1]]
    )


def another_grid(person):
    shutil.rmtree(person / "betas")
    write_hdf5(person / "betas.hdf5", betas=np.ones((N_TRIALS, 4, 3, 3), np.float32))


def flattened(person):
    shutil.rmtree(person / "betas")
    write_hdf5(person / "betas.h5", betasmd=np.ones((24, 1, 1, N_TRIALS), np.float32))


def other_array(person):
    shutil.rmtree(person / "betas")
    write_hdf5(person / "betas.hdf5", results=np.ones((2, 3)))


def link(person):
    shutil.rmtree(person / "betas")
    with h5py.File(person / "betas.hdf5", "w") as file:
        file["betas"] = h5py.ExternalLink("elsewhere.hdf5", "betas")


def texts(person):
    shutil.rmtree(person / "betas")
    write_hdf5(person / "betas.hdf5", betas=np.full((N_TRIALS, 4, 3, 2), b"one"))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            pickled,
            FormatError,
            r"a pickled dictionary, .* wanthdf5 is 1, .*; write its array where",
        ),
        (old_matlab, FormatError, r"betas.mat: not a readable HDF5 file .*; save it with -v7.3"),
        (
            one_session_less,
            MismatchError,
            r"anna/betas: 1 files, expected 2, one for each session.*, then run: dvc",
        ),
        (one_trial_less, MismatchError, r"got 47 volumes, expected 48, the trials of trials.csv"),
        (
            another_place,
            MismatchError,
            r"affine translation \[-20.0, .* does not match the regions",
        ),
        (
            another_grid,
            MismatchError,
            r"array of \(96, 4, 3, 3\), .* grid \(2, 3, 4\) of the region",
        ),
        (flattened, MismatchError, r"or betas.npy \(trials, voxels\) with voxels.csv"),
        (other_array, FormatError, r"got results, expected one of betas, modelmd, betasmd"),
        (link, FormatError, r"betas is a link to elsewhere.hdf5"),
        (texts, FormatError, r"betas is \|S3, expected numbers"),
    ],
)
def test_betas_that_do_not_fit(spoil, error, message, tmp_path):
    root = write_volumes(tmp_path / "raw", ".nii.gz")
    spoil(root / PERSON)
    with pytest.raises(error, match=message) as caught:
        extract(folder(root), tmp_path / "work")
    assert "\n" not in str(caught.value)


def unnamed(root):
    (root / PERSON / "regions/visual.csv").write_text("label,name\n1,V1\n")


def named_twice(root):
    (root / PERSON / "regions/visual.csv").write_text("label,name\n1,V1\n4,V1\n")


def empty(root):
    path = root / PERSON / "regions/visual.nii.gz"
    write_volume(path, np.zeros((2, 3, 4), np.int16), 2.0, affine=PLACE)


def shares(root):
    path = root / PERSON / "regions/visual.nii.gz"
    write_volume(path, np.full((2, 3, 4), 0.5, np.float32), 2.0, affine=PLACE)


def larger(root):
    declared = yaml.safe_load((root / "dataset.yaml").read_text())
    (root / "dataset.yaml").write_text(yaml.safe_dump(declared | {"voxel_mm": 1.8}))


def elsewhere(root):
    (root / PERSON / "regions/visual.nii.gz").rename(root / PERSON / "regions/motor.nii.gz")


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (unnamed, MismatchError, r"label 4 of visual.nii.gz has no name \(1 such labels\); add a"),
        (named_twice, FormatError, r"a label or a name is there twice; keep one line per region"),
        (empty, FormatError, r"visual.nii.gz: no voxel has a label above 0"),
        (shares, FormatError, r"expected a 3-D volume of whole numbers up to 32767"),
        (larger, MismatchError, r"voxels of 2.000 mm, expected 1.8 as declared; correct voxel_mm"),
        (elsewhere, ConfigError, r"anna/regions has no label volume 'visual'; choose from: motor"),
    ],
)
def test_regions_that_do_not_fit(spoil, error, message, tmp_path):
    root = write_volumes(tmp_path / "raw", ".nii.gz")
    spoil(root)
    with pytest.raises(error, match=message):
        extract(folder(root), tmp_path / "work")


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("betas", r"anna: no betas; put a file for each session into"),
        ("regions", r"anna: no regions; put a label volume on the grid of the betas into anna/reg"),
    ],
)
def test_a_subject_without_betas_or_regions(lost, message, tmp_path):
    root = write_volumes(tmp_path / "raw", ".nii.gz")
    shutil.rmtree(root / PERSON / lost)
    with pytest.raises(MissingDataError, match=message):
        folder(root).fetch_files(PERSON, Ledger(None), watch=unwatched)


def test_a_test_picture_under_another_name_among_the_training_pictures(tmp_path):
    root = write_folder(tmp_path / "raw")
    shutil.copy(root / "pictures/cup-02.png", root / "pictures/cup-30.png")
    with pytest.raises(
        MismatchError, match=r"cup-02, a test image, and cup-30 are the same picture; give both"
    ):
        folder(root).fetch_files("shared", Ledger(None), watch=unwatched)
    table = pd.read_csv(root / "pictures.csv")
    table.loc[table["image_id"] == "cup-30", "is_test"] = 1
    table.to_csv(root / "pictures.csv", index=False)
    folder(root).fetch_files("shared", Ledger(None), watch=unwatched)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((4, 48, 48, 3), np.uint8),
            r"there is no row 39, expected 0 to 3; correct pict",
        ),
        (np.zeros((40, 48, 48), np.uint8), r"uint8 of shape \(40, 48, 48\), expected uint8 of"),
    ],
)
def test_an_array_of_pictures_that_does_not_fit(array, message, tmp_path):
    root = pictures_in_hdf5(write_folder(tmp_path / "raw"))
    write_hdf5(root / "pictures.hdf5", pictures=array)
    with pytest.raises(FormatError, match=message):
        folder(root).fetch_files("shared", Ledger(None), watch=unwatched)


def renamed(root, pattern):
    """Ten sessions of eight trials, with files named by a pattern."""
    person = root / PERSON
    trials = pd.read_csv(person / "trials.csv")
    trials["session"] = np.repeat(np.arange(1, 13), 8)
    trials["trial"] = np.tile(np.arange(1, 9), 12)
    trials.to_csv(person / "trials.csv", index=False)
    volumes = np.load(person / "betas.npy")
    (person / "betas.npy").unlink()
    (person / "betas").mkdir()
    for number, part in enumerate(np.split(volumes, 12, axis=3), start=1):
        np.save(person / "betas" / pattern.format(number=number, letter=chr(96 + number)), part)
    return root


@pytest.mark.parametrize(
    "pattern",
    ["ses-{number}.npy", "sub-01_ses-{number:02d}_run-1.npy", "day{number}.npy", "{letter}.npy"],
)
def test_files_belong_to_sessions_by_their_numbers(pattern, in_a_table, tmp_path):
    root = renamed(write_volumes(tmp_path / "raw", ".npy", n_files=1), pattern)
    trials = extract(folder(root), tmp_path / "work")
    assert trials.sessions.tolist() == list(range(1, 13))
    np.testing.assert_array_equal(values(trials), values(in_a_table))


def test_numbers_that_are_no_sessions_are_refused(tmp_path):
    root = renamed(write_volumes(tmp_path / "raw", ".npy", n_files=1), "ses-{number}.npy")
    (root / PERSON / "betas/ses-3.npy").rename(root / PERSON / "betas/ses-30.npy")
    with pytest.raises(MismatchError, match=r"no file of session 3 of trials.csv, only of 1, 2, 4"):
        extract(folder(root), tmp_path / "work")


def test_files_that_begin_with_a_dot_are_none(tmp_path):
    root = write_volumes(tmp_path / "raw", ".nii.gz")
    for path in ("betas/._ses-01.nii.gz", "regions/._visual.nii.gz"):
        (root / PERSON / path).write_bytes(b"Mac OS X")
    extract(folder(root), tmp_path / "work")


def test_betas_in_two_forms_are_refused(tmp_path):
    root = write_volumes(tmp_path / "raw", ".nii.gz")
    np.save(root / PERSON / "betas.npy", np.zeros((2, 3, 4, N_TRIALS), np.float32))
    with pytest.raises(FormatError, match=r"betas are there twice, as betas.npy and betas/ses-01"):
        folder(root).fetch_files(PERSON, Ledger(None), watch=unwatched)


def test_two_label_volumes_of_one_name_are_refused(tmp_path):
    root = write_volumes(tmp_path / "raw", ".nii.gz")
    regions = root / PERSON / "regions"
    nib.save(nib.load(regions / "visual.nii.gz"), regions / "visual.nii")
    with pytest.raises(FormatError, match=r"two label volumes are called visual: "):
        extract(folder(root), tmp_path / "work")


@pytest.mark.parametrize("kind", ["cut", "complex"])
def test_a_plain_volume_that_cannot_be_read(kind, tmp_path):
    root = write_volumes(tmp_path / "raw", ".nii")
    path = root / PERSON / "betas/ses-02.nii"
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-2000])
    else:
        nib.save(nib.Nifti1Image(np.ones((2, 3, 4, 48), np.complex64), PLACE), path)
    message = "damaged or cut off" if kind == "cut" else "volumes of complex64, expected numbers"
    with pytest.raises(FormatError, match=message):
        extract(folder(root), tmp_path / "work")


def test_a_small_region_without_data_in_a_session_is_missing(tmp_path):
    root = write_volumes(tmp_path / "raw", ".npy")
    np.save(root / PERSON / "betas/ses-02.npy", np.zeros((2, 3, 4, 48), np.float32))
    trials = extract(folder(root), tmp_path / "work")
    assert trials.valid[0].all()
    assert not trials.valid[1].any()


def test_a_table_of_voxels_beside_its_volumes_is_read(in_a_table, tmp_path):
    root = write_folder(tmp_path / "raw")
    (root / PERSON / "betas").mkdir()
    (root / PERSON / "betas/ses-01.nii.gz").write_bytes(b"what the table was made from")
    np.testing.assert_array_equal(
        values(extract(folder(root), tmp_path / "work")), values(in_a_table)
    )


def test_a_transparent_picture_is_refused(tmp_path):
    root = write_folder(tmp_path / "raw")
    ids = np.array(["cup-05"])
    for alpha, is_fine in ((255, True), (0, False)):
        with Image.open(root / "pictures/cup-05.png") as picture:
            picture.putalpha(alpha)
            picture.save(root / "pictures/cup-05.png")
        receipt = folder(root).fetch_files("shared", Ledger(None), watch=unwatched)
        shown = folder(root).iterate_pictures(None, RawFiles(receipt, root, Ledger(None)), ids)
        if is_fine:
            assert len(list(shown)) == 1
        else:
            with pytest.raises(
                FormatError, match=r"cup-05.png: partly transparent, .*; flatten it"
            ):
                list(shown)


def test_a_table_without_a_trial(tmp_path):
    root = write_volumes(tmp_path / "raw", ".npy", n_files=1)
    (root / PERSON / "trials.csv").write_text("session,run,trial,image_id\n")
    with pytest.raises(FormatError, match=r"trials.csv: no trial; write a line for each"):
        extract(folder(root), tmp_path / "work")


@pytest.mark.parametrize("how", ["one row", "the same picture"])
def test_a_test_picture_in_an_array_among_the_training_pictures(how, tmp_path):
    root = pictures_in_hdf5(write_folder(tmp_path / "raw"))
    table = pd.read_csv(root / "pictures.csv").set_index("image_id")
    if how == "one row":
        table.loc["cup-30", "row"] = table.loc["cup-02", "row"]
        table.to_csv(root / "pictures.csv")
    else:
        with h5py.File(root / "pictures.hdf5", "r+") as file:
            file["pictures"][table.loc["cup-30", "row"]] = file["pictures"][
                table.loc["cup-02", "row"]
            ]
    with pytest.raises(MismatchError, match=r"cup-02, a test image, and cup-30 are the same pict"):
        folder(root).fetch_files("shared", Ledger(None), watch=unwatched)


def test_a_table_with_files_and_rows_means_the_files(tmp_path):
    root = write_folder(tmp_path / "raw")
    table = pd.read_csv(root / "pictures.csv")
    table.assign(row=0).to_csv(root / "pictures.csv", index=False)
    folder(root).fetch_files("shared", Ledger(None), watch=unwatched)

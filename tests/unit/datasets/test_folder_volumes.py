"""An experiment in a folder whose betas are volumes, in the forms in which labs have them."""

import shutil

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

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
        (one_session_less, MismatchError, r"anna/betas: 1 files, expected 2, one for each session"),
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


def test_a_subject_without_betas(tmp_path):
    root = write_volumes(tmp_path / "raw", ".nii.gz")
    shutil.rmtree(root / PERSON / "betas")
    with pytest.raises(MissingDataError, match=r"anna: no betas; put a file for each session into"):
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
            r"there is no row 4, expected 0 to 3; correct picture",
        ),
        (np.zeros((40, 48, 48), np.uint8), r"uint8 of shape \(40, 48, 48\), expected uint8 of"),
    ],
)
def test_an_array_of_pictures_that_does_not_fit(array, message, tmp_path):
    root = pictures_in_hdf5(write_folder(tmp_path / "raw"))
    write_hdf5(root / "pictures.hdf5", pictures=array)
    receipt = folder(root).fetch_files("shared", Ledger(None), watch=unwatched)
    shared = RawFiles(receipt, root, Ledger(None))
    ids = np.array([f"cup-{number:02d}" for number in range(35, 40)])
    with pytest.raises(FormatError, match=message):
        list(folder(root).iterate_pictures(None, shared, ids))

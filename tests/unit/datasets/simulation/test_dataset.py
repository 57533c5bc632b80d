"""The invariants that NSD's documentation states, on the files that the simulator wrote."""

import ast
import os

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
from PIL import Image

from conftest import ONE_PROCESS, SESSIONS, SUBJECT, linked, raw_files_of
from fmri2img.datasets import simulated_dataset
from fmri2img.datasets.marks import MARK
from fmri2img.datasets.nsd.design import UNITS, read_design, repetitions
from fmri2img.datasets.nsd.mapping import map_nearest
from fmri2img.datasets.nsd.paths import EXPDESIGN, STIM_INFO, STIMULI, on_disk, own_stimuli
from fmri2img.datasets.nsd.rois import LABEL_NAMES
from fmri2img.datasets.nsd.stimuli import iterate_images
from fmri2img.datasets.nsd.volumes import slab_centre_affine
from fmri2img.datasets.protocol import Setting
from fmri2img.datasets.simulation.cortex import ANAT_VOXEL_MM, INVALID_COORDINATE
from fmri2img.datasets.simulation.dataset import SimulatedSubject
from fmri2img.datasets.simulation.label_volumes import SIMULATED_ROIS, THALAMUS_NAMES
from fmri2img.datasets.simulation.stimuli_files import _crop, _divide_folder, simulate_shared
from fmri2img.datasets.simulation.trial_order import draw_design, responses_table
from fmri2img.project.exceptions import ChangedDataError, FormatError, MissingDataError
from fmri2img.provenance.receipts import Ledger, RawFiles

NUMBER = int(SUBJECT[-1])


@pytest.fixture(scope="module")
def volume(miniature):
    return lambda path: nib.load(on_disk(miniature.root, path))


@pytest.fixture(scope="module")
def betas(miniature, volume):
    return {
        session: np.asarray(volume(miniature.subject.files.betas("b3", session, "nii.gz")).dataobj)
        for session in SESSIONS
    }


@pytest.fixture(scope="module")
def variables(miniature):
    return scipy.io.loadmat(on_disk(miniature.root, EXPDESIGN))


@pytest.mark.parametrize("session", SESSIONS)
def test_hdf5_is_the_reverse_of_nifti(miniature, betas, session):
    with h5py.File(
        on_disk(miniature.root, miniature.subject.files.betas("b3", session, "hdf5"))
    ) as file:
        stored = file["betas"]
        assert stored.shape == betas[session].shape[::-1]
        assert stored.chunks == (750, 1, 1, 1)
        assert stored.dtype == np.int16
        assert stored.compression is None
        np.testing.assert_array_equal(stored[()].T, betas[session])


@pytest.mark.parametrize("session", SESSIONS)
def test_masked_and_invalid_voxels_are_zero(miniature, volume, betas, session):
    mask = volume(miniature.subject.files.brainmask()).get_fdata() > 0
    valid = volume(miniature.subject.files.valid(session)).get_fdata() > 0
    assert not betas[session][~mask].any()
    assert not betas[session][~valid].any()
    assert betas[session][valid].any(axis=1).all()
    # The space is that of the first session: head motion costs voxels only in later ones.
    assert (valid.sum() == mask.sum()) == (session == SESSIONS[0])


def test_masterordering_and_subjectim(variables):
    order, images, shared = (
        variables[name].astype(int) for name in ("masterordering", "subjectim", "sharedix")
    )
    np.testing.assert_array_equal(np.bincount(order[0])[1:], np.full(10_000, 3))
    np.testing.assert_array_equal(images[:, :1000], np.tile(shared, (8, 1)))
    assert (np.diff(shared) > 0).all()
    assert images.min() >= 1
    assert images.max() <= 73_000
    assert len(np.unique(images[:, 1000:])) == 72_000


def test_integers_load_as_integers_although_the_class_is_double(miniature, variables):
    # brain-diffuser indexes with these values, which fails for floats.
    assert all(
        variables[name].dtype.kind in "ui"
        for name in ("masterordering", "subjectim", "sharedix", "stimpattern")
    )
    doubles = scipy.io.loadmat(on_disk(miniature.root, EXPDESIGN), mat_dtype=True)
    assert doubles["masterordering"].dtype == np.float64
    assert {name: kind for name, _, kind in scipy.io.whosmat(on_disk(miniature.root, EXPDESIGN))}[
        "subjectim"
    ] == "double"


def test_stimulus_slots(variables):
    pattern = variables["stimpattern"]
    assert pattern.shape == (40, 12, 75)
    np.testing.assert_array_equal(pattern.sum(2), np.tile([63, 62], (40, 6)))
    assert not pattern[..., :3].any()
    assert not pattern[..., 71:].any()
    assert not pattern[:, 1::2, 70].any()
    for run in pattern[:, ::2].reshape(-1, 75):
        stretches = [len(part) for part in "".join(map(str, run)).split("0") if part]
        assert min(stretches) >= 9
        assert max(stretches) <= 14


def test_basiccnt_counts_showings_within_sessions(variables):
    session = variables["masterordering"][0, 750:1500]
    counts = pd.Series(session).value_counts().value_counts()
    np.testing.assert_array_equal(variables["basiccnt"][:, 1], [counts[1], counts[2], counts[3]])


def test_order_has_the_published_number_of_distinct_images(variables):
    # Published: 9209 after 30 sessions, 9411 after 32; twelve draws of the recipe scatter by 19 and
    # 24.
    order = variables["masterordering"][0]
    for sessions, published, spread in ((30, 9209, 24), (32, 9411, 24)):
        assert abs(len(np.unique(order[: 750 * sessions])) - published) < 4 * spread


def test_responses_follow_the_design(miniature, variables):
    table = pd.read_csv(on_disk(miniature.root, miniature.subject.files.responses()), sep="\t")
    assert table.shape == (1500, 20)
    assert (table[MARK] == 1).all()
    trials = np.concatenate([np.arange(750 * (session - 1), 750 * session) for session in SESSIONS])
    np.testing.assert_array_equal(table["10KID"], variables["masterordering"][0, trials])
    np.testing.assert_array_equal(
        table["73KID"], variables["subjectim"][NUMBER - 1, table["10KID"] - 1]
    )
    counts = table.groupby(["SESSION", "RUN"]).size().unstack()
    np.testing.assert_array_equal(counts, np.tile([63, 62], (2, 6)))
    assert (
        table.groupby(["SESSION", "RUN"])["TRIAL"].max() == table.groupby(["SESSION", "RUN"]).size()
    ).all()
    assert table["MEMORYRECENT"].isna().equals(table["ISOLD"] == 0)
    assert table["TIME"].is_monotonic_increasing


@pytest.mark.parametrize(("session", "n_files", "rest"), [(20, 12, []), (21, 14, [1, 14])])
def test_design_runs(miniature, variables, session, n_files, rest):
    files = miniature.subject.files
    paths = [on_disk(miniature.root, files.design(session, run)) for run in range(1, 16)]
    onsets = {
        run: np.loadtxt(path, dtype=int) for run, path in enumerate(paths, start=1) if path.exists()
    }
    assert len(onsets) == n_files
    assert all(len(run) == 225 for run in onsets.values())
    assert not any(onsets.pop(run).any() for run in rest)
    table = pd.read_csv(on_disk(miniature.root, files.responses()), sep="\t")
    shown = np.concatenate(list(onsets.values()))
    np.testing.assert_array_equal(shown[shown > 0], table.loc[table["SESSION"] == session, "73KID"])
    for row, run in enumerate(onsets.values()):
        np.testing.assert_array_equal(
            np.flatnonzero(run), 3 * np.flatnonzero(variables["stimpattern"][session - 1, row])
        )


def test_stim_info(miniature, variables):
    info = pd.read_csv(on_disk(miniature.root, STIM_INFO), index_col=0)
    assert info.shape == (73_000, 41)
    assert info[MARK].all()
    np.testing.assert_array_equal(info["nsdId"], np.arange(73_000))
    np.testing.assert_array_equal(info.index[info["shared1000"]] + 1, variables["sharedix"][0])
    top, bottom, left, right = np.array([ast.literal_eval(box) for box in info["cropBox"]]).T
    heights = np.where(left + right > 0, 480, 640)  # of the picture that the box was cut from
    widths = 1120 - heights
    np.testing.assert_array_equal(
        (heights * (1 - top - bottom)).round(), (widths * (1 - left - right)).round()
    )
    for column in ("subject5_rep0", "subject2_rep2"):
        shown = info.index[info[column] > 0].to_numpy()
        ids10k = variables["masterordering"][0, info[column].to_numpy()[shown] - 1].astype(int)
        np.testing.assert_array_equal(
            variables["subjectim"][int(column[7]) - 1, ids10k - 1], shown + 1
        )
    assert (
        info["subject5_rep0"][info["subject5"] == 1] < info["subject5_rep1"][info["subject5"] == 1]
    ).all()


@pytest.mark.parametrize("roi", SIMULATED_ROIS)
@pytest.mark.parametrize("space", ["func_roi", "anat_roi"])
def test_rois(miniature, volume, roi, space):
    path_of = getattr(miniature.subject.files, space)
    both, left, right = (volume(path_of(prefix + roi)) for prefix in ("", "lh.", "rh."))
    assert both.get_data_dtype() == np.float64
    labels = [np.asarray(image.dataobj) for image in (both, left, right)]
    names = LABEL_NAMES.get(roi, THALAMUS_NAMES)
    assert set(np.unique(labels[0])) <= set(range(-1, len(names) + 1))
    assert not ((labels[1] >= 0) & (labels[2] >= 0)).any()
    np.testing.assert_array_equal(labels[0], np.maximum(labels[1], labels[2]))
    assert labels[0].min() == -1


def test_transform(miniature, volume):
    coordinates = np.asarray(volume(miniature.subject.files.transform()).dataobj)
    anat_shape = np.array(volume(miniature.subject.files.anat_roi("nsdgeneral")).shape)
    assert coordinates.dtype == np.float32
    assert coordinates.shape == (*miniature.subject.brain_mask.shape, 3)
    inside = ((coordinates >= 1) & (coordinates <= anat_shape)).all(-1)
    assert 0.5 < inside.mean() < 1
    np.testing.assert_array_equal(coordinates[~inside], np.float32(INVALID_COORDINATE))


def test_ncsnr_is_nan_only_outside_the_brain(miniature, volume):
    values = np.asarray(volume(miniature.subject.files.ncsnr("b3")).dataobj)
    assert values.dtype == np.float32
    assert (values[miniature.subject.brain_mask & np.isfinite(values)] >= 0).all()
    assert np.isnan(values[~miniature.subject.brain_mask]).all()
    valid = np.any(
        [volume(miniature.subject.files.valid(session)).get_fdata() > 0 for session in SESSIONS],
        axis=0,
    )
    assert np.isfinite(values[valid]).all()


def test_affines_are_slab_centred(miniature, volume):
    files = miniature.subject.files
    for path, voxel_mm in (
        (files.betas("b3", 20, "nii.gz"), 1.8),
        (files.func_roi("streams"), 1.8),
        (files.brainmask(), 1.8),
        (files.ncsnr("b3", "_split2"), 1.8),
        (files.transform(), 1.8),
        (files.anat_roi("prf-visualrois"), ANAT_VOXEL_MM),
    ):
        image = volume(path)
        np.testing.assert_allclose(
            image.affine, slab_centre_affine(image.shape, voxel_mm), atol=1e-5
        )


def test_every_resampled_roi_voxel_is_in_the_brain_and_varies(miniature, volume, betas):
    anat = np.asarray(volume(miniature.subject.files.anat_roi("prf-visualrois")).dataobj)
    coordinates = np.asarray(volume(miniature.subject.files.transform()).dataobj)
    labelled = map_nearest(anat, coordinates, bad_value=0) > 0
    assert labelled.sum() > 50
    assert miniature.subject.brain_mask[labelled].all()
    pooled = np.concatenate([betas[session][labelled] for session in SESSIONS], axis=1)
    assert (pooled.std(axis=1) > 0).all()


def test_a_folder_picture_is_never_on_both_sides_of_the_split(tmp_path):
    for index in range(23):
        (tmp_path / f"{index:02d}.jpg").touch()
    shared, own = _divide_folder(tmp_path)
    assert len(shared) + len(own) == 23
    assert not set(shared) & set(own)
    with pytest.raises(MissingDataError, match=r"got 0 .jpg or .png pictures, expected at least 2"):
        _divide_folder(tmp_path / "nothing")


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    for index in range(4):
        (tmp_path / f"{index}.png").write_bytes(b"no picture")
    with pytest.raises(FormatError, match=r"0\.png: not a picture that can be read .*replace it"):
        _crop(tmp_path / "0.png", 0)


def test_a_picture_that_is_a_pipe_or_a_bomb_is_named(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(FormatError, match=r"pipe\.png: not a picture that can be read"):
        _crop(tmp_path / "pipe.png", 0)
    Image.new("RGB", (30, 30)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(FormatError, match=r"bomb\.png: not a picture that can be read"):
        _crop(tmp_path / "bomb.png", 0)


def test_a_world_that_does_not_exist_is_told_with_those_that_do(miniature):
    simulation = miniature.nsd.simulation.model_copy(update={"world": "compresive"})
    values = miniature.nsd.model_dump() | {"simulation": simulation.model_dump()}
    with pytest.raises(ValueError, match=r"no world 'compresive' \(did you mean compressive\?\); "):
        simulated_dataset.Settings.model_validate(values)


def test_the_tree_says_that_it_is_simulated(miniature):
    assert "simulated" in (miniature.root / "SIMULATED.txt").read_text()
    with h5py.File(
        on_disk(miniature.root, miniature.subject.files.betas("b3", 20, "hdf5"))
    ) as file:
        assert file.attrs["source"] == MARK


def test_lost_button_records():
    table = responses_table(draw_design(1), 4, [23], 1)
    lost = table[table["MISSINGDATA"] == 1]
    assert set(lost["RUN"]) == {3}
    assert (
        lost[["ISCORRECT", "RT", "CHANGEMIND", "ISCORRECTCURRENT", "TOTAL1", "TOTAL2", "BUTTON"]]
        .isna()
        .all()
        .all()
    )
    assert table["TOTAL1"].notna().sum() == 750 - 63


def test_only_shown_pictures_take_room(miniature, variables):
    path, shown = on_disk(miniature.root, STIMULI), miniature.subject.image_ids
    assert path.stat().st_size < 1e6
    with h5py.File(path) as file:
        brick = file["imgBrick"]
        assert brick.shape == (73_000, 425, 425, 3)
        assert file.attrs["source"] == MARK
        assert min(brick[image_id].std() for image_id in shown[::50]) > 5
        shared = set(variables["sharedix"].ravel() - 1)
        n_own = len(set(shown) - shared)
    counts = {}
    for name in (SUBJECT, "shared"):
        with h5py.File(on_disk(miniature.root, own_stimuli(name))) as file:
            assert file.attrs["source"] == MARK
            counts[name] = len(file["imgBrick"])
    assert counts[SUBJECT] == n_own
    # Other subjects saw more of the shared ones in this session than this one, or as many.
    assert counts["shared"] >= len(shown) - n_own > 0


def test_what_subjects_share_does_not_depend_on_who_is_simulated(miniature):
    listed = {record.path for record in miniature.shared.receipt.files}
    assert str(own_stimuli("shared")) in listed
    assert not any(SUBJECT in path for path in listed)
    assert str(own_stimuli(SUBJECT)) in {record.path for record in miniature.raw.receipt.files}


def test_a_picture_whose_file_is_not_there_is_no_black_picture(miniature):
    others = miniature.subject.design.experiment.subject_images[0]
    shared = miniature.subject.design.experiment.shared_image_ids
    ids = np.setdiff1d(others, [*shared, *miniature.subject.image_ids])
    path = on_disk(miniature.root, STIMULI)
    with pytest.raises(MissingDataError, match=rf"no picture of image id {ids[0]} .*run: again"):
        list(iterate_images(path, ids[:1], remedy="again"))


def test_changed_pictures_of_a_subject_are_refused(miniature, tmp_path):
    linked(miniature.root, tmp_path / "nsd", own_stimuli(SUBJECT))
    raw = RawFiles(miniature.raw.receipt, tmp_path / "nsd", Ledger(None))
    shared = RawFiles(miniature.shared.receipt, tmp_path / "nsd", Ledger(None))
    path = on_disk(tmp_path / "nsd", own_stimuli(SUBJECT))
    with h5py.File(path, "r+") as file:
        file["imgBrick"][0] = 128
    reader = simulated_dataset.Reader(
        miniature.nsd, Setting(ONE_PROCESS, (SUBJECT,), tmp_path / "rois")
    )
    with pytest.raises(ChangedDataError, match="as in the receipt"):
        list(reader.iterate_pictures(raw, shared, miniature.subject.image_ids[:1]))


@pytest.mark.functional
def test_same_seed_same_bytes(miniature, tmp_path):
    simulate_shared(tmp_path, miniature.nsd)
    again = SimulatedSubject(SUBJECT, miniature.nsd, tmp_path).write()
    assert raw_files_of(SUBJECT, tmp_path, again).receipt == miniature.raw.receipt


def test_design_reader_counts_from_zero(miniature, variables):
    design = read_design(on_disk(miniature.root, EXPDESIGN), remedy="")
    trial = 750 * 19 + 4
    id10k = variables["masterordering"][0, trial]
    assert (
        design.trial_image_ids(NUMBER, 20)[4] == variables["subjectim"][NUMBER - 1, id10k - 1] - 1
    )


def test_repetitions_count_earlier_showings():
    np.testing.assert_array_equal(repetitions(np.array([5, 9, 5, 5, 9])), [0, 0, 1, 2, 1])


def test_stored_units_round_and_saturate_as_matlab_does():
    percent = np.array([0.5, 1.5, -0.5, -1.5, 2.4]) / 300
    np.testing.assert_array_equal(UNITS.to_stored(percent), [1, 2, -1, -2, 2])
    np.testing.assert_array_equal(
        UNITS.to_stored(np.array([150.0, -150.0, np.nan])), [32_767, -32_768, 0]
    )

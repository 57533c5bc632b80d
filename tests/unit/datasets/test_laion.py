"""LAION-fMRI's layout: what the miniature holds is read back, and what does not fit is refused."""

import gzip
import io
import json
import shutil
import struct

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import REPOSITORY, linked
from datasets import laion
from fmri2img.datasets import joined_sessions
from fmri2img.datasets.contract import check_betas
from fmri2img.datasets.folder.beta_files import SessionBetas
from fmri2img.datasets.laion import laion_paths as paths
from fmri2img.datasets.laion.laion_betas import LaionSource
from fmri2img.datasets.laion.laion_pictures import SIDE, iterate_stimuli, read_names
from fmri2img.datasets.laion.laion_tables import read_split, read_trials
from fmri2img.datasets.nsd.volumes import stream_values, write_volume
from fmri2img.datasets.protocol import Resources
from fmri2img.datasets.regions import read_region
from fmri2img.project.config import (
    ConvertRoiParams,
    ExtractBetasParams,
    FetchCaptionsParams,
    TimeseriesParams,
)
from fmri2img.project.exceptions import (
    ConfigError,
    FormatError,
    MismatchError,
    MissingDataError,
)
from fmri2img.provenance.reach import Program, Reach
from fmri2img.provenance.receipts import Ledger, RawFiles, unwatched

SUBJECT = "sub01"
WINDOWS = TimeseriesParams(window_seconds=[4.0, 8.0], baseline_seconds=[-4.0, 0.0])
BETAS, TRIALS = paths.betas(SUBJECT, 1), paths.trials(SUBJECT, 1)


def raw_files(dataset, name):
    receipt = dataset.fetch_files(name, Ledger(None), watch=unwatched)
    return RawFiles(receipt, dataset.setting.root, Ledger(None))


def regions(dataset, roi="laion", drawn_in="func"):
    params = ConvertRoiParams(roi=roi, drawn_in=drawn_in, mapping="nearest")
    return dataset.read_regions(raw_files(dataset, SUBJECT), params)


def betas(dataset, workspace, roi="laion", **extract):
    volume = regions(dataset, roi)
    write_volume(workspace / "roi.nii.gz", volume.labels, volume.voxel_mm, affine=volume.affine)
    region = read_region(workspace / "roi.nii.gz", volume.table, "all", remedy="")
    values = {"labels": "all", "recompute_ncsnr": False, "min_ncsnr": 0.0, "timeseries": WINDOWS}
    trials = dataset.read_betas(
        raw_files(dataset, SUBJECT),
        raw_files(dataset, "shared"),
        region,
        ExtractBetasParams.model_validate(values | extract),
        Resources(dataset.setting.machine, workspace / "pieces"),
    )
    check_betas(trials, dataset.facts, SUBJECT).save(workspace / "voxels.h5")
    return type(trials).open(workspace / "voxels.h5", remedy="")


def test_betas_are_those_of_the_files_trial_by_trial(small_laion, tmp_path):
    trials = betas(laion(small_laion), tmp_path)
    assert trials.provenance["data_source"] == "simulated"
    assert trials.betas.dtype == np.float32
    split = read_split(small_laion / paths.split("tau", SUBJECT))
    for session in (1, 2):
        volume = np.asarray(nib.load(small_laion / paths.betas(SUBJECT, session)).dataobj)
        table = pd.read_csv(small_laion / paths.trials(SUBJECT, session), sep="\t")
        kept = table["label"].isin(split.train | split.test).to_numpy()
        assert 0 < kept.sum() < len(kept)  # OOD images are in neither side
        rows = trials.session == session
        assert trials.image_ids[rows].tolist() == table["label"][kept].tolist()
        within = table.groupby("run").cumcount().to_numpy()[kept] + 1
        assert (trials.trial[rows] == within).all()
        at = tuple(trials.voxel_ijk.astype(int).T)
        np.testing.assert_array_equal(trials.betas[rows], volume[at].T[kept])
    assert (trials.is_shared == np.isin(trials.image_ids, list(split.test))).all()
    assert trials.repetition.max() == 11


def test_voxels_lie_where_the_volume_says(small_laion, tmp_path):
    trials = betas(laion(small_laion), tmp_path)
    image = nib.load(small_laion / paths.betas(SUBJECT, 1))
    np.testing.assert_allclose(trials.affine, image.affine, atol=1e-4)
    assert trials.affine[1, 3] != pytest.approx(-1.778 * 9 / 2)  # no slab centre
    assert trials.provenance["voxel_mm"] == pytest.approx(1.778, abs=1e-5)


def test_a_voxel_in_several_masks_belongs_to_the_smallest(small_laion):
    volume = regions(laion(small_laion), ["laion", "face"])
    names = {name: label for label, name in volume.table["names"].items()}
    folder = small_laion / paths.mask_folder(SUBJECT) / "face"
    mask = nib.load(folder / "sub-01_space-T1w_res-1pt8_label-FFA-1_mask.nii.gz")
    faces = np.asarray(mask.dataobj) == 1
    assert (volume.labels[faces] == names["FFA1"]).all()
    assert {name for name, label in names.items() if (volume.labels == label).any()} == set(names)


def test_regions_are_found_by_category_by_label_and_without_hyphens(small_laion):
    dataset = laion(small_laion)
    assert list(regions(dataset, "FFA1").table["names"].values()) == ["FFA1"]
    assert list(regions(dataset, ["laion-EVC"]).table["names"].values()) == ["laionEVC"]
    with pytest.raises(ConfigError, match=r"has no region 'laionEVD' \(did you mean laionEVC"):
        regions(dataset, "laionEVD")
    with pytest.raises(ConfigError, match="got anat, set it to func"):
        regions(dataset, drawn_in="anat")


def test_one_region_under_two_spellings_and_two_of_one_name(small_laion, tmp_path):
    """As in the bucket, and as their package names it."""
    root = linked(small_laion, tmp_path / "raw")
    folder = root / paths.mask_folder(SUBJECT)
    name = "sub-01_space-T1w_res-1pt8_label-{}_mask.nii.gz"
    shutil.copy(folder / "face" / name.format("FFA-1"), folder / "face" / name.format("FFA1"))
    assert list(regions(laion(root), "face").table["names"].values()) == ["FFA1"]
    (folder / "body").mkdir()
    shutil.copy(folder / "face" / name.format("FFA1"), folder / "body" / name.format("FFA1"))
    with pytest.raises(FormatError, match=r"two masks of FFA1: .*, expected one"):
        regions(laion(root), "FFA1")


def test_missing_betas_are_masked(small_laion, tmp_path):
    trials = betas(laion(small_laion), tmp_path, roi="laion-EVC")
    edge = np.isnan(trials.betas[()]).all(axis=0)
    assert edge.sum() == 1
    assert not trials.valid[:, edge].any()
    assert trials.valid[:, ~edge].all()


def test_noise_ceilings_become_ncsnr(small_laion, tmp_path):
    """30 percent for averages of four: ncsnr2 / (ncsnr2 + 1/4) = .3."""
    trials = betas(laion(small_laion), tmp_path, recompute_ncsnr=True)
    np.testing.assert_allclose(trials.ncsnr, np.sqrt(0.3 / 0.7 / 4), rtol=1e-5)
    assert 0.6 < np.nanmedian(trials.training_ncsnr) < 1.5  # signal and noise of one SD
    assert trials.in_brain.all()


def test_noise_ceilings_that_are_shares(small_laion, tmp_path, caplog):
    path = paths.noise_ceiling(SUBJECT)
    root = linked(small_laion, tmp_path / "raw", path)
    image = nib.load(root / path)
    shares = np.asarray(image.dataobj) / 100
    write_volume(root / path, shares, 1.778, affine=image.affine)
    trials = betas(laion(root), tmp_path)
    np.testing.assert_allclose(trials.ncsnr, np.sqrt(0.3 / 0.7 / 4), rtol=1e-5)
    assert "values up to 0.30 are taken as shares, not percent" in caplog.text


def test_pieces_of_other_code_are_not_used():
    codes = [joined_sessions._reading_code(source) for source in (LaionSource, SessionBetas)]
    assert codes[0] == joined_sessions._reading_code(LaionSource)
    assert codes[0] != codes[1]
    program = Program.read(REPOSITORY / "src")
    roots = "fmri2img.datasets.pieces.read_pieces", f"{LaionSource.__module__}.LaionSource.read"
    names = [line.split()[0] for line in Reach(program, roots).lines()]
    assert {"LaionSource.read", "stream_values", "_make_piece"} <= set(names)


def test_the_shipped_splits(small_laion, tmp_path):
    ood = betas(laion(small_laion, split="ood"), tmp_path)
    assert all("OOD" in name for name in ood.image_ids[ood.is_shared])
    assert not any("OOD" in name for name in ood.image_ids[~ood.is_shared])
    shared = betas(laion(small_laion, split="ood", pool="shared"), tmp_path)
    assert all(name.startswith("shared") for name in shared.image_ids)
    assert len(shared.image_ids) < len(ood.image_ids)


def test_a_split_whose_pictures_nobody_saw(changed, tmp_path):
    path = changed / paths.split("tau", SUBJECT)
    path.write_text('{"variants": [{"train_ids": ["a.jpg"], "test_ids": ["b.jpg"]}]}')
    with pytest.raises(MismatchError, match="no trial showed a picture of the split tau"):
        betas(laion(changed), tmp_path)


def test_pictures_are_those_on_the_screen(small_laion):
    """Transparent parts are grey, as the screen was."""
    names = read_names(small_laion / paths.METADATA, remedy="")
    path = small_laion / paths.STIMULI
    plain, cut = next(one for one in names if "LAION" in one), next(n for n in names if "OOD" in n)
    first, second = iterate_stimuli(path, names, [plain, cut], remedy="")
    assert first.shape == second.shape == (SIDE, SIDE, 3)
    with h5py.File(path) as file:
        content = bytes(file["images"][names.index(cut)])
    with Image.open(io.BytesIO(content)) as picture:
        whole = np.asarray(picture)
    assert (second[: SIDE // 8] == 128).all()
    np.testing.assert_array_equal(second[SIDE // 8 :], whole[SIDE // 8 :, :, :3])


def test_captions_are_those_of_people_the_best_first(small_laion):
    dataset = laion(small_laion)
    params = FetchCaptionsParams(folder=None, url="http://localhost/x")
    names = read_names(small_laion / paths.METADATA, remedy="")[:2]
    found = dataset.collect_captions(
        raw_files(dataset, SUBJECT), raw_files(dataset, "shared"), np.array(names), params
    )
    expected = {name: [f"a made-up scene, number {row}"] for row, name in enumerate(names)}
    assert found.texts == expected
    assert list(found.sha256) == [paths.CAPTIONS.name]


@pytest.fixture
def changed(small_laion, tmp_path):
    """A copy that may be changed."""
    changing = (BETAS, TRIALS, paths.METADATA, paths.STIMULI, paths.split("tau", SUBJECT))
    return linked(small_laion, tmp_path / "raw", *changing)


def test_a_session_of_another_length_than_its_table(changed, tmp_path):
    table = (changed / TRIALS).read_text().splitlines()
    (changed / TRIALS).write_text("\n".join(table[:-1]) + "\n")
    with pytest.raises(FormatError, match=r"got \(\d+,\) volumes, expected \d+ as in the table"):
        betas(laion(changed), tmp_path)


def test_a_volume_on_another_grid(changed, tmp_path):
    write_volume(changed / BETAS, np.ones((3, 4, 5, 7), np.float32), 1.778)
    with pytest.raises(MismatchError, match=r"grid \(3, 4, 5\) does not match the regions"):
        betas(laion(changed), tmp_path)


def test_a_volume_that_is_cut_off(changed, tmp_path):
    content = gzip.decompress((changed / BETAS).read_bytes())
    (changed / BETAS).write_bytes(gzip.compress(content[:-100]))
    with pytest.raises(FormatError, match=r"damaged or cut off \(volume \d+ has \d+ of \d+ byt"):
        betas(laion(changed), tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("beta_index", 0, "column beta_index: expected each of 0 to"),
        ("run", "first", "column run: got 'first', expected numbers, or run-01"),
        ("run", "run-00", "column run: runs are not in the order of the volumes; run: x"),
        ("label", "../x.jpg", "column label: got '../x.jpg', expected names of files"),
    ],
)
def test_tables_that_do_not_name_every_volume(changed, column, value, message):
    table = pd.read_csv(changed / TRIALS, sep="\t", dtype=str)
    table.loc[3, column] = str(value)
    table.to_csv(changed / TRIALS, sep="\t", index=False)
    with pytest.raises(FormatError, match=message):
        read_trials(changed / TRIALS, remedy="x")


def test_the_order_of_lines_does_not_matter(changed):
    before = read_trials(changed / TRIALS, remedy="x")
    table = pd.read_csv(changed / TRIALS, sep="\t", dtype=str)
    table[::-1].to_csv(changed / TRIALS, sep="\t", index=False)
    pd.testing.assert_frame_equal(read_trials(changed / TRIALS, remedy="x"), before)


def test_splits_that_are_none(changed):
    path = changed / paths.split("tau", SUBJECT)
    content = json.loads(path.read_text())
    content["variants"][0]["test_ids"].append(content["variants"][0]["train_ids"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(FormatError, match="is on both sides of the split"):
        read_split(path)
    path.write_text('{"variants": [{"train_ids": []}]}')
    with pytest.raises(FormatError, match="expected names of images as train_ids and test_ids"):
        read_split(path)
    path.unlink()
    with pytest.raises(MissingDataError, match=r"run: cp -r \.\.\./laion_fmri/splits/data/\. "):
        read_split(path)


def test_trials_without_pictures(changed, tmp_path):
    table = pd.read_csv(changed / paths.METADATA).iloc[1:]
    table.to_csv(changed / paths.METADATA, index=False)
    names, path = read_names(changed / paths.METADATA, remedy=""), changed / paths.STIMULI
    with pytest.raises(MismatchError, match=r"images of shape \(40,\), expected \(39,\)"):
        list(iterate_stimuli(path, names, names[:1], remedy="fetch it"))
    with pytest.raises(MismatchError, match=r"there is no picture cat\.jpg, which a trial showed"):
        list(iterate_stimuli(path, ["x", *names], ["cat.jpg"], remedy="fetch it"))


def test_pictures_that_are_none(changed):
    names, path = read_names(changed / paths.METADATA, remedy=""), changed / paths.STIMULI
    with h5py.File(path, "r+") as file:
        file["images"][0] = np.frombuffer(b"no picture", np.uint8)
    with pytest.raises(FormatError, match="not a readable picture"):
        list(iterate_stimuli(path, names, names[:1], remedy="fetch it"))
    path.write_bytes(b"nothing")
    with pytest.raises(FormatError, match="not a readable HDF5 file"):
        list(iterate_stimuli(path, names, names[:1], remedy="fetch it"))


def test_what_is_absent_is_named(changed):
    shutil.rmtree(changed / paths.session_folder(SUBJECT, 2))
    with pytest.raises(MissingDataError, match=r"2 of .* files of sub01 are missing, first deriv"):
        laion(changed, sessions=[1, 2]).fetch_files(SUBJECT, Ledger(None), watch=unwatched)
    shutil.rmtree(changed / "derivatives/glmsingle-tedana")
    dataset = laion(changed)
    assert not dataset.is_here()
    with pytest.raises(MissingDataError, match="the folder that holds derivatives, stimuli and"):
        dataset.fetch_files(SUBJECT, Ledger(None), watch=unwatched)


def test_numbers_are_scaled_as_the_header_says(tmp_path):
    path, stored = tmp_path / "a.nii.gz", np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1)
    write_volume(path, stored, 1.0)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[112:120] = struct.pack("<ff", 0.5, 3)  # scl_slope, scl_inter
    path.write_bytes(gzip.compress(bytes(content)))
    expected = np.asarray(nib.load(path).dataobj)[..., 0]
    assert expected[0, 0, 1] == 3.5
    (values,) = stream_values(path, np.ones((2, 3, 4), bool), remedy="x")
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected.ravel())

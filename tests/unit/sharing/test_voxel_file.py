"""The voxel file through its public interface, and exports beside what two public repositories'
scripts compute from the same raw files.
"""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest

from conftest import ONE_PROCESS, SESSIONS
from fmri2img.cli.decode_verb import owner_of, read_betas
from fmri2img.containers.ncsnr import estimate_ncsnr, noise_ceiling
from fmri2img.containers.splits import split_images
from fmri2img.datasets.nsd.conversion import convert_roi
from fmri2img.datasets.nsd.extraction import extract_betas
from fmri2img.datasets.nsd.paths import on_disk
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
from fmri2img.sharing import open_voxels
from fmri2img.sharing.export import export_brain_diffuser, export_npz, export_takagi

WINDOWS = TimeseriesParams(window_seconds=[4.0, 8.0], baseline_seconds=[-4.0, 0.0])
EVERYTHING = ExtractBetasParams(
    labels="all", recompute_ncsnr=False, min_ncsnr=0.0, timeseries=WINDOWS
)


@pytest.fixture(scope="module")
def path(miniature, tmp_path_factory):
    """Voxels of the streams region, as the stage writes them."""
    folder = tmp_path_factory.mktemp("voxels")
    params = ConvertRoiParams(roi="streams", drawn_in="func", mapping="nearest")
    labels, names = convert_roi(miniature.raw, miniature.nsd, params, own_rois=Path("none"))
    write_volume(folder / "roi.nii.gz", labels, 1.8)
    region = read_region(folder / "roi.nii.gz", {"names": names}, "all", remedy="")
    shape = {
        "estimate_ncsnr": estimate_ncsnr,
        "resources": Resources(ONE_PROCESS, folder / "pieces"),
    }
    extract_betas(miniature.raw, miniature.shared, region, miniature.nsd, EVERYTHING, **shape).save(
        folder / "subj02.h5"
    )
    return folder / "subj02.h5"


@pytest.fixture(scope="module")
def voxels(path):
    return open_voxels(path)


@pytest.fixture(scope="module")
def volumes(miniature):
    """All sessions' betas as they lie in the raw files, shape (x, y, z, n_trials)."""
    betas = []
    for session in SESSIONS:
        with h5py.File(
            on_disk(miniature.root, miniature.subject.files.betas("b3", session, "hdf5"))
        ) as file:
            betas.append(file["betas"][()].transpose(3, 2, 1, 0))
    return np.concatenate(betas, axis=-1)


def save_split(image_ids, is_test, path):
    """A split with some images as its test."""
    rng = np.random.default_rng(0)
    settings = {"kind": "shared", "validation_fraction": 0.2, "n_train_random": 1}
    split_images(image_ids, is_test, rng=rng, **settings).save(path)
    return path


def test_what_decode_reads_of_it_is_what_it_reads_of_its_export(path, voxels, tmp_path):
    export_npz(voxels, tmp_path / "export.npz")
    images = voxels.image_ids
    is_test = np.isin(images, voxels.shared_image_ids)
    split = save_split(images, is_test, tmp_path / "split.json")
    for asked, n_images in ((None, len(images)), (split, is_test.sum())):
        one, other = (read_betas(file, None, asked) for file in (path, tmp_path / "export.npz"))
        assert one[0] == other[0]
        assert len(one[0]) == n_images
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[2], other[2])


def test_voxels_and_exports_say_whose_they_are(path, voxels, tmp_path):
    export_npz(voxels, tmp_path / "export.npz")
    np.savez(tmp_path / "plain.npz", betas=np.ones((1, 2)), image_ids=np.arange(1))
    np.save(tmp_path / "plain.npy", np.ones((1, 2)))
    owners = [owner_of(path)]
    owners += [owner_of(tmp_path / name) for name in ("export.npz", "plain.npz", "plain.npy")]
    assert owners == ["subj02", "subj02", "", ""]
    for text in ("[]", "{", "{}"):
        np.savez(tmp_path / "plain.npz", provenance_json=np.array(text))
        with pytest.raises(FormatError, match="provenance_json: got text that names no subject"):
            owner_of(tmp_path / "plain.npz")


def test_decode_takes_test_images_of_the_same_subject_only(path, tmp_path):
    split = save_split(np.arange(90_000, 90_009), np.arange(9) < 3, tmp_path / "split.json")
    with pytest.raises(MismatchError, match=r"none of the test images of .*split\.json is in it"):
        read_betas(path, None, split)


def test_it_says_what_it_holds(voxels):
    text = repr(voxels)
    assert text.startswith(
        f"subj02: {voxels.n_voxels} voxels, 1500 trials, 2 sessions, {len(voxels.image_ids)} "
        "images ("
    )
    assert "regions: early " in text
    assert text.endswith("SIMULATED DATA: not results about real brains")


def test_regions_are_selected_by_name(voxels):
    early = voxels.select(["early", "ventral"])
    assert set(early.roi_names) == {"early", "ventral"}
    assert early.n_voxels == np.isin(voxels.roi_names, ["early", "ventral"]).sum()
    np.testing.assert_array_equal(
        early.stored(np.array([3, 700])),
        voxels.stored()[[3, 700]][:, np.isin(voxels.roi_names, ["early", "ventral"])],
    )
    with pytest.raises(
        MismatchError, match="no voxel of region 'V9' in this file; choose from: early, "
    ):
        voxels.select(["V9"])


def test_betas_are_percent_of_the_raw_files(voxels, volumes):
    rows = np.array([0, 749, 750, 1400])
    raw = volumes[tuple(voxels.voxel_ijk.T)][:, rows].T / 300
    percent = voxels.in_units(rows)
    known = np.isfinite(percent)
    assert 0.5 < known.mean() < 1
    np.testing.assert_allclose(percent[known], raw[known], rtol=1e-6)
    assert (raw[~known] == 0).all()


def test_averages_are_over_the_valid_trials_in_the_order_asked_for(voxels):
    images = voxels.shared_image_ids[::-1]
    averaged = voxels.average(images)
    percent = voxels.in_units()
    for row in (0, 5, len(images) - 1):
        trials = percent[voxels.trials.image_ids == images[row]]
        known = np.isfinite(trials).any(axis=0)
        np.testing.assert_allclose(
            averaged[row][known], np.nanmean(trials[:, known], axis=0), rtol=1e-5
        )
        assert np.isnan(averaged[row][~known]).all()


def test_trials_and_repetitions(voxels):
    image = voxels.image_ids[7]
    rows = voxels.trials_of(np.array([image]))
    assert (voxels.trials.image_ids[rows] == image).all()
    assert voxels.n_repetitions(np.array([image, 72_999_999])).tolist() == [len(rows), 0]
    assert len(voxels.trials_of(voxels.image_ids)) == 1500


def test_images_of_a_split(voxels, tmp_path):
    ids = voxels.image_ids
    save_split(ids, np.isin(ids, voxels.shared_image_ids), tmp_path / "split.json")
    np.testing.assert_array_equal(
        voxels.images_of(tmp_path / "split.json", "test"), voxels.shared_image_ids
    )


def test_noise_ceilings(voxels):
    np.testing.assert_array_equal(
        voxels.select(["early"]).noise_ceiling(3),
        noise_ceiling(voxels.ncsnr, 3)[voxels.roi_names == "early"],
    )


def test_an_image_that_was_not_shown(voxels):
    with pytest.raises(MismatchError, match=r"image 99999999 was not shown in these sessions"):
        voxels.average(np.array([voxels.image_ids[0], 99_999_999]))


def test_one_region_may_be_named_alone_and_none_may_not(voxels):
    assert set(voxels.select("early").roi_names) == {"early"}
    with pytest.raises(MismatchError, match="choose from: early"):
        voxels.select([])


def test_a_missing_file_names_both_ways_to_get_it(tmp_path):
    with pytest.raises(
        MissingDataError,
        match=r"subj07.h5 not found; run: fmri2img pull \(or dvc repro extract_betas@subj07\)",
    ):
        open_voxels(tmp_path / "subj07.h5")


def test_every_array_says_its_axes_and_its_meaning(path):
    with h5py.File(path) as file:
        assert file.attrs["written_by"].startswith("fmri2img ")
        for name, stored in file.items():
            assert stored.attrs["axes"], name
            assert stored.attrs["meaning"], name
        assert file["betas"].attrs["meaning"].startswith("in the attribute provenance, units: ")
        assert json.loads(file.attrs["provenance"])["units"] == {
            "name": "percent signal change",
            "per_unit": 300.0,
        }
        assert "name of the picture" in file["image_ids"].attrs["meaning"]


def test_npz_needs_no_pickle_and_holds_percent(voxels, tmp_path):
    export_npz(voxels, tmp_path / "v")
    assert [path.name for path in tmp_path.iterdir()] == ["v"]
    with np.load(tmp_path / "v", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["betas_percent"], voxels.in_units())
        np.testing.assert_array_equal(arrays["image_ids_0based"], voxels.trials.image_ids)
        assert arrays["roi_names"][0] == voxels.roi_names[0]
        assert "SIMULATED" in str(arrays["note"])


@pytest.mark.parametrize("subject", ["../../x", "subj²", "person1"])
def test_forms_of_nsd_are_for_nsds_subjects(voxels, subject, tmp_path):
    about = voxels.trials.provenance | {"subject": subject}
    other = replace(voxels, trials=replace(voxels.trials, provenance=about))
    for export in (export_takagi, export_brain_diffuser):
        with pytest.raises(ConfigError, match=r"is a form of NSD's data, and .*; export npz"):
            export(other, tmp_path / "below/folder")
    assert not list(tmp_path.iterdir())


def test_takagi_folder_holds_what_their_script_computes(voxels, volumes, miniature, tmp_path):
    export_takagi(voxels, tmp_path)
    # By the description of make_subjmri.py: whole HDF5 volumes, a transposed ROI, means over trials
    # of each image as first shown.
    betas = volumes.transpose(3, 2, 1, 0)
    atlas = np.asarray(
        nib.load(on_disk(miniature.root, miniature.subject.files.func_roi("streams"))).dataobj
    ).transpose(2, 1, 0)
    shown = voxels.trials.image_ids
    images = np.array(list(dict.fromkeys(shown.tolist())))
    shared = set(voxels.shared_image_ids.tolist())
    for value, name in ((1, "early"), (5, "ventral")):
        inside = betas[:, atlas == value]
        averages = np.stack([inside[shown == image].mean(axis=0) for image in images])
        expected = {
            "betas_tr": inside[[image not in shared for image in shown]],
            "betas_te": inside[[image in shared for image in shown]],
            "betas_ave_tr": averages[[image not in shared for image in images]],
            "betas_ave_te": averages[[image in shared for image in images]],
        }
        for kind, values in expected.items():
            found = np.load(tmp_path / f"subj02_{name}_{kind}.npy")
            assert found.dtype == values.dtype
            np.testing.assert_allclose(found, values, rtol=1e-12)
    np.testing.assert_array_equal(np.load(tmp_path / "subj02_stims.npy"), shown)
    np.testing.assert_array_equal(np.load(tmp_path / "subj02_stims_ave.npy"), images)


def test_brain_diffuser_folder_holds_what_their_script_computes(voxels, volumes, tmp_path):
    export_brain_diffuser(voxels, tmp_path)
    # By the description of prepare_nsddata.py: NIfTI order, means over trials, images as first
    # shown, test = shared images.
    mask = np.zeros(volumes.shape[:3], dtype=bool)
    mask[tuple(voxels.voxel_ijk.T)] = True
    betas, shown = volumes[mask].T.astype(np.float32), voxels.trials.image_ids
    for part, chosen in (("train", ~voxels.trials.is_shared), ("test", voxels.trials.is_shared)):
        images = list(dict.fromkeys(shown[chosen].tolist()))
        expected = np.stack([betas[shown == image].mean(0) for image in images]).astype(np.float64)
        np.testing.assert_array_equal(
            np.load(tmp_path / f"nsd_{part}_fmriavg_nsdgeneral_sub2.npy"), expected
        )
        np.testing.assert_array_equal(np.load(tmp_path / f"nsd_{part}_image_ids_sub2.npy"), images)


def test_exports_of_real_data_carry_the_terms(voxels, tmp_path):
    real = replace(
        voxels,
        trials=replace(voxels.trials, provenance=voxels.trials.provenance | {"data_source": "nsd"}),
    )
    export_brain_diffuser(real, tmp_path)
    assert real.terms.startswith("voxels are components of the Natural Scenes Dataset")
    assert real.terms in (tmp_path / "README.txt").read_text()
    assert "SIMULATED" not in (tmp_path / "README.txt").read_text()

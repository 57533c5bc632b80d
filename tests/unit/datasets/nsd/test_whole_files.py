"""``fmri2img check --raw``: what holds for whole files, and what each planted fault is told as."""

from pathlib import PurePosixPath
from types import SimpleNamespace

import h5py
import nibabel as nib
import numpy as np
import pytest

from conftest import SESSIONS, SUBJECT, linked, raw_files_of
from fmri2img.datasets import raw_checks
from fmri2img.datasets.nsd.paths import on_disk
from fmri2img.datasets.nsd.whole_files import Finding, check_whole_files
from fmri2img.project.exceptions import MismatchError


def findings(miniature, raw=None):
    return {
        finding.fact: finding for finding in check_whole_files(raw or miniature.raw, miniature.nsd)
    }


def fault_of(miniature, raw, fact):
    """What is found of one fact; those behind it are not looked at."""
    facts = check_whole_files(raw, miniature.nsd)
    return next(finding.fault for finding in facts if finding.fact == fact)


def changed(miniature, tmp_path, path, change):
    """The files of a tree in which one is changed before its receipt is written."""
    place = on_disk(linked(miniature.root, tmp_path / "nsd", path), path)
    change(place)
    listed = [PurePosixPath(record.path) for record in miniature.raw.receipt.files]
    return raw_files_of(SUBJECT, tmp_path / "nsd", listed)


def rewrite(change, affine=None):
    """Change the values of a NIfTI file, or its affine."""

    def apply(place):
        image = nib.load(place)
        values = np.asarray(image.dataobj).copy()
        change(values)
        nib.Nifti1Image(values, image.affine if affine is None else affine).to_filename(place)

    return apply


def test_all_facts_hold_for_what_is_simulated(miniature):
    found = findings(miniature)
    assert len(found) >= 8
    assert not [finding for finding in found.values() if finding.fault]
    assert found["betas are 0 where there is no data"].n_files == 2 * len(SESSIONS)
    assert found["both formats hold the same betas"].n_files == len(SESSIONS)


def outside(miniature):
    image = nib.load(on_disk(miniature.root, miniature.subject.files.brainmask()))
    return tuple(np.argwhere(np.asarray(image.dataobj) == 0)[0])


def put(value, *place):
    def change(values):
        values[place] = value

    return change


@pytest.fixture
def faults(miniature):
    """Fact to (file, change of it, words of the fault)."""
    files = miniature.subject.files
    x, y, z = outside(miniature)

    def beta_outside(place):
        with h5py.File(place, "r+") as file:
            file["betas"][5, z, y, x] = 7

    def other_beta(place):
        with h5py.File(place, "r+") as file:
            file["betas"][3] += 1

    session = files.betas("b3", SESSIONS[0], "hdf5")
    roi = files.anat_roi("prf-visualrois")
    return {
        "volumes lie on the grid of the brain mask": (
            files.valid(SESSIONS[0]),
            rewrite(lambda _: None, affine=np.eye(4)),
            "got an affine that begins at [0.0, 0.0, 0.0]",
        ),
        "masks hold 0 and 1 only": (
            files.brainmask(),
            rewrite(put(2, 0, 0, 0)),
            "got the value 2, expected 0 and 1 only",
        ),
        "ncsnr is missing only where no session has data": (
            files.ncsnr("b3"),
            rewrite(put(-1.0, 0, 0, 0)),
            "got an ncsnr of -1, expected 0 or more",
        ),
        "betas are 0 where there is no data": (
            session,
            beta_outside,
            f"got betas at 1 voxels without data, first {[int(x), int(y), int(z)]}",
        ),
        "both formats hold the same betas": (session, other_beta, "got other betas than"),
        "regions hold whole numbers with a name": (
            roi,
            rewrite(put(12, 0, 0, 0)),
            "got label 12, expected 7 at most",
        ),
    }


@pytest.mark.parametrize(
    "fact",
    [
        "volumes lie on the grid of the brain mask",
        "masks hold 0 and 1 only",
        "ncsnr is missing only where no session has data",
        "betas are 0 where there is no data",
        "both formats hold the same betas",
        "regions hold whole numbers with a name",
    ],
)
def test_what_does_not_hold_is_named(miniature, faults, fact, tmp_path):
    path, change, words = faults[fact]
    fault = fault_of(miniature, changed(miniature, tmp_path, path, change), fact)
    assert words in fault
    assert path.name in fault
    assert "run: dvc repro --force --single-item fetch_raw@subj02" in fault


def test_a_missing_ncsnr_where_sessions_have_data(miniature, tmp_path):
    brain = np.asarray(
        nib.load(on_disk(miniature.root, miniature.subject.files.brainmask())).dataobj
    )
    valid = np.asarray(
        nib.load(on_disk(miniature.root, miniature.subject.files.valid(SESSIONS[0]))).dataobj
    )
    place = tuple(np.argwhere((brain > 0) & (valid > 0))[0])
    raw = changed(
        miniature, tmp_path, miniature.subject.files.ncsnr("b3"), rewrite(put(np.nan, *place))
    )
    fault = fault_of(miniature, raw, "ncsnr is missing only where no session has data")
    assert "got no ncsnr at 1 voxels" in fault


def test_a_voxel_of_a_hemisphere_that_the_whole_lacks(miniature, tmp_path):
    path = miniature.subject.files.anat_roi("prf-visualrois")
    left = path.with_name(f"lh.{path.name}")
    listed = [PurePosixPath(record.path) for record in miniature.raw.receipt.files]
    if left not in listed:
        listed += [left, path.with_name(f"rh.{path.name}")]
    place = on_disk(linked(miniature.root, tmp_path / "nsd", left), left)
    rewrite(put(3, 0, 0, 0))(place)
    raw = raw_files_of(SUBJECT, tmp_path / "nsd", listed)
    fault = fault_of(miniature, raw, "hemispheres make up the whole")
    assert "first [0, 0, 0], that are other than in the volumes of the two hemispheres" in fault


def test_a_voxel_in_both_hemispheres(miniature, tmp_path):
    path = miniature.subject.files.anat_roi("prf-visualrois")
    left, right = (path.with_name(f"{side}.{path.name}") for side in ("lh", "rh"))
    labels = np.asarray(nib.load(on_disk(miniature.root, left)).dataobj)
    place = tuple(np.argwhere(labels > 0)[0])
    raw = changed(miniature, tmp_path, right, rewrite(put(1, *place)))
    fault = fault_of(miniature, raw, "hemispheres make up the whole")
    assert "got 1 voxels in both hemispheres" in fault


def test_coordinates_that_lead_nowhere_and_regions_outside_the_brain(miniature, tmp_path):
    transform = miniature.subject.files.transform()
    raw = changed(miniature, tmp_path / "a", transform, rewrite(put(9999, ...)))
    assert "got no coordinate within" in fault_of(
        miniature, raw, "coordinates lead into the source"
    )
    image = nib.load(on_disk(miniature.root, miniature.subject.files.brainmask()))
    raw = changed(
        miniature,
        tmp_path / "b",
        miniature.subject.files.brainmask(),
        rewrite(put(0, slice(image.shape[0] // 2))),
    )
    assert "outside of the brain mask" in fault_of(
        miniature, raw, "visual regions lie in the brain"
    )


def test_after_another_grid_nothing_more_is_compared(miniature, tmp_path):
    path = miniature.subject.files.valid(SESSIONS[0])
    place = on_disk(linked(miniature.root, tmp_path / "nsd", path), path)
    nib.Nifti1Image(np.ones((3, 3, 3), np.int16), np.eye(4)).to_filename(place)
    listed = [PurePosixPath(record.path) for record in miniature.raw.receipt.files]
    (finding,) = findings(miniature, raw_files_of(SUBJECT, tmp_path / "nsd", listed)).values()
    assert "got the grid (3, 3, 3), expected" in finding.fault


def test_the_lines_of_the_command(miniature, monkeypatch):
    params = SimpleNamespace(dataset="nsd", datasets={}, subjects=[SUBJECT], machine=None)
    monkeypatch.setattr(raw_checks, "check_dataset_settings", lambda *_: miniature.nsd)
    monkeypatch.setattr(raw_checks, "raw_files", lambda *_: miniature.raw)
    lines = list(raw_checks.check_raw_files(params))
    assert lines[0].startswith("subj02: ok: volumes lie on the grid of the brain mask (")
    bad = [Finding("betas are 0", 1, "x.hdf5: got betas"), Finding("masks", 2, "")]
    monkeypatch.setattr(raw_checks, "check_whole_files", lambda *_: iter(bad))
    told = []
    with pytest.raises(MismatchError, match=r"1 fact about the raw files .* first: x.hdf5: got"):
        told.extend(line for line in raw_checks.check_raw_files(params))
    monkeypatch.setattr(raw_checks, "check_dataset_settings", lambda *_: None)
    (line,) = raw_checks.check_raw_files(params)
    assert "nothing more to check" in line

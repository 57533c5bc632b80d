"""Files that are not what they should be: one clear line each."""

import gzip
import shutil

import h5py
import numpy as np
import pytest

from fmri2img.datasets.nsd.betas import read_session_betas
from fmri2img.datasets.nsd.volumes import nsd_header, write_volume
from fmri2img.project.exceptions import FormatError, MismatchError, MissingDataError

SHAPE = (5, 6, 7)


@pytest.fixture
def betas(rng):
    return rng.integers(-3000, 3000, (*SHAPE, 750)).astype(np.int16)


@pytest.fixture
def mask(rng):
    return rng.random(SHAPE) < 0.3


@pytest.fixture
def hdf5(tmp_path, betas):
    return write_hdf5(tmp_path / "betas.hdf5", betas)


@pytest.fixture
def nifti(tmp_path, betas):
    path = tmp_path / "betas.nii.gz"
    write_volume(path, betas, 1.8)
    return path


def write_hdf5(path, betas, name="betas", **options):
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=betas.transpose(3, 2, 1, 0), **options)
    return path


def read(path, mask):
    return read_session_betas(path, mask, remedy="dvc repro fetch_raw@subj01")


@pytest.mark.parametrize("chunks", [(750, 1, 1, 1), (75, 7, 2, 3), None])
def test_values_come_in_voxel_order_however_the_file_is_cut(tmp_path, betas, mask, chunks):
    path = write_hdf5(tmp_path / "cut.hdf5", betas, chunks=chunks)
    np.testing.assert_array_equal(read(path, mask), betas[mask].T)


def test_both_formats_give_the_same_bytes(hdf5, nifti, betas, mask):
    np.testing.assert_array_equal(read(hdf5, mask), read(nifti, mask))
    np.testing.assert_array_equal(read(nifti, mask), betas[mask].T)


@pytest.mark.parametrize(
    "mask", [np.ones(SHAPE, bool), np.indices(SHAPE).sum(axis=0) == 9], ids=["whole", "sparse"]
)
def test_whole_and_sparse_masks(hdf5, nifti, betas, mask):
    for path in (hdf5, nifti):
        np.testing.assert_array_equal(read(path, mask), betas[mask].T)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.999])
def test_a_truncated_gzip(nifti, mask, share):
    content = nifti.read_bytes()
    nifti.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        FormatError, match=r"betas.nii.gz: damaged or cut off .*; run: dvc repro fetch_raw@subj01"
    ):
        read(nifti, mask)


def test_a_gzip_with_a_flipped_bit_is_caught_by_its_checksum(tmp_path, betas, mask):
    path = tmp_path / "stored.nii.gz"
    header = nsd_header(betas.shape, betas.dtype, 1.8, tr=1.0, lowest=0, highest=1)
    # Level 0 stores bytes as they are: a flipped bit breaks nothing but the checksum.
    content = bytearray(gzip.compress(header + betas.tobytes(order="F"), compresslevel=0, mtime=0))
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"stored.nii.gz: damaged or cut off"):
        read(path, mask)


def test_not_gzip_at_all(nifti, mask):
    nifti.write_bytes(b"<html>403 Forbidden</html>" * 100)
    with pytest.raises(FormatError, match=r"betas.nii.gz: not a NIfTI file"):
        read(nifti, mask)


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_truncated_hdf5(hdf5, mask, share):
    content = hdf5.read_bytes()
    hdf5.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        FormatError,
        match=r"betas.hdf5: not a readable HDF5 file .*; run: dvc repro fetch_raw@subj01",
    ):
        read(hdf5, mask)


@pytest.mark.parametrize("way", ["external storage", "external link", "soft link", "virtual"])
def test_betas_that_lie_in_another_file_are_refused(tmp_path, betas, hdf5, mask, way):
    path, shape = tmp_path / "linked.hdf5", betas.shape[::-1]
    with h5py.File(path, "w") as file:
        if way == "external storage":
            (tmp_path / "secret").write_bytes(betas.tobytes())
            file.create_dataset(
                "betas", shape, np.int16, external=[(tmp_path / "secret", 0, betas.nbytes)]
            )
        elif way == "external link":
            file["betas"] = h5py.ExternalLink(hdf5, "betas")
        elif way == "soft link":
            file["other"] = betas.transpose(3, 2, 1, 0)
            file["betas"] = h5py.SoftLink("/other")
        else:
            layout = h5py.VirtualLayout(shape, np.int16)
            layout[:] = h5py.VirtualSource(hdf5, "betas", shape)
            file.create_virtual_dataset("betas", layout)
    with pytest.raises(FormatError, match=r"linked\.hdf5: .*; run: dvc repro fetch_raw@subj01"):
        read(path, mask)


def test_hdf5_without_betas(tmp_path, betas, mask):
    path = write_hdf5(tmp_path / "other.hdf5", betas, name="bold")
    with pytest.raises(
        FormatError,
        match=r"other.hdf5: no array betas among bold; run: dvc repro",
    ):
        read(path, mask)


@pytest.mark.parametrize("ending", ["hdf5", "nii.gz"])
def test_another_type(tmp_path, betas, mask, ending):
    path = tmp_path / f"float.{ending}"
    values = betas.astype(np.float32)
    values[0, 0, 0, 0] = np.nan
    write_hdf5(path, values) if ending == "hdf5" else write_volume(path, values, 1.8)
    with pytest.raises(FormatError, match=r"expected int16 .*, got float32 \(5, 6, 7, 750\)"):
        read(path, mask)


@pytest.mark.parametrize("ending", ["hdf5", "nii.gz"])
def test_a_session_shorter_than_750(tmp_path, betas, mask, ending):
    path = tmp_path / f"short.{ending}"
    write_hdf5(path, betas[..., :620]) if ending == "hdf5" else write_volume(
        path, betas[..., :620], 1.8
    )
    with pytest.raises(
        FormatError, match=r"expected .*750.*, got .*620.*; run: dvc repro fetch_raw@subj01"
    ):
        read(path, mask)


@pytest.mark.parametrize("ending", ["hdf5", "nii.gz"])
def test_a_mask_of_another_space(tmp_path, betas, hdf5, nifti, ending):
    with pytest.raises(
        MismatchError,
        match=r"grid \(5, 6, 7\) does not match the ROI grid \(6, 5, 7\); use an ROI of the same "
        r"subject",
    ):
        read(hdf5 if ending == "hdf5" else nifti, np.ones((6, 5, 7), bool))


def test_scaled_integers_are_refused(tmp_path, betas, mask):
    path = tmp_path / "scaled.nii.gz"
    header = bytearray(nsd_header(betas.shape, betas.dtype, 1.8, tr=1.0, lowest=0, highest=1))
    header[112:116] = np.float32(2).tobytes()  # scl_slope
    path.write_bytes(gzip.compress(bytes(header) + betas.tobytes(order="F"), compresslevel=1))
    with pytest.raises(FormatError, match=r"expected unscaled integers, got slope 2.0"):
        read(path, mask)


@pytest.mark.parametrize("ending", ["hdf5", "nii.gz"])
def test_a_missing_file(tmp_path, mask, ending):
    with pytest.raises(MissingDataError, match=r"not found; run: dvc repro fetch_raw@subj01"):
        read(tmp_path / f"none.{ending}", mask)


def test_a_folder_in_place_of_a_file(tmp_path, hdf5, mask):
    hdf5.unlink()
    hdf5.mkdir()
    with pytest.raises(FormatError, match=r"betas.hdf5: is a folder, expected a file"):
        read(hdf5, mask)
    shutil.rmtree(hdf5)

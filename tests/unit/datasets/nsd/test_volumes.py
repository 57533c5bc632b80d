import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from fmri2img.datasets.nsd.rois import read_label_table, read_labels
from fmri2img.datasets.nsd.volumes import (
    check_same_grid,
    read_volume,
    slab_centre_affine,
    stream_voxels,
    write_volume,
)
from fmri2img.project.exceptions import FormatError, MismatchError, MissingDataError


def test_affine_has_world_zero_at_the_slab_centre():
    # subj01, func1pt8mm, as published.
    np.testing.assert_allclose(slab_centre_affine((81, 104, 83), 1.8)[:3, 3], [-72.0, -92.7, -73.8])


def test_header_fields_are_those_of_the_matlab_writer(tmp_path):
    path = tmp_path / "roi.nii.gz"
    write_volume(path, np.arange(-1, 23, dtype=np.float64).reshape(2, 3, 4), 1.8, tr=4 / 3)
    raw = gzip.decompress(path.read_bytes())
    assert raw[344:348] == b"n+1\0"
    assert raw[348:352] == b"\0\0\0\0"
    assert struct.unpack_from("<8h", raw, 40) == (3, 2, 3, 4, 1, 1, 1, 1)
    assert struct.unpack_from("<h", raw, 70) == (64,)
    np.testing.assert_allclose(
        struct.unpack_from("<8f", raw, 76), [0, 1.8, 1.8, 1.8, 4 / 3, 1, 1, 1], rtol=1e-6
    )
    assert struct.unpack_from("<3f", raw, 108) == (352, 0, 0)  # offset, slope, intercept
    assert struct.unpack_from("<2i", raw, 140) == (22, -1)  # glmax, glmin
    assert struct.unpack_from("<2h", raw, 252) == (0, 1)  # qform, sform
    assert raw[228:232] == b"none"


def test_values_come_back_through_nibabel(tmp_path, rng):
    data = rng.integers(-300, 300, (3, 4, 5, 6)).astype(np.int16)
    write_volume(tmp_path / "betas.nii.gz", data, 1.0)
    image = nib.load(tmp_path / "betas.nii.gz")
    assert np.asarray(image.dataobj).dtype == np.int16
    np.testing.assert_array_equal(np.asarray(image.dataobj), data)
    np.testing.assert_allclose(image.affine, slab_centre_affine((3, 4, 5), 1.0))


def test_same_data_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, np.eye(5, dtype=np.float32)[..., None], 1.8)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(
        MissingDataError, match=r"a\.nii\.gz not found; run: dvc repro fetch_raw@subj01"
    ):
        read_volume(tmp_path / "a.nii.gz", remedy="dvc repro fetch_raw@subj01")
    (tmp_path / "b.nii").write_text("not a volume")
    with pytest.raises(FormatError, match=r"b\.nii: not a NIfTI file"):
        read_volume(tmp_path / "b.nii", remedy="")


def test_another_grid_is_refused(tmp_path):
    write_volume(tmp_path / "a.nii.gz", np.zeros((3, 4, 5), np.float32), 1.8)
    image = read_volume(tmp_path / "a.nii.gz", remedy="")
    check_same_grid(
        tmp_path / "a.nii.gz", image, (3, 4, 5), slab_centre_affine((3, 4, 5), 1.8), "the ROI"
    )
    with pytest.raises(
        MismatchError, match=r"grid \(3, 4, 5\) does not match the ROI, expected \(3, 4, 6\)"
    ):
        check_same_grid(tmp_path / "a.nii.gz", image, (3, 4, 6), image.affine, "the ROI")
    with pytest.raises(MismatchError, match="affine translation"):
        check_same_grid(
            tmp_path / "a.nii.gz", image, (3, 4, 5), slab_centre_affine((3, 4, 5), 1.0), "the ROI"
        )


def test_label_tables_may_end_in_any_number_of_blanks(tmp_path):
    (tmp_path / "a.ctab").write_text("0 Unknown\n1 V1v\t\t \n2 hV4   \n\n")
    assert read_label_table(tmp_path / "a.ctab", remedy="") == {1: "V1v", 2: "hV4"}
    (tmp_path / "a.ctab").write_text("0 Unknown\none V1v\n")
    with pytest.raises(
        FormatError, match="line 2: expected a label number and a name, got 'one V1v'"
    ):
        read_label_table(tmp_path / "a.ctab", remedy="")


def test_label_volumes_hold_whole_numbers(tmp_path):
    write_volume(tmp_path / "a.nii.gz", np.array([-1.0, 0, 7]).reshape(3, 1, 1), 1.8)
    assert read_labels(tmp_path / "a.nii.gz", remedy="")[0].ravel().tolist() == [-1, 0, 7]
    write_volume(tmp_path / "b.nii.gz", np.array([0.5, 0, 7]).reshape(3, 1, 1), 1.8)
    with pytest.raises(
        FormatError, match=r"expected whole numbers from -1 up, got values from 0.0 to 7.0"
    ):
        read_labels(tmp_path / "b.nii.gz", remedy="")


@pytest.mark.parametrize(
    "line",
    [
        "1 V1v\n1 V1d",
        "99999999999999999999 V1v",
        "\u0663 V1v",
        "\u00b2 V1v",
        "1 ../../x",
        "1 V3A/B",
    ],
)
def test_label_tables_hold_plain_numbers_and_names(tmp_path, line):
    path = tmp_path / "a.ctab"
    path.write_text(f"0 Unknown\n{line}\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"a\.ctab, line [23]: .*; correct the table"):
        read_label_table(path, remedy="")


def with_header(path, **fields):
    """Change fields of the header of an uncompressed copy of a volume."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    places = {"vox_offset": (108, "<f"), "scl_slope": (112, "<f"), "srow_x": (280, "<4f")}
    for name, value in fields.items():
        offset, form = places[name]
        struct.pack_into(form, raw, offset, *np.atleast_1d(value))
    path.write_bytes(gzip.compress(bytes(raw)))
    return path


@pytest.mark.parametrize("offset", [0, np.nan, 1e30, -5, 2e6])
def test_data_that_begin_nowhere(tmp_path, offset):
    path = tmp_path / "betas.nii.gz"
    write_volume(path, np.ones((2, 3, 4, 2), np.int16), 1.8)
    with_header(path, vox_offset=offset)
    mask = np.ones((2, 3, 4), bool)
    with pytest.raises(FormatError, match=r"(?s)betas\.nii\.gz: .*; run: x"):
        list(stream_voxels(path, mask, remedy="x"))
    write_volume(path, np.ones((2, 3, 4)), 1.8)
    with_header(path, vox_offset=offset)
    if offset:  # nibabel takes 0 for the usual 352
        with pytest.raises(FormatError, match=r"(?s)betas\.nii\.gz: .*; run: x"):
            read_labels(path, remedy="x")


@pytest.mark.parametrize("slope", [np.inf, 2.0])
def test_betas_that_are_scaled(tmp_path, slope):
    path = tmp_path / "betas.nii.gz"
    write_volume(path, np.ones((2, 3, 4, 2), np.int16), 1.8)
    with_header(path, scl_slope=slope)
    with pytest.raises(FormatError, match="expected unscaled integers, got slope"):
        list(stream_voxels(path, np.ones((2, 3, 4), bool), remedy="x"))


def test_label_volumes_whose_voxels_have_no_place(tmp_path):
    path = tmp_path / "roi.nii.gz"
    for row in ([np.nan, 0, 0, 0], [0, 0, 0, 0]):
        write_volume(path, np.ones((2, 3, 4)), 1.8)
        with_header(path, srow_x=row)
        with pytest.raises(FormatError, match="its affine does not place voxels"):
            read_labels(path, remedy="x")


def test_colours_are_no_labels(tmp_path):
    colours = np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "roi.nii.gz")
    with pytest.raises(FormatError, match="expected a 3-D volume of labels, got"):
        read_labels(tmp_path / "roi.nii.gz", remedy="x")
    nib.save(nib.Nifti1Image(np.ones((2, 3, 4), np.complex64), np.eye(4)), tmp_path / "c.nii.gz")
    with pytest.raises(FormatError, match="expected a 3-D volume of labels, got complex64"):
        read_labels(tmp_path / "c.nii.gz", remedy="x")


def test_a_volume_that_claims_more_than_it_holds(tmp_path):
    path = tmp_path / "roi.nii.gz"
    write_volume(path, np.ones((2, 3, 4)), 1.8)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<4h", raw, 40, 3, 32000, 32000, 32000)
    path.write_bytes(gzip.compress(bytes(raw)))
    with pytest.raises(FormatError, match=r"damaged or cut off \(\d+ bytes for a volume of"):
        read_labels(path, remedy="x")


def test_a_slope_that_was_never_set_scales_nothing(tmp_path):
    path = tmp_path / "betas.nii.gz"
    write_volume(path, np.full((2, 3, 4, 2), 7, np.int16), 1.8)
    with_header(path, scl_slope=np.nan)
    for volume in stream_voxels(path, np.ones((2, 3, 4), bool), remedy="x"):
        assert (volume == 7).all()


def test_the_name_of_label_0_is_free(tmp_path):
    (tmp_path / "a.ctab").write_text("0 -/-\n1 V1v\n")
    assert read_label_table(tmp_path / "a.ctab", remedy="") == {1: "V1v"}

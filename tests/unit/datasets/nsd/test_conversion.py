from dataclasses import replace
from pathlib import Path, PurePosixPath

import nibabel as nib
import numpy as np
import pytest

from conftest import SUBJECT, linked, raw_files_of
from fmri2img.datasets.nsd.conversion import convert_roi
from fmri2img.datasets.nsd.paths import on_disk, template_label_table
from fmri2img.datasets.nsd.rois import read_label_table
from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.project.config import ConvertRoiParams
from fmri2img.project.exceptions import ConfigError, FormatError, MismatchError, MissingDataError

NOWHERE = Path("no-such-folder")


def convert(miniature, roi, *, drawn_in="anat", mapping="nearest", own_rois=NOWHERE, **nsd):
    params = ConvertRoiParams(roi=roi, drawn_in=drawn_in, mapping=mapping)
    return convert_roi(
        miniature.raw, miniature.nsd.model_copy(update=nsd), params, own_rois=own_rois
    )


def shipped(miniature, path):
    return np.asarray(nib.load(on_disk(miniature.root, path)).dataobj)


def test_labels_are_named_and_inside_the_brain(miniature):
    labels, names = convert(miniature, "prf-visualrois")
    assert list(names.values()) == ["V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"]
    assert set(np.unique(labels)) == {-1, 0, 1, 2, 3, 4, 5, 6, 7}
    assert miniature.subject.brain_mask[labels > 0].all()


@pytest.mark.parametrize("roi", ["nsdgeneral", "streams", "prf-eccrois", "floc-faces"])
def test_winner_take_all_gives_the_func_space_file(miniature, roi):
    labels, names = convert(miniature, roi, mapping="winner_take_all")
    ready, ready_names = convert(miniature, roi, drawn_in="func")
    np.testing.assert_array_equal(labels, shipped(miniature, miniature.subject.files.func_roi(roi)))
    np.testing.assert_array_equal(ready, labels)
    assert ready_names == names


def test_a_union_lays_the_first_on_top(miniature):
    labels, names = convert(miniature, ["floc-bodies", "prf-visualrois"])
    bodies, _ = convert(miniature, "floc-bodies")
    visual, _ = convert(miniature, "prf-visualrois")
    assert names == dict(
        enumerate(
            [
                "EBA",
                "FBA-1",
                "FBA-2",
                "mTL-bodies",
                "V1v",
                "V1d",
                "V2v",
                "V2d",
                "V3v",
                "V3d",
                "hV4",
            ],
            start=1,
        )
    )
    np.testing.assert_array_equal(
        labels,
        np.where(bodies > 0, bodies, np.where(visual > 0, visual + 4, np.maximum(bodies, visual))),
    )


def test_names_that_two_regions_use_are_told_apart(miniature, tmp_path):
    own = tmp_path / miniature.subject.subject / "mine.nii.gz"
    source = shipped(miniature, miniature.subject.files.anat_roi("prf-visualrois"))
    write_volume(own, np.where(source == 7, 1, 0).astype(np.int16), 0.8)
    own.with_name("mine.ctab").write_text("0 Unknown\n1 hV4\t\t  \n")
    labels, names = convert(miniature, ["mine", "prf-visualrois"], own_rois=tmp_path)
    assert names[1] == "mine:hV4"
    assert names[8] == "prf-visualrois:hV4"
    assert names[2] == "V1v"
    visual, _ = convert(miniature, "prf-visualrois")
    np.testing.assert_array_equal(labels == 1, visual == 7)


def test_a_label_without_a_name_gets_one(miniature, tmp_path):
    own = tmp_path / miniature.subject.subject / "mine.nii.gz"
    source = shipped(miniature, miniature.subject.files.anat_roi("prf-visualrois"))
    write_volume(own, source.astype(np.int16), 0.8)
    labels, names = convert(miniature, "mine", own_rois=tmp_path)
    assert names == {label: f"mine-{label}" for label in range(1, 8)}
    np.testing.assert_array_equal(labels, convert(miniature, "prf-visualrois")[0])


def test_an_unknown_roi_lists_the_known_ones(miniature):
    expected = (
        r"there is no ROI 'V1' in the anatomical space of subj02, and no "
        r"no-such-folder/subj02/V1.nii.gz; choose from: MTL, floc-bodies"
    )
    with pytest.raises(ConfigError, match=expected):
        convert(miniature, "V1")


@pytest.mark.parametrize(
    ("voxel_mm", "shape", "message"),
    [
        (
            1.8,
            (9, 8, 7),
            r"voxels of \[1.8, 1.8, 1.8\] mm, translation .*, expected NSD's anat0pt8 space",
        ),
        (
            0.8,
            (9, 8, 7),
            r"mine.nii.gz: grid \(9, 8, 7\) does not match nsddata/.*/anat/roi/.*, expected \(51, "
            r"51, 51\)",
        ),
    ],
)
def test_a_volume_of_another_space_is_refused(miniature, tmp_path, voxel_mm, shape, message):
    write_volume(tmp_path / "subj02" / "mine.nii.gz", np.ones(shape, np.int16), voxel_mm)
    with pytest.raises(MismatchError, match=message):
        convert(miniature, "mine", own_rois=tmp_path)


def test_a_functional_volume_of_another_grid_is_refused(miniature, tmp_path):
    write_volume(tmp_path / "subj02" / "mine.nii.gz", np.ones((4, 5, 6), np.int16), 1.8)
    with pytest.raises(MismatchError, match="does not match the functional volumes"):
        convert(miniature, "mine", drawn_in="func", own_rois=tmp_path)


def test_nan_and_fractions_are_refused(miniature, tmp_path):
    volume = np.zeros(miniature.subject.brain_mask.shape)
    volume[2, 3, 4] = np.nan
    write_volume(tmp_path / "subj02" / "mine.nii.gz", volume, 1.8)
    with pytest.raises(
        FormatError,
        match=r"whole numbers from -1 up, got 1 values that are NaN or infinite in plane z = 4",
    ):
        convert(miniature, "mine", drawn_in="func", own_rois=tmp_path)
    volume[2, 3, 4] = 1.5
    write_volume(tmp_path / "subj02" / "mine.nii.gz", volume, 1.8)
    with pytest.raises(
        FormatError, match=r"whole numbers from -1 up, got values from 0.0 to 1.5 in plane z = 4"
    ):
        convert(miniature, "mine", drawn_in="func", own_rois=tmp_path)


def test_a_region_that_no_voxel_reaches(miniature, tmp_path):
    write_volume(
        tmp_path / "subj02" / "mine.nii.gz",
        np.zeros(miniature.subject.brain_mask.shape, np.int16),
        1.8,
    )
    with pytest.raises(
        MismatchError, match="ROI mine: no voxel of subj02 in func1pt8mm gets a label"
    ):
        convert(miniature, "mine", drawn_in="func", own_rois=tmp_path)


def test_a_label_table_with_ragged_blanks(tmp_path):
    # As in the published Kastner2015 table: any number of tabs and blanks behind the names.
    (tmp_path / "x.ctab").write_text("0 Unknown\n1 V1v\t\t\t \n2 V1d \n\n12 TO2\t\n")
    assert read_label_table(tmp_path / "x.ctab", remedy="") == {1: "V1v", 2: "V1d", 12: "TO2"}


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("0 Unknown\n1 V1d\n2 V1v\n", "label 1 is V1d, expected V1v: in NSD V1d is label 2; run: "),
        ("0 Unknown\n1 V1v\n2 V1d\n", "no name for label 3, which the volume holds, expected V2v"),
    ],
    ids=["swapped", "cut"],
)
def test_a_table_that_names_labels_otherwise_is_refused(miniature, tmp_path, table, line):
    name = miniature.subject.files.label_table("prf-visualrois")
    path = on_disk(linked(miniature.root, tmp_path / "nsd", name), name)
    path.write_text(table)
    listed = [PurePosixPath(record.path) for record in miniature.raw.receipt.files]
    other = replace(miniature, raw=raw_files_of(SUBJECT, tmp_path / "nsd", listed))
    with pytest.raises(FormatError, match=f"prf-visualrois.mgz.ctab: {line}"):
        convert(other, "prf-visualrois")


def test_a_table_of_the_template_is_held_against_nsds_names_too(miniature, tmp_path):
    name = template_label_table("MTL")
    path = on_disk(linked(miniature.root, tmp_path / "nsd", name), name)
    text = path.read_text()
    path.write_text(text.replace("ERC", "x").replace("SUB", "ERC").replace("x", "SUB"))
    assert path.read_text() != text
    listed = [PurePosixPath(record.path) for record in miniature.raw.receipt.files]
    other = replace(miniature, raw=raw_files_of(SUBJECT, tmp_path / "nsd", listed))
    with pytest.raises(FormatError, match=r"MTL.ctab: label 1 is SUB, expected ERC: in NSD SUB is"):
        convert(other, "MTL")


def test_known_regions_have_names_without_a_table(miniature):
    files = tuple(
        record
        for record in miniature.raw.receipt.files
        if not record.path.endswith("streams.mgz.ctab")
    )
    bare = replace(
        miniature, raw=replace(miniature.raw, receipt=replace(miniature.raw.receipt, files=files))
    )
    assert (
        convert(bare, "streams", drawn_in="func")[1]
        == convert(miniature, "streams", drawn_in="func")[1]
    )


def test_a_volume_named_as_one_of_nsd_is_refused(miniature, tmp_path):
    own = tmp_path / miniature.subject.subject / "nsdgeneral.nii.gz"
    write_volume(own, shipped(miniature, miniature.subject.files.anat_roi("prf-visualrois")), 0.8)
    with pytest.raises(
        ConfigError, match=r"nsdgeneral.nii.gz has the name of NSD's own .*; rename yours"
    ):
        convert(miniature, "nsdgeneral", own_rois=tmp_path)


def test_two_labels_of_one_name_are_refused(tmp_path):
    (tmp_path / "x.ctab").write_text("0 Unknown\n1 V1\n2 V1\n")
    with pytest.raises(FormatError, match="line 3: the name V1 appears twice"):
        read_label_table(tmp_path / "x.ctab", remedy="")


def test_a_region_of_nsd_that_was_not_fetched_says_how_to_get_it(miniature):
    with pytest.raises(
        MissingDataError,
        match=r"has MTL, .*; complete the copy, or name corticalsulc in datasets: rois if .* run: "
        r"dvc repro --force --single-item fetch_raw@",
    ):
        convert(miniature, "corticalsulc")

"""Every simulated file says so itself, and strangers' readers still open it."""

import gzip
import shutil
from pathlib import PurePosixPath

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
from nsdcode.nsd_mapdata import NSDmapdata

from conftest import SESSIONS, SUBJECT, linked
from fmri2img.datasets.marks import MARK, holds_simulated, is_marked, source_of
from fmri2img.datasets.nsd.paths import EXPDESIGN, STIM_INFO, STIMULI, on_disk
from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.provenance.receipts import Ledger, Receipt


@pytest.fixture(scope="module")
def files(miniature):
    return sorted(path for path in miniature.root.rglob("*") if path.is_file())


def test_every_file_is_marked_whatever_its_name(files, tmp_path):
    assert len(files) > 100
    assert not [path for path in files if not is_marked(path)]
    for number, path in enumerate(files[:: len(files) // 40]):
        renamed = tmp_path / f"{number}.bin"
        shutil.copyfile(path, renamed)
        assert is_marked(renamed)


@pytest.mark.parametrize("kept", ["nsddata", "nsddata_betas", "nsddata_stimuli"])
def test_one_part_of_the_tree_is_recognised_without_the_notice(miniature, kept, tmp_path):
    linked(miniature.root / kept, tmp_path / kept)
    paths = [
        PurePosixPath(path.relative_to(tmp_path).as_posix())
        for path in tmp_path.rglob("*")
        if path.is_file()
    ]
    assert holds_simulated(tmp_path)
    for path in paths:
        assert source_of(tmp_path, [path], "nsd") == "simulated"


def test_one_mark_makes_all_of_it_simulated(miniature, tmp_path, caplog):
    measured = tmp_path / "nsddata" / "measured.nii.gz"
    write_volume(measured, np.zeros((3, 3, 3), np.int16), 1.8)
    name = PurePosixPath("nsddata/measured.nii.gz")
    assert source_of(tmp_path, [name], "nsd") == "nsd"
    mask = miniature.subject.files.brainmask()
    copied = on_disk(tmp_path, mask)
    copied.parent.mkdir(parents=True)
    shutil.copyfile(on_disk(miniature.root, mask), copied)
    assert source_of(tmp_path, [name, mask], "nsd") == "simulated"
    (warning,) = caplog.messages
    assert warning.endswith(
        "1 of 2 files are simulated, and nsddata/measured.nii.gz is not: all of it counts as "
        "simulated"
    )

    def receipt(source):
        return Receipt.of(SUBJECT, tmp_path, [name], Ledger(None), data_source=source)

    real, simulated = receipt("nsd"), receipt("simulated")
    assert Receipt.common_source(real, real) == "nsd"
    assert Receipt.common_source(real, simulated) == "simulated"
    assert Receipt.common_source(simulated, real) == "simulated"


@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8b damaged", b"\x89HDF\r\n\x1a\n damaged", b"a\n"]
)
def test_other_files_are_not_marked(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    assert not is_marked(tmp_path / "file")
    assert not holds_simulated(tmp_path)


def test_trees_of_earlier_versions_are_recognised(tmp_path):
    """They have marks in HDF5 and MATLAB files only."""
    with h5py.File(tmp_path / "betas.hdf5", "w") as file:
        file.attrs["source"] = MARK
    (tmp_path / "design.mat").write_bytes(b"MATLAB 5.0 MAT-file, simulated by fmri2img".ljust(128))
    assert is_marked(tmp_path / "betas.hdf5")
    assert is_marked(tmp_path / "design.mat")


def test_strangers_readers_open_all_files(miniature):
    files = miniature.subject.files
    image = nib.load(on_disk(miniature.root, files.brainmask()))
    assert image.header["descrip"].item().decode() == MARK
    assert np.asarray(image.dataobj).max() == 1
    with h5py.File(on_disk(miniature.root, files.betas("b3", SESSIONS[0], "hdf5"))) as file:
        assert file["betas"].dtype == np.int16
    with h5py.File(on_disk(miniature.root, STIMULI)) as file:
        assert file["imgBrick"][int(miniature.subject.image_ids[0])].any()
    assert scipy.io.loadmat(on_disk(miniature.root, EXPDESIGN))["sharedix"].shape == (1, 1000)
    table = pd.read_csv(on_disk(miniature.root, files.responses()), sep="\t")
    assert table["73KID"].dtype == np.int64
    assert pd.read_csv(on_disk(miniature.root, STIM_INFO), index_col=0)["shared1000"].sum() == 1000
    onsets = on_disk(miniature.root, files.design(SESSIONS[0], 1))
    assert np.loadtxt(onsets, dtype=int).shape == (225,)
    first = pd.read_csv(onsets, sep="\t", header=None)[0]
    np.testing.assert_array_equal(first, np.loadtxt(onsets, dtype=int))
    labels = np.loadtxt(on_disk(miniature.root, files.label_table("prf-visualrois")), dtype=str)
    assert labels[0].tolist() == ["0", "Unknown"]
    assert len(labels) == 8


def test_the_tools_of_nsd_map_the_files(miniature):
    mapped = NSDmapdata(str(miniature.root)).fit(
        int(SUBJECT[-1]),
        "anat0pt8",
        "func1pt8",
        str(on_disk(miniature.root, miniature.subject.files.anat_roi("prf-visualrois"))),
        interptype="nearest",
        badval=-1,
    )
    assert set(np.unique(mapped)) >= {-1, 0, 1}


def test_a_gzip_file_that_is_damaged_near_its_start_says_nothing(tmp_path):
    content = bytearray(gzip.compress(bytes(range(256)) * 40))
    content[12:40] = b"\xff" * 28
    (tmp_path / "x.nii.gz").write_bytes(content)
    assert not is_marked(tmp_path / "x.nii.gz")

import numpy as np
import pytest

from fmri2img.cli.decode_verb import read_betas
from fmri2img.project.exceptions import ConfigError, FormatError, MissingDataError


def test_trials_of_an_image_are_averaged_and_counted(tmp_path):
    betas = np.array([[1.0, 2.0], [5.0, np.nan], [3.0, 4.0]])
    np.savez(tmp_path / "betas.npz", betas_percent=betas, image_ids_0based=np.array([7, 2950, 7]))
    names, averages, counts = read_betas(tmp_path / "betas.npz", None)
    assert names == ["00007", "02950"]
    np.testing.assert_array_equal(averages, np.array([[2.0, 3.0], [5.0, np.nan]], np.float32))
    assert averages.dtype == np.float32
    assert counts.tolist() == [2, 1]


def test_rows_of_a_plain_array_are_numbered(tmp_path):
    np.save(tmp_path / "betas.npy", np.ones((2, 3)))
    names, betas, repetitions = read_betas(tmp_path / "betas.npy", 2)
    assert names == ["00000", "00001"]
    assert betas.shape == (2, 3)
    assert repetitions.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("array", "repetitions", "error", "message"),
    [
        (
            np.ones(3),
            3,
            FormatError,
            r"shape \(3,\), float64, expected \(n, n_voxels\) and floating point; "
            r"save responses",
        ),
        (np.ones((2, 3), np.int16), 3, FormatError, r"shape \(2, 3\), int16, expected"),
        (
            np.ones((2, 3)),
            None,
            ConfigError,
            "does not say how many trials each row averages; name it, such as --repetitions 3",
        ),
        (
            np.ones((2, 3)),
            0,
            ConfigError,
            "--repetitions: 0; expected the number of trials that each row averages, 1 or more",
        ),
        (np.array([[{}]]), 3, FormatError, "not a .npy or .npz file of plain arrays"),
        (np.full((2, 3), np.nan), 3, FormatError, "row 0 is NaN in every voxel"),
        (np.array([[1.0, 2], [np.inf, 1]]), 3, FormatError, "row 1 holds an infinite value"),
        (np.array([[1.0, 1e300]]), 3, FormatError, "row 0 holds an infinite value, or one too"),
        (np.zeros((0, 3)), 3, FormatError, r"shape \(0, 3\), float64, expected"),
    ],
)
def test_what_cannot_be_betas_is_refused(array, repetitions, error, message, tmp_path):
    np.save(tmp_path / "betas.npy", array, allow_pickle=True)
    with pytest.raises(error, match=message):
        read_betas(tmp_path / "betas.npy", repetitions)


def test_a_plain_array_has_no_test_images(tmp_path):
    np.save(tmp_path / "betas.npy", np.ones((2, 3)))
    with pytest.raises(
        ConfigError, match="does not say which image a row belongs to; give a voxel"
    ):
        read_betas(tmp_path / "betas.npy", 3, tmp_path / "split.json")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(MissingDataError, match="make it with fmri2img export"):
        read_betas(tmp_path / "betas.npz", None)
    (tmp_path / "betas.npz").write_text("text")
    with pytest.raises(FormatError, match=r"not a \.npy or \.npz file"):
        read_betas(tmp_path / "betas.npz", None)
    for start, advice in (
        (b"\x89HDF\r\n\x1a\n", "not a readable TrialBetas file"),
        (b"\x80\x04\x95", "it is a pickle, which is never loaded; save arrays with numpy.savez"),
    ):
        (tmp_path / "betas.npz").write_bytes(start + b"0" * 2000)
        with pytest.raises(FormatError, match=advice) as caught:
            read_betas(tmp_path / "betas.npz", None)
        assert "allow_pickle" not in str(caught.value)
    np.savez(tmp_path / "betas.npz", betas_percent=np.ones((2, 3)))
    with pytest.raises(
        FormatError,
        match="image_ids_0based is not in it; expected the arrays that fmri2img export writes",
    ):
        read_betas(tmp_path / "betas.npz", None)


@pytest.mark.parametrize(
    ("betas", "ids", "message"),
    [
        (
            np.ones((2, 3)),
            np.array([1]),
            r"image ids of shape \(1,\), expected one for each of the 2",
        ),
        (np.ones(3), np.arange(3), r"shape \(3,\), float64, expected"),
        (np.ones((2, 3), np.int16), np.arange(2), r"int16, expected"),
        (np.ones((2, 3)), np.array(["../x", "y"]), r"image id '\.\./x', expected a name of"),
        (np.array([[1, np.inf]]), np.array([1]), "row 0 holds an infinite value"),
        (np.array([[1, 2], [np.nan, np.nan]]), np.arange(2), "row 1 is NaN in every voxel"),
        (np.ones((0, 3)), np.arange(0), r"shape \(0, 3\)"),
        (np.array([[{}]], object), np.arange(1), r"not a \.npy or \.npz file of plain arrays"),
    ],
)
def test_an_export_that_is_none_is_refused(betas, ids, message, tmp_path):
    np.savez(tmp_path / "betas.npz", betas_percent=betas, image_ids_0based=ids)
    with pytest.raises(FormatError, match=message):
        read_betas(tmp_path / "betas.npz", None)


def test_a_damaged_archive_is_refused(tmp_path):
    np.savez(tmp_path / "betas.npz", betas_percent=np.ones((9, 9)), image_ids_0based=np.arange(9))
    content = (tmp_path / "betas.npz").read_bytes()
    for damaged in (content[:-30], content[:200] + b"x" * 40 + content[240:], b"PK"):
        (tmp_path / "betas.npz").write_bytes(damaged)
        with pytest.raises(FormatError, match=r"not a \.npy or \.npz file of plain arrays"):
            read_betas(tmp_path / "betas.npz", None)

import numpy as np
import pytest
import scipy.ndimage

from fmri2img.datasets.nsd.mapping import (
    map_nearest,
    map_winner_take_all,
    read_coordinates,
    valid_coordinates,
)
from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.project.exceptions import FormatError, MismatchError

SHAPE = (7, 5, 6)


@pytest.fixture
def labels(rng):
    return rng.integers(-1, 4, SHAPE).astype(np.int16)


@pytest.fixture
def inside(rng):
    """Coordinates within 1..N of every axis, 1-based."""
    return (1 + rng.random((11, 8, 3, 3)) * (np.array(SHAPE) - 1)).astype(np.float32)


def test_nearest_agrees_with_scipy(labels, inside):
    expected = scipy.ndimage.map_coordinates(
        labels.astype(float), np.moveaxis(inside.astype(float) - 1, -1, 0), order=0
    )
    np.testing.assert_array_equal(map_nearest(labels, inside, bad_value=-9), expected)


def test_winner_takes_all_agrees_with_linear_weights_of_scipy(labels, inside):
    points = np.moveaxis(inside.astype(float) - 1, -1, 0)
    names = np.unique(labels)
    weights = [
        scipy.ndimage.map_coordinates((labels == name).astype(float), points, order=1)
        for name in names
    ]
    np.testing.assert_array_equal(
        map_winner_take_all(labels, inside, bad_value=-9), names[np.argmax(weights, axis=0)]
    )


def test_lowest_label_wins_a_tie():
    volume = np.array([2, 1], dtype=np.int16).reshape(2, 1, 1)
    assert map_winner_take_all(volume, np.array([[1.5, 1, 1]]), bad_value=0) == 1


@pytest.mark.parametrize("mapping", [map_nearest, map_winner_take_all])
def test_first_and_last_plane_are_reached(mapping):
    # The Python port accepts 2..N+1 instead, and so loses the first plane of each axis.
    volume = np.arange(1, 5, dtype=np.int16).reshape(4, 1, 1)
    coordinates = np.array([[1, 1, 1], [4, 1, 1], [0.99, 1, 1], [4.01, 1, 1]])
    np.testing.assert_array_equal(mapping(volume, coordinates, bad_value=-7), [1, 4, -7, -7])


@pytest.mark.parametrize("code", [9999, 12498.625, 5555.44, np.nan, 0, -0.5])
def test_every_no_data_code_is_out_of_range(code):
    coordinates = np.array([[code, 2, 2], [2, code, 2], [2, 2, code], [2, 2, 2]])
    np.testing.assert_array_equal(
        valid_coordinates(coordinates, SHAPE), [False, False, False, True]
    )


def test_halves_round_up_as_in_matlab():
    volume = np.arange(1, 5).reshape(4, 1, 1)
    coordinates = np.array([[1.5, 1, 1], [2.5, 1, 1], [3.49, 1, 1]])
    np.testing.assert_array_equal(map_nearest(volume, coordinates, bad_value=0), [2, 3, 3])


def test_bad_value_survives_integer_sources():
    # The Python port casts before it fills, which turns the bad value into 0.
    source = np.ones((2, 2, 2), dtype=np.int16)
    assert map_nearest(source, np.array([[9999, 1, 1]]), bad_value=-1)[0] == -1


def test_transform_must_match_the_target_grid(tmp_path):
    write_volume(tmp_path / "t.nii.gz", np.ones((4, 5, 6, 3), np.float32), 1.8)
    assert read_coordinates(tmp_path / "t.nii.gz", (4, 5, 6), remedy="").shape == (4, 5, 6, 3)
    with pytest.raises(
        MismatchError,
        match=r"t.nii.gz: transform grid \(4, 5, 6\) does not match the target grid \(4, 5, 7\); "
        r"use",
    ):
        read_coordinates(tmp_path / "t.nii.gz", (4, 5, 7), remedy="")


def test_a_volume_that_is_no_transform(tmp_path):
    write_volume(tmp_path / "t.nii.gz", np.ones((4, 5, 6), np.float32), 1.8)
    with pytest.raises(FormatError, match=r"expected a volume of shape \(x, y, z, 3\)"):
        read_coordinates(tmp_path / "t.nii.gz", (4, 5, 6), remedy="")

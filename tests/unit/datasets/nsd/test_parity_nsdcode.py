"""Our mapping beside the authors' Python port, ``nsdcode``: equal where the port is right, and one
test for each place where it is not.

The reference is MATLAB's ``nsd_mapdata``: coordinates count from 1 and are valid in 1..N.
"""

import numpy as np
import pytest
from nsdcode.interp_wrapper import interp_wrapper
from nsdcode.transform_data import transform_data

from fmri2img.datasets.nsd.mapping import map_nearest, map_winner_take_all

OURS = {"nearest": map_nearest, "wta": map_winner_take_all}


def port(source, coordinates, mapping, *, bad_value=-1, outputclass=None):
    """The port's volume-to-volume case, as ``NSDmapdata.fit`` calls it."""
    settings = {
        "casenum": 1,
        "interptype": mapping,
        "targetspace": "func1pt8",
        "voxelsize": 1.8,
        "res": None,
        "outputfile": None,
        "outputclass": outputclass or source.dtype,
        "badval": bad_value,
        "fsdir": None,
    }
    return transform_data(coordinates.astype(np.float64).copy(), source.copy(), settings)


def random_warp(rng, shape, source_shape, low=2.0, high=0.0):
    """A rotation, a shift and a wobble; everything within ``low``..N - ``high`` of the source."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    extent = np.array(source_shape)
    rotation, _ = np.linalg.qr(np.eye(3) + 0.1 * rng.standard_normal((3, 3)))
    rotation *= np.sign(np.diag(rotation))
    warped = (grid / np.array(shape) - 0.5) @ rotation.T * extent * 1.1 + extent / 2
    warped += np.sin(grid[..., ::-1] / 3 + rng.uniform(0, 6, 3))
    return np.clip(warped, low, extent - high)


@pytest.mark.parametrize("mapping", ["nearest", "wta"])
@pytest.mark.parametrize("seed", range(5))
def test_every_label_agrees_inside_the_window_that_both_accept(mapping, seed):
    rng = np.random.default_rng(seed)
    source_shape, shape = tuple(rng.integers(17, 29, 3)), tuple(rng.integers(9, 16, 3))
    blobs = rng.standard_normal(source_shape)
    for axis in range(3):
        blobs += np.roll(blobs, 1, axis) + np.roll(blobs, 2, axis)
    source = (
        np.digitize(blobs, np.quantile(blobs, [0.3, 0.5, 0.7, 0.9])).astype(np.float64) - 1
    )  # -1, 0, 1, 2, 3
    coordinates = random_warp(rng, shape, source_shape)
    ours, theirs = (
        OURS[mapping](source, coordinates, bad_value=-1),
        port(source, coordinates, mapping),
    )
    assert len(np.unique(ours)) == 5
    np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def ramp():
    return np.arange(1.0, 7).reshape(6, 1, 1) * np.ones((6, 5, 4))


def at(*x):
    """Coordinates along x, in the middle of the other axes."""
    return np.array([[value, 3, 3] for value in x])[:, None, None]


def along(source, coordinates, function, **settings):
    return np.asarray(function(source, coordinates, **settings)).ravel()


@pytest.mark.parametrize("mapping", ["nearest", "wta"])
def test_the_port_loses_the_first_plane(ramp, mapping):
    coordinates = at(1.0, 1.4, 1.9, 2.0)
    np.testing.assert_array_equal(along(ramp, coordinates, port, mapping=mapping), [-1, -1, -1, 2])
    np.testing.assert_array_equal(
        along(ramp, coordinates, OURS[mapping], bad_value=-1), [1, 1, 2, 2]
    )


@pytest.mark.parametrize("mapping", ["nearest", "wta"])
def test_the_port_repeats_the_last_plane_beyond_the_volume(ramp, mapping):
    coordinates = at(6.0, 6.3, 7.0, 7.1)
    np.testing.assert_array_equal(along(ramp, coordinates, port, mapping=mapping), [6, 6, 6, -1])
    np.testing.assert_array_equal(
        along(ramp, coordinates, OURS[mapping], bad_value=-1), [6, -1, -1, -1]
    )


def test_the_port_cannot_take_integers_for_winner_takes_all(ramp):
    labels, coordinates = ramp.astype(np.int16), at(2.2, 9999.0, 3.0)
    with pytest.raises(ValueError, match="cannot convert float NaN to integer"):
        interp_wrapper(labels, (coordinates - 1).reshape(-1, 3).T, interptype="wta")
    np.testing.assert_array_equal(
        along(labels, coordinates, map_winner_take_all, bad_value=-1), [2, -1, 3]
    )


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
def test_the_port_forgets_the_bad_value_of_integers(ramp):
    coordinates = at(3.0, 9999.0)
    theirs = along(ramp, coordinates, port, mapping="nearest", outputclass=np.int16)
    assert theirs[0] == 3
    assert theirs[1] != -1
    np.testing.assert_array_equal(
        along(ramp.astype(np.int16), coordinates, map_nearest, bad_value=-1), [3, -1]
    )


def test_the_port_fills_later_volumes_with_the_first_voxel(ramp, monkeypatch):
    monkeypatch.setattr("nsdcode.transform_data.tqdm", lambda items, **_: items)
    volumes = np.stack([ramp, ramp + 10], axis=-1)
    coordinates = at(3.0, 9999.0)
    theirs = port(volumes, coordinates, "nearest").reshape(2, 2)
    np.testing.assert_array_equal(
        theirs, [[3, 13], [-1, 12]]
    )  # 12: source voxel (1, 1, 1), counted from 0
    ours = [
        along(volumes[..., index], coordinates, map_nearest, bad_value=-1) for index in range(2)
    ]
    np.testing.assert_array_equal(np.stack(ours, axis=-1), [[3, 13], [-1, -1]])


@pytest.mark.parametrize("code", [12498.625, 5555.44, 19997.5])
@pytest.mark.parametrize("mapping", ["nearest", "wta"])
def test_codes_that_went_through_arithmetic_are_bad_in_both(ramp, mapping, code):
    for place in range(3):
        coordinates = at(3.0)
        coordinates[..., place] = code
        assert along(ramp, coordinates, port, mapping=mapping) == [-1]
        assert along(ramp, coordinates, OURS[mapping], bad_value=-1) == [-1]


@pytest.mark.parametrize("half", [2.5, 3.5, 4.5])
def test_halves_round_up_in_both(ramp, half):
    assert (
        along(ramp, at(half), port, mapping="nearest")
        == along(ramp, at(half), map_nearest, bad_value=-1)
        == [half + 0.5]
    )


def test_the_lowest_label_wins_a_tie_in_both(ramp):
    assert (
        along(ramp, at(4.5), port, mapping="wta")
        == along(ramp, at(4.5), map_winner_take_all, bad_value=-1)
        == [4]
    )

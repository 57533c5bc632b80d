import numpy as np
import pytest

from fmri2img.datasets.simulation.dead_leaves import render_leaves
from fmri2img.datasets.simulation.scenes import CATEGORIES, SETTINGS, describe_scene, render_image


@pytest.fixture(scope="module")
def pictures():
    return np.stack([render_image(5, image_id, 170) for image_id in range(24)])


def spectrum_slope(pictures):
    """Slope of log power over log spatial frequency, averaged over directions."""
    window = np.hanning(pictures.shape[1])
    grey = pictures.mean(-1)
    windowed = (grey - grey.mean((1, 2), keepdims=True)) * window[:, None] * window
    power = np.mean(
        np.abs(np.fft.fft2(windowed)) ** 2 / windowed.var((1, 2), keepdims=True), axis=0
    )
    frequency = np.fft.fftfreq(len(window)) * len(window)
    radius = np.hypot(frequency[:, None], frequency).round().astype(int)
    radial = np.bincount(radius.ravel(), power.ravel()) / np.bincount(radius.ravel())
    used = np.arange(3, len(window) // 3)
    return np.polyfit(np.log(used), np.log(radial[used]), 1)[0]


def test_an_image_does_not_depend_on_the_others(pictures):
    np.testing.assert_array_equal(render_image(5, 17, 170), pictures[17])
    assert (render_image(6, 17, 170) != pictures[17]).any()


def test_power_falls_as_in_photographs(pictures):
    assert -3.0 < spectrum_slope(pictures) < -1.8


def test_pictures_differ_in_colour_layout_and_contrast(pictures):
    assert pictures.dtype == np.uint8
    assert pictures.std(axis=(1, 2, 3)).min() > 8
    means = pictures.mean(axis=(1, 2))
    assert means.std(axis=0).min() > 15
    correlations = np.corrcoef(pictures.reshape(len(pictures), -1))
    assert np.median(correlations[np.triu_indices(len(pictures), 1)]) < 0.6


def test_the_main_object_stands_before_the_rest():
    scene = describe_scene(5, 3)
    assert scene.category in CATEGORIES
    assert scene.setting in SETTINGS
    assert scene.n_objects >= 1
    assert 0.2 < scene.horizon < 0.8


def test_all_categories_occur():
    assert {describe_scene(5, image_id).category for image_id in range(200)} == set(CATEGORIES)


def test_size_changes_resolution_not_content():
    large = render_image(5, 2, 340).reshape(34, 10, 34, 10, 3).mean((1, 3))
    small = render_image(5, 2, 170).reshape(34, 5, 34, 5, 3).mean((1, 3))
    assert np.corrcoef(large.ravel(), small.ravel())[0, 1] > 0.9


def test_leaves_are_deterministic_and_occlude():
    first = render_leaves(1, 2, 64)
    np.testing.assert_array_equal(first, render_leaves(1, 2, 64))
    assert first.shape == (64, 64, 3)
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 100

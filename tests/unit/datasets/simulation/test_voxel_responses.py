import numpy as np
import pytest

from fmri2img.containers.ncsnr import estimate_ncsnr
from fmri2img.datasets.nsd.rois import LABEL_NAMES
from fmri2img.datasets.simulation.cortex import (
    CorticalPoints,
    eccentricity,
    func_to_anat_mm,
    grow_cortex,
    label_points,
    locate,
    receptive_field_centres,
)
from fmri2img.datasets.simulation.voxel_responses import (
    PUBLISHED_NCSNR,
    draw_voxels,
    image_features,
    make_betas,
    noise_free_responses,
)


@pytest.fixture(scope="module")
def cortex():
    return grow_cortex(1, func_space="func1pt8mm", volume_scale=0.4, n_visual_voxels=600, seed=11)


@pytest.fixture(scope="module")
def visual(cortex):
    """Points and labels of the retinotopic voxels."""
    points = locate(cortex, func_to_anat_mm(cortex).reshape(-1, 3))
    labels = label_points(points, "prf-visualrois")
    chosen = labels > 0
    return CorticalPoints(
        **{name: values[chosen] for name, values in points.__dict__.items()}
    ), labels[chosen]


def test_the_wanted_number_of_voxels(visual):
    assert abs(len(visual[1]) - 600) < 10
    assert set(visual[1]) == set(LABEL_NAMES["prf-visualrois"])


def test_each_hemisphere_sees_the_other_side(visual):
    points, labels = visual
    centres = receptive_field_centres(points, labels)
    assert (centres[points.is_left, 0] >= -1e-9).all()
    assert (centres[~points.is_left, 0] <= 1e-9).all()


def test_dorsal_areas_see_the_lower_field(visual):
    points, labels = visual
    height = receptive_field_centres(points, labels)[:, 1]
    assert (height[np.isin(labels, [2, 4, 6])] <= 1e-9).all()
    assert (height[np.isin(labels, [1, 3, 5])] >= -1e-9).all()


def test_polar_angle_reverses_at_borders():
    angles = np.array([35.99, 36.01, 73.99, 74.01])
    n = len(angles)
    points = CorticalPoints(
        np.ones(n, bool), np.ones(n, bool), np.ones(n, bool), np.full(n, 0.5), angles
    )
    labels = label_points(points, "prf-visualrois")
    np.testing.assert_array_equal(labels, [2, 4, 4, 6])
    x, y = receptive_field_centres(points, labels).T
    elevation = np.degrees(np.arctan2(y, x))
    np.testing.assert_allclose(elevation, [-90, -90, 0, 0], atol=0.1)


def test_magnification_falls_with_eccentricity():
    steps = np.diff(eccentricity(np.linspace(0, 1, 11)))
    assert (np.diff(steps) > 0).all()


def test_features_see_position_orientation_and_colour():
    picture = np.full((425, 425, 3), 128, dtype=np.uint8)
    picture[:, :200:20] = 250  # vertical stripes on the left
    picture[300:, 300:] = (200, 60, 60)
    maps = image_features(picture).reshape(11, 17, 17)
    red_green = maps[1]
    assert red_green[-2, -2] > red_green[2, 2] + 0.3
    energy = maps[3:7]  # the fine scale
    assert energy[0, 5, 3] > 3 * energy[2, 5, 3]
    assert energy[0, 5, 3] > 3 * energy[0, 5, 13]


def test_responses_have_unit_sd_and_depend_on_the_image(visual, rng):
    points, labels = visual
    model = draw_voxels(points, labels, 1, version="b3", rng=np.random.default_rng(1))
    features = rng.standard_normal((40, 11, 289)).astype(np.float32)
    signal = noise_free_responses(model, features, rng.integers(0, 10, 40))
    np.testing.assert_allclose(signal.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(signal.std(0), 1, atol=1e-4)


def test_median_ncsnr_of_the_model_is_the_published_one(visual):
    for number, published in enumerate(PUBLISHED_NCSNR, start=1):
        model = draw_voxels(*visual, number, version="b3", rng=np.random.default_rng(number))
        assert np.median(model.ncsnr) == pytest.approx(published, rel=0.01)


def test_betas_have_the_ncsnr_of_the_model(visual, rng):
    points, labels = visual
    model = draw_voxels(points, labels, 5, version="b3", rng=np.random.default_rng(1))
    image_ids = np.repeat(np.arange(750), 3)
    signal = rng.standard_normal((750, len(labels))).astype(np.float32)[image_ids]
    noise = rng.standard_normal(signal.shape).astype(np.float32)
    betas = make_betas(signal, noise, model, gain=1.1, offset=np.zeros(len(labels), np.float32))
    order = rng.permutation(2250)
    found = estimate_ncsnr(
        betas[order], np.repeat([1, 2, 3], 750), image_ids[order], n_repetitions=3
    )
    assert np.median(found - model.ncsnr) == pytest.approx(0, abs=0.02)
    assert np.corrcoef(found, model.ncsnr)[0, 1] > 0.9

import numpy as np
import pytest
import torch

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
from fmri2img.datasets.simulation.network_drives import network_drives
from fmri2img.datasets.simulation.picture_drives import N_CHANNELS, N_DEEP, picture_drives
from fmri2img.datasets.simulation.scenes import (
    CATEGORIES,
    describe_scene,
    paint_scene,
    render_image,
)
from fmri2img.datasets.simulation.trial_noise import session_noise
from fmri2img.datasets.simulation.voxel_responses import (
    PUBLISHED_NCSNR,
    draw_voxels,
    make_betas,
    noise_free_responses,
)
from fmri2img.datasets.simulation.worlds import WORLDS
from fmri2img.features.energies import contrast_energies
from fmri2img.project.exceptions import ConfigError


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


def test_more_voxels_than_the_brain_holds_are_refused():
    with pytest.raises(
        ConfigError, match=r"got n_visual_voxels 5000, but .* hold \d+; lower it, or raise"
    ):
        grow_cortex(1, func_space="func1pt8mm", volume_scale=0.2, n_visual_voxels=5000, seed=1)


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


def drawn(visual, number=1, *, seed=1, world="standard", deep_share=0.4):
    rng = np.random.default_rng(seed)
    return draw_voxels(
        *visual, number, version="b3", world=WORLDS[world], deep_share=deep_share, rng=rng
    )


@pytest.fixture(scope="module")
def drives():
    """Of sixty scenes, and their categories."""
    scenes = [describe_scene(5, image_id) for image_id in range(60)]
    categories = np.array([CATEGORIES.index(scene.category) for scene in scenes])
    return np.stack([picture_drives(paint_scene(scene, 85)) for scene in scenes]), categories


def test_drives_see_position_orientation_and_colour():
    picture = np.full((425, 425, 3), 128, dtype=np.uint8)
    rows = np.arange(425)
    turned = np.add.outer(rows * np.sin(np.pi / 8), rows * np.cos(np.pi / 8))
    picture[:, :200] = (128 + 100 * np.sin(2 * np.pi * 10.9 * turned / 425))[:, :200, None]
    picture[300:, 300:] = (200, 60, 60)
    maps = picture_drives(picture).reshape(-1, 17, 17)
    assert maps.shape == (N_CHANNELS, 17, 17)
    assert maps.dtype == np.float32
    red_green = maps[1]
    assert red_green[-2, -2] > red_green[2, 2] + 0.3
    of_this_size = maps[3 + 4 : 3 + 8]  # the four orientations
    assert of_this_size[0, 5, 1:6].mean() > 2 * of_this_size[2, 5, 1:6].mean()
    assert of_this_size[0, 5, 1:6].mean() > 2 * of_this_size[0, 5, 11:16].mean()


def test_filters_keep_the_sign_of_contrast():
    picture = np.full((85, 85, 3), 128, dtype=np.uint8)
    picture[:, 40:45] = 250
    first, inverted = (
        picture_drives(one)[3:15] for one in (picture, (256 - picture.astype(int)).astype(np.uint8))
    )
    assert np.abs(first - inverted).max() > 0.5 * first.max()


def test_no_drive_is_an_energy_of_the_encoders(drives):
    """Each channel against the energies' best linear prediction, over scenes and places."""
    pictures = np.stack([render_image(5, image_id, 128) for image_id in range(60)])
    energies = contrast_energies(pictures)
    maps = torch.from_numpy(drives[0]).reshape(60, -1, 17, 17)
    coarse = torch.nn.functional.adaptive_avg_pool2d(maps, 8).numpy()
    known = energies.transpose(0, 2, 3, 1).reshape(-1, energies.shape[1])
    known = np.column_stack([np.ones(len(known)), known])
    explained = []
    for channel in range(3, N_CHANNELS):
        target = coarse[:, channel].ravel()
        predicted = known @ np.linalg.lstsq(known, target, rcond=None)[0]
        explained.append(1 - np.var(target - predicted) / np.var(target))
    assert max(explained) < 0.8
    assert np.mean(explained) < 0.5


def test_responses_have_unit_sd_and_depend_on_the_image(visual, drives):
    model = drawn(visual)
    signal = noise_free_responses(model, *drives, WORLDS["standard"])
    np.testing.assert_allclose(signal.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(signal.std(0), 1, atol=1e-4)


def test_the_category_explains_its_share(visual, drives):
    labels = visual[1]
    model = drawn(visual)
    signal = noise_free_responses(model, *drives, WORLDS["standard"])
    one_hot = np.eye(len(CATEGORIES))[drives[1]]
    fitted = one_hot @ np.linalg.lstsq(one_hot, signal, rcond=None)[0]
    explained = (fitted**2).mean(0)
    assert (model.category_share[labels < 7] == 0).all()
    assert np.median(explained[labels == 7]) > np.median(explained[labels < 3]) + 0.03
    whole = noise_free_responses(drawn(visual, world="category"), *drives, WORLDS["category"])
    fitted = one_hot @ np.linalg.lstsq(one_hot, whole, rcond=None)[0]
    np.testing.assert_allclose(fitted, whole, atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_share_of_the_random_network_is_the_setting(share, visual, drives):
    model = drawn(visual, deep_share=share)
    labels = visual[1]
    assert model.deep_share[labels == 7] == pytest.approx(share)
    assert (model.deep_share[labels < 3] == np.float32(0.3 * share)).all()
    without = drives[0].copy()
    without[:, -N_DEEP:] = 0
    with_all, alone = (
        noise_free_responses(model, some, drives[1], WORLDS["standard"])
        for some in (drives[0], without)
    )
    assert np.allclose(with_all, alone, atol=1e-4) == (share == 0)


def test_where_no_place_is_special_voxels_see_all_of_the_picture(visual):
    local, scattered = drawn(visual), drawn(visual, world="no_locality")
    axis = np.arange(17)

    def spread(fields):
        grid = fields.reshape(-1, 17, 17).sum(axis=1)
        mean = grid @ axis
        return np.sqrt(grid @ axis**2 - mean**2)

    assert np.median(spread(local.fields)) < 2 < 4 < np.median(spread(scattered.fields))


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_has_responses_and_noise(name, visual, drives, rng):
    world = WORLDS[name]
    model = drawn(visual, world=name)
    signal = noise_free_responses(model, *drives, world)
    assert np.isfinite(signal).all()
    np.testing.assert_allclose(signal.std(0), 1, atol=1e-3)
    sources = rng.normal(0, 0.1, (12, 4))
    positions = rng.normal(0, 20, (80, 3))
    noise = session_noise(
        positions, 750, np.random.default_rng(1), sources, np.random.default_rng(2), world
    )
    assert noise.shape == (750, 80)
    assert np.isfinite(noise).all()
    assert noise.std() == pytest.approx(1, abs=0.1)
    responding = (model.ncsnr > 0).mean()
    assert 1 - responding == pytest.approx(world.silent + world.dead, abs=0.03)


def test_noise_is_autocorrelated_drifts_and_has_heavy_tails(rng):
    sources, positions = rng.normal(0, 0.1, (12, 4)), rng.normal(0, 20, (200, 3))

    def noise(world):
        own, shared = (np.random.default_rng(seed) for seed in (1, 2))
        return session_noise(positions, 750, own, sources, shared, WORLDS[world])

    def kurtosis(values):
        return float(np.mean((values / values.std()) ** 4))

    standard, rough = noise("standard"), noise("rough_noise")
    lag = np.mean(standard[1:] * standard[:-1]) / np.mean(standard**2)
    assert 0.15 < lag < 0.4
    assert 3.4 < kurtosis(standard) < 6
    assert kurtosis(rough) > kurtosis(standard)
    of_runs = [
        np.array([part.mean(axis=0) for part in np.array_split(values, 12)]).var(axis=0).mean()
        for values in (standard, rough)
    ]
    assert of_runs[1] > 2 * of_runs[0] > 2 / 62.5  # more than averages of independent trials


def test_voxels_share_the_noise_that_the_world_says(rng):
    sources, positions = rng.normal(0, 0.1, (12, 4)), rng.normal(0, 20, (150, 3))
    shared = {}
    for name in ("standard", "shared_noise"):
        own, common = (np.random.default_rng(seed) for seed in (1, 2))
        noise = session_noise(positions, 750, own, sources, common, WORLDS[name])
        shared[name] = np.abs(np.corrcoef(noise.T)[np.triu_indices(150, 1)]).mean()
    assert shared["shared_noise"] > 1.5 * shared["standard"]


def test_ncsnr_falls_over_areas_and_varies_as_in_the_real_tables():
    """NSD's subj01: medians of about 0.55 in V1 and 0.35 in hV4; SD of log ncsnr in V1v 0.48;
    largest 1.42; median inside nsdgeneral 0.361.
    """
    cortex = grow_cortex(1, func_space="func1pt8mm", volume_scale=0.5, n_visual_voxels=2500, seed=7)
    points = locate(cortex, func_to_anat_mm(cortex).reshape(-1, 3))
    labels = label_points(points, "prf-visualrois")
    general = label_points(points, "nsdgeneral") > 0
    inside = CorticalPoints(**{name: values[general] for name, values in points.__dict__.items()})
    ncsnr, areas = drawn((inside, labels[general])).ncsnr, labels[general]
    assert np.median(ncsnr) == pytest.approx(0.361, rel=0.02)
    v1, hv4 = ncsnr[np.isin(areas, [1, 2])], ncsnr[areas == 7]
    assert np.median(v1) == pytest.approx(0.55, abs=0.05)
    assert np.median(hv4) == pytest.approx(0.35, abs=0.05)
    assert np.log(v1[v1 > 0]).std() == pytest.approx(0.48, abs=0.08)
    assert 1.1 < ncsnr.max() < 2
    assert 0.001 < (ncsnr == 0).mean() < 0.01


def test_median_ncsnr_of_the_model_is_the_published_one(visual):
    """Here nearly all voxels respond, so that their median is that of those that do."""
    for number, published in enumerate(PUBLISHED_NCSNR, start=1):
        model = drawn(visual, number, seed=number)
        assert np.median(model.ncsnr) == pytest.approx(published, rel=0.03)


def test_some_fields_lie_outside_the_picture(visual):
    centres = receptive_field_centres(*visual)
    outside = (np.abs(centres) > 4.2).any(axis=1)
    assert 0.02 < outside.mean() < 0.2
    ncsnr = drawn(visual).ncsnr
    assert np.median(ncsnr[outside]) < 0.8 * np.median(ncsnr[~outside])


def test_betas_have_the_ncsnr_of_the_model(visual, rng):
    model = drawn(visual, 5)
    image_ids = np.repeat(np.arange(750), 3)
    signal = rng.standard_normal((750, len(visual[1]))).astype(np.float32)[image_ids]
    noise = rng.standard_normal(signal.shape).astype(np.float32)
    offset = np.zeros(len(visual[1]), np.float32)
    betas = make_betas(signal, noise, model, gain=1.1, offset=offset)
    order = rng.permutation(2250)
    found = estimate_ncsnr(
        betas[order], np.repeat([1, 2, 3], 750), image_ids[order], n_repetitions=3
    )
    assert np.median(found - model.ncsnr) == pytest.approx(0, abs=0.02)
    assert np.corrcoef(found, model.ncsnr)[0, 1] > 0.9


@pytest.mark.parametrize("drive", ["middle layers", "late layers"])
def test_layers_of_the_installed_network_drive_other_places_for_other_pictures(drive):
    pictures = [render_image(5, image_id, 85) for image_id in range(3)]
    drives = network_drives(pictures, drive)
    assert drives.shape == (3, N_DEEP, 289)
    assert drives.dtype == np.float32
    np.testing.assert_allclose(network_drives(pictures[1:], drive), drives[1:], atol=1e-4)
    assert np.corrcoef(drives.reshape(3, -1))[0, 1] < 0.99
    assert drives.std(axis=2).min() > 0

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from sklearn.linear_model import Ridge

from conftest import REPOSITORY
from fmri2img.models import takagi
from fmri2img.models._image_ridge import solve_image_ridge
from fmri2img.models.base import TrainingTensors
from fmri2img.models.registry import check_settings, load_encoder, save_encoder
from fmri2img.project.exceptions import ConfigError

SECTION = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]["takagi"]
N_IMAGES, N_EARLY, N_VENTRAL, N_OTHER = 60, 17, 11, 5
Z_SHAPE = (4, 6, 6)
NAMES = {1: "early", 2: "ventral", 3: "lateral"}


def settings(**changes):
    return check_settings("takagi", SECTION | changes)


@pytest.fixture
def data(rng):
    """Early voxels know z, ventral ones c; the others nothing. One to three trials an image."""
    z, c = rng.normal(size=(N_IMAGES, *Z_SHAPE)), rng.normal(size=(N_IMAGES, 77, 768))
    c[:, 0] = 0.5  # every text begins alike
    trial_images = np.repeat(np.arange(N_IMAGES), rng.integers(1, 4, N_IMAGES))
    early = z.reshape(N_IMAGES, -1) @ rng.normal(size=(144, N_EARLY))
    ventral = c[:, 1].reshape(N_IMAGES, -1) @ rng.normal(size=(768, N_VENTRAL))
    known = np.concatenate(
        [early / early.std(0), ventral / ventral.std(0), np.zeros((N_IMAGES, N_OTHER))], axis=1
    )
    betas = 2 + 3 * (
        known[trial_images] + 0.3 * rng.normal(size=(len(trial_images), known.shape[1]))
    )
    labels = np.repeat([1, 2, 3], [N_EARLY, N_VENTRAL, N_OTHER])
    order = rng.permutation(len(labels))  # regions are scattered over the voxels
    none = torch.zeros(0, *Z_SHAPE)
    return TrainingTensors(
        torch.from_numpy(betas[:, order]).float(),
        torch.from_numpy(trial_images),
        torch.from_numpy(z).float(),
        torch.from_numpy(labels[order]),
        torch.zeros(N_IMAGES, 0, 1, 1),
        none,
        torch.zeros(0, 0, 1, 1),
        roi_names=NAMES,
        text_embeddings=torch.from_numpy(c).half(),
    )


def fitted(data, **changes):
    encoder = takagi.Model(data.betas.shape[1], Z_SHAPE, settings(**changes))
    encoder.normalizer.fit(data.betas)
    return encoder.eval(), encoder.solve(data)


@pytest.mark.parametrize("grid", ["published", "wide"])
def test_weights_are_those_of_scikit_learn(data, grid, rng):
    zscored = torch.nn.functional.normalize(data.betas - data.betas.mean(0), dim=0)[
        :, :N_EARLY
    ].contiguous()
    folds = torch.arange(N_IMAGES) % 5
    grids = {"published": SECTION["published_penalties"], "wide": [0.1, 1.0, 10.0]}
    found = solve_image_ridge(
        zscored.clone(), data.trial_images, data.latents.flatten(1), folds, grids, grid
    )
    assert set(found.penalties.tolist()) <= set(torch.tensor(grids[grid]).tolist())
    targets = data.latents.flatten(1)[data.trial_images].double().numpy()
    for penalty in found.penalties.unique():
        chosen = found.penalties == penalty
        expected = Ridge(float(penalty)).fit(zscored.double().numpy(), targets[:, chosen.numpy()])
        np.testing.assert_allclose(
            found.weights[chosen], np.atleast_2d(expected.coef_), atol=1e-4, rtol=1e-4
        )
        np.testing.assert_allclose(found.bias[chosen], expected.intercept_, atol=1e-4, rtol=1e-4)


def test_with_more_voxels_than_trials_nothing_is_divided_by_noise(rng):
    voxels, targets = (
        torch.from_numpy(rng.normal(size=(40, 90))).float(),
        torch.from_numpy(rng.normal(size=(40, 7))).float(),
    )
    found = solve_image_ridge(
        voxels.clone(), torch.arange(40), targets, torch.arange(40) % 4, {"a": [1e-6]}, "a"
    )
    expected = (
        np.linalg.pinv((voxels - voxels.mean(0)).double().numpy(), rcond=1e-5)
        @ (targets - targets.mean(0)).double().numpy()
    )
    np.testing.assert_allclose(found.weights.T, expected, atol=1e-4)


def test_penalties_are_the_best_on_averages_of_held_out_images(data):
    """One fold at a time by scikit-learn, with the same folds."""
    zscored = (data.betas - data.betas.mean(0)) / data.betas.std(0)
    folds, penalties = torch.arange(N_IMAGES) % 3, [1.0, 30.0, 1000.0]
    targets = data.latents.flatten(1)
    found = solve_image_ridge(
        zscored.clone(), data.trial_images, targets, folds, {"a": penalties}, "a"
    )
    averages = (
        torch.stack([zscored[data.trial_images == image].mean(0) for image in range(N_IMAGES)])
        .double()
        .numpy()
    )
    # Centred over all training trials, as the solver does, so that folds differ in their trials
    # alone.
    centred = (targets - targets[data.trial_images].mean(0)).double().numpy()
    errors = np.zeros((3, targets.shape[1]))
    for fold in range(3):
        kept, out = (folds != fold)[data.trial_images].numpy(), (folds == fold).numpy()
        for row, penalty in enumerate(penalties):
            model = Ridge(penalty, fit_intercept=False).fit(
                zscored.double().numpy()[kept], centred[data.trial_images][kept]
            )
            errors[row] += ((centred[out] - model.predict(averages[out])) ** 2).sum(0)
    assert (
        found.penalties.numpy() == np.array(penalties)[errors.argmin(0)]
    ).mean() > 0.97  # ties by rounding


def test_z_comes_from_early_voxels_and_c_from_ventral_ones(data, rng):
    encoder, facts = fitted(data)
    assert facts["z_voxels"] == N_EARLY
    assert facts["c_voxels"] == N_VENTRAL
    betas = data.betas[:4]
    for region, changes_z, changes_c in ((1, True, False), (2, False, True), (3, False, False)):
        other = betas.clone()
        other[:, data.roi_labels == region] += 5
        assert bool((encoder(other) != encoder(betas)).any()) == changes_z
        assert bool((encoder.condition(other) != encoder.condition(betas)).any()) == changes_c
    assert encoder(betas).shape == (4, *Z_SHAPE)
    assert encoder.condition(betas).shape == (4, 77, 768)
    # What never varies is its mean.
    assert torch.equal(encoder.condition(betas)[:, 0], torch.full((4, 768), 0.5))


def test_both_grids_are_scored_whichever_counts(data):
    (published, facts), (wide, other) = (fitted(data, grid=grid) for grid in ("published", "wide"))
    scores = [f"{half}_r2_{grid}" for half in "zc" for grid in ("published", "wide")]
    assert [facts[name] for name in scores] == [other[name] for name in scores]
    assert facts["z_median_penalty"] <= 1 < other["z_median_penalty"]
    assert not torch.equal(published.z_weights, wide.z_weights)


def test_scores_of_noise_are_not_above_zero(data):
    """Up to what choosing the best penalty on the same held-out images gives."""
    shuffled = replace(
        data,
        latents=data.latents[torch.randperm(N_IMAGES, generator=torch.Generator().manual_seed(1))],
    )
    _, facts = fitted(shuffled, published_penalties=[1.0])
    assert facts["z_r2_wide"] < 0.02
    assert facts["z_r2_published"] < 0
    assert fitted(data)[1]["z_r2_wide"] > 0.04


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"z_labels": ["early", "V9"]},
            r"train.takagi.z_labels: this subject's region has no voxel of 'V9'; choose from: "
            r"early, lateral, ventral",
        ),
        (
            {"c_labels": ["midventral"]},
            r"train.takagi.c_labels: this subject's region has no voxel of 'midventral'",
        ),
    ],
)
def test_what_the_subject_lacks_is_named(data, changes, message):
    with pytest.raises(ConfigError, match=message):
        fitted(data, **changes)


def test_auto_takes_the_nearest_regions_or_says_what_there_is(data):
    visual = replace(data, roi_names={1: "hV4", 2: "V1v", 3: "V1d"})
    with pytest.raises(
        ConfigError,
        match=r"auto stands for early or V1v, .*, and the region has V1d, V1v, hV4; name labels of "
        r"it, or set",
    ):
        fitted(visual)
    _, facts = fitted(visual, z_labels=["V1v", "V1d"])
    assert facts["z_voxels"] == N_VENTRAL + N_OTHER
    assert facts["c_voxels"] == N_EARLY


def test_both_ridges_come_back_from_their_folder(data, tmp_path):
    encoder, _ = fitted(data)
    save_encoder(encoder, "takagi", tmp_path, {})
    again, _ = load_encoder(tmp_path)
    torch.testing.assert_close(again(data.betas[:3]), encoder(data.betas[:3]), atol=0, rtol=0)
    torch.testing.assert_close(
        again.condition(data.betas[:3]), encoder.condition(data.betas[:3]), atol=0, rtol=0
    )
    assert (tmp_path / "model.safetensors").stat().st_size < 1.1 * 4 * (
        59_136 * (N_VENTRAL + 1) + 144 * (N_EARLY + 1)
    ) + 10_000

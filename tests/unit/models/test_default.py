from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from conftest import REPOSITORY
from fmri2img.models.base import TrainingTensors
from fmri2img.models.default import ForwardModel, _Pairs, fit_windows, make_windows, noise_factor, prior_covariance
from fmri2img.models.registry import check_settings, model_class

SECTIONS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]
SHAPE = (4, 6, 5)
D, N_VOXELS, N_IMAGES, N_TEST = 120, 160, 200, 60


@pytest.fixture
def world(rng):
    """Latents that are smooth in space; voxels that each see a spot of the grid; noise shared between voxels."""
    rows, columns = np.mgrid[:6, :5].reshape(2, -1)
    distance = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2
    smooth = np.linalg.cholesky(np.exp(-distance / 6) + 1e-6 * np.eye(30))
    latents = np.einsum("ij,ncj->nci", smooth, rng.normal(size=(N_IMAGES + N_TEST, 4, 30))).reshape(-1, D)
    centres = rng.integers(0, 30, N_VOXELS)
    weights = rng.normal(size=(N_VOXELS, 4, 30)) * np.exp(-distance[centres] / 2)[:, None]
    signal = latents @ weights.reshape(N_VOXELS, D).T
    shared = rng.normal(size=(N_VOXELS, 4))
    trials = np.repeat(np.arange(N_IMAGES), 2)
    noise = 6 * rng.normal(size=(len(trials), N_VOXELS)) + 6 * rng.normal(size=(len(trials), 4)) @ shared.T
    betas = signal[trials] + noise
    averages = np.stack([betas[trials == image].mean(axis=0) for image in range(N_IMAGES)])
    noise = 6 * rng.normal(size=(N_TEST, 2, N_VOXELS)) + 6 * rng.normal(size=(N_TEST, 2, 4)) @ shared.T
    test = signal[N_IMAGES:] + noise.mean(axis=1)  # of two repetitions, as in training
    tensors = [torch.from_numpy(values).float() for values in (betas, averages, latents[:N_IMAGES].reshape(-1, *SHAPE))]
    data = TrainingTensors(tensors[0], torch.from_numpy(trials), tensors[1], tensors[2])
    return data, torch.from_numpy(test).float(), torch.from_numpy(latents[N_IMAGES:]).float()


def solved(name, data, **changes):
    encoder = model_class(name)(data.betas.shape[1], tuple(data.latents.shape[1:]), check_settings(name, SECTIONS[name] | changes)).eval()
    encoder.normalizer.fit(data.betas)
    return encoder, encoder.solve(data)


def r2(encoder, betas, latents, mean):
    with torch.no_grad():
        predicted = encoder(betas).flatten(1)
    return float(1 - ((predicted - latents) ** 2).sum() / ((latents - mean) ** 2).sum())


def test_it_finds_more_than_ridge_where_voxels_see_a_spot(world):
    data, betas, latents = world
    mean = data.latents.flatten(1).mean(0)
    ours, facts = solved("default", data)
    ridge, _ = solved("ridge", data)
    assert r2(ours, betas, latents, mean) > r2(ridge, betas, latents, mean) + 0.03
    assert facts["windowed_share"] > 0.8


def test_its_posterior_is_that_of_gaussian_regression(world):
    """With known weights, prior and noise the map is the textbook's: S W (W^T S W + C)^-1."""
    data, _, _ = world
    encoder, facts = solved("default", data)
    counts = torch.bincount(data.trial_images).float()
    latents, voxels = data.latents.flatten(1), encoder.normalizer(data.image_betas)
    pairs = _Pairs(latents - latents.mean(0), voxels - counts @ voxels / counts.sum(), counts)
    settings = encoder.settings
    folds = torch.from_numpy(np.random.default_rng(settings.seed).permutation(N_IMAGES) % settings.n_folds)
    penalties = torch.tensor(settings.penalties) * latents.var(dim=0, correction=0).mean()
    forward = ForwardModel.fit(pairs, folds, list(make_windows(SHAPE, settings.window_sizes)), penalties)
    factor = noise_factor(forward.residual, counts, facts["noise_shrinkage"]).double()
    noise, weights = facts["noise_scale"] * factor @ factor.T, forward.weights.double()
    prior = prior_covariance(pairs.latents, facts["prior_shrinkage"], SHAPE)
    gain = prior @ weights @ torch.linalg.inv(weights.T @ prior @ weights + noise)  # (d, v)
    torch.testing.assert_close(encoder.linear.weight.double(), gain, atol=1e-4, rtol=1e-3)
    spread = (prior - gain @ weights.T @ prior).diagonal().sqrt()
    torch.testing.assert_close(encoder.posterior_sd.double(), spread, atol=1e-4, rtol=1e-3)


def test_the_stated_spread_is_that_of_the_errors(world):
    data, betas, latents = world
    encoder, _ = solved("default", data)
    with torch.no_grad():
        errors = encoder(betas).flatten(1) - latents
    assert float((errors**2).mean().sqrt() / (encoder.posterior_sd**2).mean().sqrt()) == pytest.approx(1, abs=0.15)


def test_without_signal_it_predicts_the_mean(world, rng):
    data, betas, _ = world
    noise = torch.from_numpy(rng.normal(size=data.betas.shape)).float()
    averages = torch.stack([noise[data.trial_images == image].mean(0) for image in range(N_IMAGES)])
    encoder, facts = solved("default", replace(data, betas=noise, image_betas=averages))
    latents = data.latents.flatten(1)
    with torch.no_grad():
        spread = encoder(torch.from_numpy(rng.normal(size=betas.shape)).float()).flatten(1).std(0).mean()
    assert spread < 0.1 * latents.std(0).mean()
    assert facts["cross_validated_mse"] == pytest.approx(float(latents.var(dim=0, correction=0).mean()), rel=0.05)


def test_ridge_within_a_window_is_ridge_on_weighted_latents(world):
    data, _, _ = world
    latents = data.latents.flatten(1) - data.latents.flatten(1).mean(0)
    pairs = _Pairs(latents, data.image_betas, torch.bincount(data.trial_images).float())
    windows = list(make_windows(SHAPE, [1.0]))
    chosen = (torch.full((N_VOXELS,), 3), torch.zeros(N_VOXELS, dtype=torch.long))
    found = fit_windows(pairs, windows, torch.tensor([7.0]), chosen)
    scale = torch.where(windows[3] > 0.03, windows[3], 0.0)
    x, w = latents * scale, pairs.counts[:, None]
    expected = scale[:, None] * torch.linalg.solve(x.T @ (w * x) + 7 * torch.eye(D), x.T @ (w * data.image_betas))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_windows_cover_the_grid():
    windows = torch.stack(list(make_windows(SHAPE, [1.0, 2.0])))
    assert windows.shape == (1 + 9 + 9, D)
    assert (windows[0] == 1).all()
    assert (windows[1:].amax(0) > 0.3).all()


def test_the_prior_shrinks_towards_channels_apart_from_places(rng):
    between = np.cov(rng.normal(size=(4, 9)))
    within = np.cov(rng.normal(size=(30, 99)))
    factors = np.linalg.cholesky(between), np.linalg.cholesky(within + 1e-9 * np.eye(30))
    latents = np.einsum("ab,nbj,ij->nai", factors[0], rng.normal(size=(40_000, 4, 30)), factors[1]).reshape(-1, D)
    found = prior_covariance(torch.from_numpy(latents), 1.0, SHAPE).numpy()
    expected = np.kron(between, within)
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)
    sample = prior_covariance(torch.from_numpy(latents), 1e-9, SHAPE).numpy()
    np.testing.assert_allclose(sample, latents.T @ latents / len(latents), atol=1e-4)


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param((slice(None), slice(0, 1)), id="one voxel"),
        pytest.param((slice(0, 4), slice(None)), id="a few images"),
    ],
)
def test_little_data_is_no_crash(world, kept):
    data, betas, _ = world
    images, voxels = kept
    rows = data.trial_images < (images.stop or N_IMAGES)
    small = TrainingTensors(data.betas[rows][:, voxels], data.trial_images[rows], data.image_betas[images, voxels], data.latents[images])
    encoder, _ = solved("default", small)
    with torch.no_grad():
        assert torch.isfinite(encoder(betas[:, voxels])).all()


def test_voxels_without_variance_or_data_say_nothing(world):
    data, betas, _ = world
    broken = replace(data, betas=data.betas.clone(), image_betas=data.image_betas.clone())
    for values in (broken.betas, broken.image_betas):
        values[:, 3], values[:, 4] = 5.0, torch.nan
    encoder, _ = solved("default", broken)
    assert float(encoder.linear.weight.detach()[:, 3:5].abs().max()) == 0
    with torch.no_grad():
        assert torch.isfinite(encoder(betas)).all()

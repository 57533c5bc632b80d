from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from conftest import REPOSITORY
from fmri2img.models._forward import (
    Candidates,
    ForwardModel,
    Pairs,
    candidate_errors,
    fit_candidates,
    make_windows,
)
from fmri2img.models._inversion import noise_factor, relative_noise, root_of, shrink_covariance
from fmri2img.models.base import TrainingTensors
from fmri2img.models.bayes import misfit_share
from fmri2img.models.registry import check_settings, model_class
from fmri2img.project.exceptions import MismatchError

SECTIONS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]
SHAPE, ENERGY_SHAPE = (4, 6, 5), (2, 3, 3)
GRIDS = [SHAPE, ENERGY_SHAPE]
D, N_ENERGIES, N_VOXELS, N_IMAGES, N_TEST = 120, 18, 160, 200, 60


@pytest.fixture
def world(rng):
    """Latents that are smooth in space; voxels that each see a spot of the grid, and some
    contrast; noise shared between voxels.
    """
    rows, columns = np.mgrid[:6, :5].reshape(2, -1)
    distance = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2
    smooth = np.linalg.cholesky(np.exp(-distance / 6) + 1e-6 * np.eye(30))
    latents = np.einsum("ij,ncj->nci", smooth, rng.normal(size=(N_IMAGES + N_TEST, 4, 30))).reshape(
        -1, D
    )
    centres = rng.integers(0, 30, N_VOXELS)
    weights = rng.normal(size=(N_VOXELS, 4, 30)) * np.exp(-distance[centres] / 2)[:, None]
    energies = rng.normal(size=(N_IMAGES + N_TEST, N_ENERGIES))
    # The cell of the 3 x 3 grid that a voxel sees.
    near = 3 * (rows[centres] // 2) + columns[centres] * 3 // 5
    contrast = rng.normal(size=(N_VOXELS, 2, 1)) * (np.arange(9) == near[:, None])[:, None]
    signal = (
        latents @ weights.reshape(N_VOXELS, D).T
        + 4 * energies @ contrast.reshape(N_VOXELS, N_ENERGIES).T
    )
    shared = rng.normal(size=(N_VOXELS, 4))
    trials = np.repeat(np.arange(N_IMAGES), 2)
    noise = (
        6 * rng.normal(size=(len(trials), N_VOXELS))
        + 6 * rng.normal(size=(len(trials), 4)) @ shared.T
    )
    betas = signal[trials] + noise
    averages = np.stack([betas[trials == image].mean(axis=0) for image in range(N_IMAGES)])
    noise = (
        6 * rng.normal(size=(N_TEST, 2, N_VOXELS)) + 6 * rng.normal(size=(N_TEST, 2, 4)) @ shared.T
    )
    test = signal[N_IMAGES:] + noise.mean(axis=1)  # of two repetitions, as in training
    tensors = [
        torch.from_numpy(values).float()
        for values in (betas, averages, latents[:N_IMAGES].reshape(-1, *SHAPE))
    ]
    contrasts = torch.from_numpy(energies[:N_IMAGES].reshape(-1, *ENERGY_SHAPE)).float()
    nothing = torch.zeros(0, *SHAPE), torch.zeros(0, *ENERGY_SHAPE)
    regions = torch.ones(N_VOXELS, dtype=torch.long)
    data = TrainingTensors(
        tensors[0],
        torch.from_numpy(trials),
        tensors[1],
        tensors[2],
        regions,
        contrasts,
        *nothing,
        n_repetitions=3,
    )
    return data, torch.from_numpy(test).float(), torch.from_numpy(latents[N_IMAGES:]).float()


def solved(name, data, **changes):
    encoder = model_class(name)(
        data.betas.shape[1],
        tuple(data.latents.shape[1:]),
        check_settings(name, SECTIONS[name] | changes),
    ).eval()
    encoder.normalizer.fit(data.betas)
    return encoder, encoder.solve(data)


TWICE = torch.full((N_TEST,), 2)


def r2(encoder, betas, latents, mean):
    with torch.no_grad():
        predicted = encoder(betas, TWICE).flatten(1)
    return float(1 - ((predicted - latents) ** 2).sum() / ((latents - mean) ** 2).sum())


def test_it_finds_more_than_ridge_where_voxels_see_a_spot(world):
    data, betas, latents = world
    mean = data.latents.flatten(1).mean(0)
    ours, facts = solved("bayes", data)
    ridge, _ = solved("ridge", data)
    assert r2(ours, betas, latents, mean) > r2(ridge, betas, latents, mean) + 0.03
    assert facts["windowed_share"] > 0.8


def test_contrasts_explain_what_would_be_noise(world):
    data, betas, latents = world
    mean = data.latents.flatten(1).mean(0)
    with_them, without = (solved("bayes", data, energies=energies)[0] for energies in (True, False))
    assert r2(with_them, betas, latents, mean) > r2(without, betas, latents, mean) + 0.01


def test_pictures_of_others_help_where_there_are_few(world):
    data, betas, latents = world
    few = {name: getattr(data, name)[:40] for name in ("image_betas", "latents", "energies")}
    few = replace(data, betas=data.betas[:80], trial_images=data.trial_images[:80], **few)
    richer = replace(few, prior_latents=data.latents[40:], prior_energies=data.energies[40:])
    mean = latents.mean(0)
    with_them, without = (solved("bayes", part)[0] for part in (richer, few))
    assert r2(with_them, betas, latents, mean) > r2(without, betas, latents, mean) + 0.01
    ignored, _ = solved("bayes", richer, prior_pictures=False)
    assert torch.equal(ignored.gains, without.gains)


@pytest.mark.parametrize("repetitions", [1, 3])
@pytest.mark.parametrize("n_voxels", [N_VOXELS, 30], ids=["more voxels than features", "fewer"])
def test_its_posterior_is_that_of_gaussian_regression(n_voxels, repetitions, world):
    """With known weights, prior and noise the map is the textbook's: S W (W^T S W + C)^-1."""
    data, _, _ = world
    data = replace(data, betas=data.betas[:, :n_voxels], image_betas=data.image_betas[:, :n_voxels])
    encoder, facts = solved("bayes", data)
    counts, settings = data.repetitions.float(), encoder.settings
    latents, voxels = data.latents.flatten(1), encoder.normalizer(data.image_betas)
    energies = data.energies - data.energies.mean(0)
    scale = (latents - latents.mean(0)).square().mean().sqrt() / energies.square().mean(
        (0, 2, 3), keepdim=True
    ).sqrt()
    described = torch.cat([latents - latents.mean(0), (energies * scale).flatten(1)], 1)
    pairs = Pairs(described, voxels - counts @ voxels / counts.sum(), counts)
    folds = torch.from_numpy(
        np.random.default_rng(settings.seed).permutation(N_IMAGES) % settings.n_folds
    )
    penalties = torch.tensor(settings.penalties) * latents.var(dim=0, correction=0).mean()
    forward = ForwardModel.fit(
        pairs, folds, list(make_windows(GRIDS, settings.window_sizes)), penalties
    )
    factor = noise_factor(forward.residual, counts, facts["noise_shrinkage"]).double()
    size = facts["noise_scale"] * relative_noise(repetitions, counts, facts["misfit_share"])
    noise, weights = size * factor @ factor.T, forward.weights.double()
    prior = shrink_covariance(
        (described.T @ described).double() / N_IMAGES, facts["prior_shrinkage"], GRIDS
    )
    gain = prior @ weights @ torch.linalg.inv(weights.T @ prior @ weights + noise)  # (d, v)
    torch.testing.assert_close(
        encoder.gains[repetitions - 1].double(), gain[:D].T, atol=1e-4, rtol=1e-3
    )
    spread = (prior - gain @ weights.T @ prior).diagonal()[:D].sqrt()
    torch.testing.assert_close(
        encoder.spread(1, torch.tensor([repetitions])).flatten().double(),
        spread,
        atol=1e-4,
        rtol=1e-3,
    )


def test_what_repeats_with_the_image_is_told_from_noise(rng):
    """Of unit trial noise and a misfit of variance 0.5, which no feature explains, a third of a
    single trial's variance repeats.
    """
    n_images, n_voxels = 400, 60
    misfit = rng.normal(size=(n_images, n_voxels)) * np.sqrt(0.5)
    trials = np.repeat(np.arange(n_images), 2)
    betas = misfit[trials] + rng.normal(size=(len(trials), n_voxels))
    tensors = [
        torch.from_numpy(values).float()
        for values in (betas, betas.reshape(n_images, 2, n_voxels).mean(1))
    ]
    none = torch.zeros(0, 0, 1, 1)
    latents = torch.zeros(n_images, *SHAPE)
    data = TrainingTensors(
        tensors[0],
        torch.from_numpy(trials),
        tensors[1],
        latents,
        torch.ones(n_voxels),
        none,
        none,
        none,
    )
    pairs = Pairs(
        torch.from_numpy(rng.normal(size=(n_images, 3))).float(),
        tensors[1],
        data.repetitions.float(),
    )
    folds, windows = torch.arange(n_images) % 3, [torch.ones(3)]
    share = misfit_share(torch.nn.Identity(), data, pairs, folds, windows, torch.tensor([10.0]))
    assert share == pytest.approx(1 / 3, abs=0.03)
    assert relative_noise(3, data.repetitions.float(), 0.0) == pytest.approx(1 / 3)
    # A reference of two trials' worth.
    assert relative_noise(3, data.repetitions.float(), 1.0) == pytest.approx(1 / 2)


def test_fewer_repetitions_are_trusted_less(world):
    data, betas, _ = world
    encoder, _ = solved("bayes", data)
    sizes = [encoder.gains[number].norm() for number in range(3)]
    assert sizes[0] < sizes[1] < sizes[2]
    spreads = [encoder.spread(1, torch.tensor([number])).mean() for number in (1, 2, 3)]
    assert spreads[0] > spreads[1] > spreads[2]
    with torch.no_grad():
        torch.testing.assert_close(encoder(betas), encoder(betas, torch.full((N_TEST,), 3)))
        mixed = encoder(betas[:3], torch.tensor([1, 3, 7]))
        torch.testing.assert_close(mixed[0], encoder(betas[:1], torch.tensor([1]))[0])
        torch.testing.assert_close(mixed[2], encoder(betas[2:3])[0])


def test_the_stated_spread_is_that_of_the_errors(world):
    data, betas, latents = world
    encoder, _ = solved("bayes", data)
    with torch.no_grad():
        errors = encoder(betas, TWICE).flatten(1) - latents
    assert float(
        (errors**2).mean().sqrt() / (encoder.posterior_sd[1] ** 2).mean().sqrt()
    ) == pytest.approx(1, abs=0.15)


def test_without_signal_it_predicts_the_mean(world, rng):
    data, betas, _ = world
    noise = torch.from_numpy(rng.normal(size=data.betas.shape)).float()
    averages = torch.stack([noise[data.trial_images == image].mean(0) for image in range(N_IMAGES)])
    encoder, facts = solved("bayes", replace(data, betas=noise, image_betas=averages))
    latents = data.latents.flatten(1)
    with torch.no_grad():
        spread = (
            encoder(torch.from_numpy(rng.normal(size=betas.shape)).float(), TWICE)
            .flatten(1)
            .std(0)
            .mean()
        )
    assert spread < 0.15 * latents.std(0).mean()
    assert facts["cross_validated_mse"] == pytest.approx(
        float(latents.var(dim=0, correction=0).mean()), rel=0.05
    )


@pytest.mark.parametrize("n_images", [N_IMAGES, 20], ids=["more images than features", "fewer"])
def test_a_candidate_is_ridge_on_weighted_features(n_images, world):
    data, _, _ = world
    latents = data.latents.flatten(1)[:n_images] - data.latents.flatten(1)[:n_images].mean(0)
    counts = 1 + torch.arange(n_images).float() % 3
    pairs = Pairs(latents, data.image_betas[:n_images], counts)
    windows = list(make_windows([SHAPE], [1.0]))
    first, second = torch.full((1, N_VOXELS), 3), torch.full((1, N_VOXELS), 0)
    candidates = Candidates(
        torch.cat([first, second]),
        torch.tensor([[0], [1]]).expand(2, N_VOXELS),
        torch.tensor([[0.7], [0.3]]).expand(2, N_VOXELS),
    )
    found = fit_candidates(pairs, windows, torch.tensor([7.0, 70.0]), candidates)
    expected = torch.zeros_like(found)
    for share, window, penalty in ((0.7, windows[3], 7.0), (0.3, windows[0], 70.0)):
        scale = torch.where(window > 0.03, window, 0.0)
        x, w = latents * scale, counts[:, None]
        expected += (
            share
            * scale[:, None]
            * torch.linalg.solve(x.T @ (w * x) + penalty * torch.eye(D), x.T @ (w * pairs.voxels))
        )
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_candidates_are_weighed_by_their_likelihood(world):
    data, _, _ = world
    pairs = Pairs(data.latents.flatten(1), data.image_betas, data.repetitions.float())
    windows, penalties = list(make_windows([SHAPE], [1.0, 2.0])), torch.tensor([10.0, 100.0])
    errors, n_trials = candidate_errors(pairs, torch.arange(N_IMAGES) % 3, windows, penalties)
    assert n_trials == 400
    candidates = Candidates.of(errors, 400.0)
    flat = errors.flatten(0, 1)
    best = flat.argmin(0)
    assert torch.equal(candidates.windows[0] * 2 + candidates.penalties[0], best)
    torch.testing.assert_close(candidates.shares.sum(0), torch.ones(N_VOXELS))
    ratio = candidates.shares[1, 5] / candidates.shares[0, 5]
    second = flat[candidates.windows[1, 5] * 2 + candidates.penalties[1, 5], 5]
    assert ratio.item() == pytest.approx(
        float(torch.exp(-400 * (second - flat[best[5], 5]) / (2 * flat[best[5], 5]))), rel=1e-2
    )


def test_windows_cover_both_grids_at_the_same_place():
    windows = torch.stack(list(make_windows(GRIDS, [1.0, 2.0])))
    assert windows.shape == (1 + 9 + 9, D + N_ENERGIES)
    assert (windows[0] == 1).all()
    assert (windows[1:].amax(0) > 0.3).all()
    # The first of size 2.
    latent, energy = (
        windows[10, :30].reshape(6, 5),
        windows[10, D : D + 9].reshape(3, 3),
    )
    middle = [
        float((part.sum(1) / part.sum() * (torch.arange(len(part)) + 0.5)).sum() / len(part))
        for part in (latent, energy)
    ]
    assert middle[0] == pytest.approx(middle[1], abs=0.03)


def test_the_prior_shrinks_towards_channels_apart_from_places(rng):
    between = np.cov(rng.normal(size=(4, 9)))
    within = np.cov(rng.normal(size=(30, 99)))
    factors = np.linalg.cholesky(between), np.linalg.cholesky(within + 1e-9 * np.eye(30))
    latents = np.einsum(
        "ab,nbj,ij->nai", factors[0], rng.normal(size=(40_000, 4, 30)), factors[1]
    ).reshape(-1, D)
    sample = torch.from_numpy(latents.T @ latents / len(latents))
    found = shrink_covariance(sample, 1.0, [SHAPE]).numpy()
    expected = np.kron(between, within)
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)
    np.testing.assert_allclose(
        shrink_covariance(sample, 1e-9, [SHAPE]).numpy(), sample.numpy(), atol=1e-3
    )


def test_voxels_without_variance_or_data_say_nothing(world):
    data, betas, _ = world
    broken = replace(data, betas=data.betas.clone(), image_betas=data.image_betas.clone())
    for values in (broken.betas, broken.image_betas):
        values[:, 3], values[:, 4] = 5.0, torch.nan
    encoder, _ = solved("bayes", broken)
    assert float(encoder.gains[:, 3:5].abs().max()) == 0
    with torch.no_grad():
        assert torch.isfinite(encoder(betas)).all()


def test_a_singular_covariance_gets_a_little_variance_and_others_nothing(rng):
    factors = torch.from_numpy(rng.normal(size=(6, 3)))
    singular, whole = factors @ factors.T, factors @ factors.T + torch.eye(6)
    root = root_of(singular)
    added = root @ root.T - singular
    expected = 1e-4 * singular.diagonal().mean() * torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(added, expected, atol=1e-9, rtol=0)
    assert torch.equal(root_of(whole), torch.linalg.cholesky(whole))


def test_pictures_without_any_variance_are_one_line():
    with pytest.raises(
        MismatchError, match=r"train.bayes: the covariance of the training pictures cannot be"
    ) as e:
        root_of(torch.zeros(4, 4))
    assert "\n" not in str(e.value)

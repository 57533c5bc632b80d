from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from conftest import REPOSITORY
from fmri2img.models._forward import Pairs
from fmri2img.models._inversion import shrink_covariance, views_of
from fmri2img.models._noise import (
    SolvedNoise,
    misfit_share,
    noise_factor,
    noise_of,
    relative_noise,
    root_of,
    variance_within_images,
)
from fmri2img.models._posterior import World
from fmri2img.models.base import TrainingTensors
from fmri2img.models.registry import check_settings, model_class
from fmri2img.project.exceptions import MismatchError
from voxel_world import GRIDS, N_IMAGES, N_TEST, N_VOXELS, SHAPE, D, make_world

SECTIONS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]


@pytest.fixture
def world(rng):
    return make_world(rng)


def solved(name, data, **changes):
    encoder = model_class(name)(
        data.betas.shape[1],
        tuple(data.latents.shape[1:]),
        check_settings(name, SECTIONS[name] | changes),
    ).eval()
    encoder.normalizer.fit(data.betas)
    return encoder, encoder.solve(data)


EVERY = pytest.mark.parametrize("name", ["bayes", "bayes_independent"])
TWICE = torch.full((N_TEST,), 2)


def r2(encoder, betas, latents, mean):
    with torch.no_grad():
        predicted = encoder(betas, TWICE).flatten(1)
    return float(1 - ((predicted - latents) ** 2).sum() / ((latents - mean) ** 2).sum())


@EVERY
def test_it_finds_more_than_ridge_where_voxels_see_a_spot(name, world):
    data, betas, latents = world
    mean = data.latents.flatten(1).mean(0)
    ours, facts = solved(name, data)
    ridge, _ = solved("ridge", data)
    assert r2(ours, betas, latents, mean) > r2(ridge, betas, latents, mean) + 0.03
    assert facts["windowed_share"] > 0.8


@EVERY
def test_contrasts_explain_what_would_be_noise(name, world):
    data, betas, latents = world
    mean = data.latents.flatten(1).mean(0)
    with_them, without = (solved(name, data, energies=energies)[0] for energies in (True, False))
    assert r2(with_them, betas, latents, mean) > r2(without, betas, latents, mean) + 0.01


@EVERY
def test_pictures_of_others_help_where_there_are_few(name, world):
    data, betas, latents = world
    few = {name: getattr(data, name)[:40] for name in ("latents", "energies")}
    few = replace(data, betas=data.betas[:80], trial_images=data.trial_images[:80], **few)
    richer = replace(few, prior_latents=data.latents[40:], prior_energies=data.energies[40:])
    mean = latents.mean(0)
    with_them, without = (solved(name, part)[0] for part in (richer, few))
    assert r2(with_them, betas, latents, mean) > r2(without, betas, latents, mean) + 0.01
    ignored, _ = solved(name, richer, prior_pictures=False)
    assert torch.equal(ignored.gains, without.gains)


@EVERY
@pytest.mark.parametrize("repetitions", [1, 3])
@pytest.mark.parametrize("n_voxels", [N_VOXELS, 30], ids=["more voxels than features", "fewer"])
def test_its_posterior_is_that_of_gaussian_regression(name, n_voxels, repetitions, world):
    """With known weights, prior and noise the map is the textbook's: S W (W^T S W + C)^-1."""
    data, _, _ = world
    regions = data.roi_labels[:n_voxels]
    data = replace(data, betas=data.betas[:, :n_voxels], roi_labels=regions)
    encoder, facts = solved(name, data)
    counts, settings = data.repetitions.float(), encoder.settings
    described = World.of(data, settings)
    voxels = encoder.normalizer(data.image_betas)
    pairs = Pairs(described.descriptions, voxels - counts @ voxels / counts.sum(), counts)
    folds = torch.from_numpy(
        np.random.default_rng(settings.seed).permutation(N_IMAGES) % settings.n_folds
    )
    (models,) = [
        candidate
        for candidate in encoder.encoding_models(pairs, folds, described, data)
        if candidate.facts().items() <= facts.items()
    ]
    forward = models.fitted_on(frozenset(folds.tolist()))
    factor = noise_factor(forward.residual, counts, facts["noise_shrinkage"]).double()
    size = facts["noise_scale"] * relative_noise(repetitions, counts, facts["misfit_share"])
    noise, weights = size * factor @ factor.T, forward.weights.double()
    prior = shrink_covariance(
        (pairs.features.T @ pairs.features).double() / N_IMAGES, facts["prior_shrinkage"], GRIDS
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
    # Draws have that covariance: made white by it, they are independent and of variance 1.
    draws = encoder.deviations(1, 32, torch.tensor([repetitions]))[0].flatten(1).double()
    covariance = (prior - gain @ weights.T @ prior)[:D, :D]
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), draws.T, upper=False)
    assert white.square().mean() == pytest.approx(1, abs=0.06)
    assert white.mean() == pytest.approx(0, abs=0.06)
    apart = torch.corrcoef(white)[tuple(torch.triu_indices(D, D, 1))]
    assert apart.square().mean() == pytest.approx(1 / 31, abs=0.004)


def test_neighbouring_images_have_other_draws_and_few_repetitions_wider_ones(world):
    data, _, _ = world
    encoder, _ = solved("bayes", data)
    twice = encoder.deviations(2, 4, torch.tensor([3, 3]))
    assert twice.shape == (2, 4, *SHAPE)
    assert not torch.equal(twice[0], twice[1])
    once = encoder.deviations(2, 4, torch.tensor([1, 1]))
    assert once.std() > twice.std()
    assert torch.corrcoef(torch.stack([once.flatten(), twice.flatten()]))[0, 1] > 0.8


def test_an_encoder_of_version_0_3_has_no_draws(world):
    data, betas, _ = world
    encoder, _ = solved("bayes", data)
    older = {name: value for name, value in encoder.state_dict().items() if name != "draws"}
    again = model_class("bayes")(N_VOXELS, SHAPE, encoder.settings)
    assert again.deviations(1, 2) is None  # nor has one that was not trained
    again.load_state_dict(older)
    assert again.deviations(1, 2) is None
    with torch.no_grad():
        assert torch.equal(again(betas), encoder(betas))
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.deviations(1, 2), encoder.deviations(1, 2))


@EVERY
@pytest.mark.parametrize("n_pictures", [2, 4])
def test_few_different_pictures_leave_a_posterior_to_draw_from(name, n_pictures, world):
    """Rounding then leaves variances below 0."""
    data, _, _ = world
    same = torch.arange(N_IMAGES) % n_pictures
    few = {field: getattr(data, field)[same] for field in ("latents", "energies")}
    encoder, _ = solved(name, replace(data, **few))
    assert torch.isfinite(encoder.deviations(1, 4)).all()


@EVERY
def test_the_share_of_pooling_is_that_of_the_smallest_error(name, world):
    data, _, _ = world
    if name == "bayes_independent":
        assert "pooled_share" not in solved(name, data)[1]
        return
    _, chosen = solved(name, data)
    errors = {
        share: solved(name, data, pooled_shares=[share])[1]["cross_validated_mse"]
        for share in SECTIONS[name]["pooled_shares"]
    }
    assert errors[chosen["pooled_share"]] == pytest.approx(min(errors.values()), rel=2e-3)
    assert max(errors.values()) > 1.01 * min(errors.values())


def test_what_repeats_with_the_image_is_told_from_noise(rng):
    """Of unit trial noise and a misfit of variance 0.5, which no feature explains, a third of a
    single trial's variance repeats.
    """
    n_images, n_voxels = 400, 60
    misfit = rng.normal(size=(n_images, n_voxels)) * np.sqrt(0.5)
    trials = np.repeat(np.arange(n_images), 2)
    betas = misfit[trials] + rng.normal(size=(len(trials), n_voxels))
    none = torch.zeros(0, 0, 1, 1)
    latents = torch.zeros(n_images, *SHAPE)
    data = TrainingTensors(
        torch.from_numpy(betas).float(),
        torch.from_numpy(trials),
        latents,
        torch.ones(n_voxels),
        none,
        none,
        none,
    )
    averages = data.image_betas
    within = variance_within_images(torch.nn.Identity(), data.betas, data.trial_images, averages)
    share = misfit_share(averages, data.repetitions.float(), *within)
    assert share == pytest.approx(1 / 3, abs=0.03)
    assert relative_noise(3, data.repetitions.float(), 0.0) == pytest.approx(1 / 3)
    # A reference of two trials' worth.
    assert relative_noise(3, data.repetitions.float(), 1.0) == pytest.approx(1 / 2)


@EVERY
def test_fewer_repetitions_are_trusted_less(name, world):
    data, betas, _ = world
    encoder, _ = solved(name, data)
    sizes = [encoder.gains[number].norm() for number in range(3)]
    assert sizes[0] < sizes[1] < sizes[2]
    spreads = [encoder.spread(1, torch.tensor([number])).mean() for number in (1, 2, 3)]
    assert spreads[0] > spreads[1] > spreads[2]
    with torch.no_grad():
        torch.testing.assert_close(encoder(betas), encoder(betas, torch.full((N_TEST,), 3)))
        mixed = encoder(betas[:3], torch.tensor([1, 3, 7]))
        torch.testing.assert_close(mixed[0], encoder(betas[:1], torch.tensor([1]))[0])
        torch.testing.assert_close(mixed[2], encoder(betas[2:3])[0])


@EVERY
def test_the_stated_spread_is_that_of_the_errors(name, world):
    data, betas, latents = world
    encoder, _ = solved(name, data)
    with torch.no_grad():
        errors = encoder(betas, TWICE).flatten(1) - latents
    assert float(
        (errors**2).mean().sqrt() / (encoder.posterior_sd[1] ** 2).mean().sqrt()
    ) == pytest.approx(1, abs=0.15)


@EVERY
def test_without_signal_it_predicts_the_mean(name, world, rng):
    data, betas, _ = world
    noise = torch.from_numpy(rng.normal(size=data.betas.shape)).float()
    encoder, facts = solved(name, replace(data, betas=noise))
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


@EVERY
def test_voxels_without_variance_or_data_say_nothing(name, world):
    data, betas, _ = world
    broken = replace(data, betas=data.betas.clone())
    broken.betas[:, 3], broken.betas[:, 4] = 5.0, torch.nan
    encoder, _ = solved(name, broken)
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
        MismatchError, match=r"train: the covariance of the training pictures cannot be"
    ) as e:
        root_of(torch.zeros(4, 4))
    assert "\n" not in str(e.value)


@pytest.fixture
def few(rng):
    """Residuals of 12 images and 70 voxels, one of which never varies, their counts, weights, and
    a prior's view.
    """
    tensor = torch.from_numpy
    residual = tensor(rng.normal(size=(12, 70))).float()
    residual[:, 5] = 0
    counts = tensor(rng.integers(1, 4, 12)).float()
    weights = tensor(rng.normal(size=(18, 70))).float()
    weights[:, 5] = 0
    pictures = tensor(rng.normal(size=(40, 18)))
    view = views_of(pictures.T @ pictures / 40, [(2, 3, 3)], weights, 18, [0.2])[0.2]
    return residual, counts, weights, view


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 0.75, 1.0])
def test_noise_of_few_images_needs_no_root_of_all_voxels(shrinkage, few, monkeypatch):
    """The posterior is that of the explicit covariance."""
    monkeypatch.setattr("fmri2img.models._noise._ROWS_AT_ONCE", 5)
    residual, counts, weights, view = few
    covariance = (residual * counts[:, None]).T @ residual / len(residual)
    variances = covariance.diagonal()
    floored = torch.diag(variances + 1e-3 * variances.mean())
    added = shrinkage + (1 - shrinkage) * 1e-3
    root = torch.linalg.cholesky((1 - shrinkage) * covariance + added * floored)
    noise = noise_of(residual.clone(), counts, weights).shrunk(shrinkage)
    assert isinstance(noise, SolvedNoise)
    ours, theirs = view.against(noise).gain(0.7), view.against(root).gain(0.7)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3 if shrinkage == 0 else 1e-4, rtol=1e-3)


@pytest.mark.parametrize("shrinkage", [0.1, 0.75, 1.0])
def test_noise_of_few_and_of_many_images_are_one_thing(shrinkage, few):
    """Folds may be of the one kind, and all images of the other."""
    residual, counts, weights, view = few
    root = noise_factor(residual, counts, shrinkage)
    noise = noise_of(residual.clone(), counts, weights).shrunk(shrinkage)
    ours, theirs = view.against(noise).gain(0.7)[0], view.against(root).gain(0.7)[0]
    assert (ours - theirs).norm() < 0.01 * theirs.norm()


@pytest.mark.parametrize(
    ("n_images", "n_numbers"), [(12, 71), (70, 18)], ids=["few voxels", "as many images"]
)
def test_a_root_is_taken_where_it_is_cheaper(n_images, n_numbers, rng):
    """With fewer voxels than a description has numbers, or no more than images."""
    residual = torch.from_numpy(rng.normal(size=(n_images, 70))).float()
    noise = noise_of(residual, torch.ones(n_images), torch.ones(n_numbers, 70))
    torch.testing.assert_close(
        noise.shrunk(0.5), noise_factor(residual, torch.ones(n_images), 0.5), rtol=0, atol=0
    )

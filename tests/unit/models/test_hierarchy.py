import numpy as np
import pytest
import torch

from fmri2img.models._forward import Pairs
from fmri2img.models._hierarchy import Pooling, Posterior, Sums
from fmri2img.models._places import Places
from fmri2img.models._pooled_models import HierarchicalModels
from fmri2img.models._windows import Windows
from fmri2img.models.base import VoxelPrior
from voxel_world import GRIDS, N_ENERGIES, D, make_world

POOLING = Pooling(shared_voxels=30, isotropic_voxels=100, n_rounds=4)
N_CHANNELS = 6


@pytest.fixture
def pairs(rng):
    data, _, _ = make_world(rng)
    described = torch.cat([data.latents.flatten(1), data.energies.flatten(1)], 1)
    voxels = data.image_betas / data.image_betas.std(0)
    return Pairs(described, voxels, data.repetitions.float())


@pytest.fixture
def windows(pairs):
    return Windows.of(GRIDS, [1.0], pairs.features)


def test_what_a_window_of_any_size_sees_varies_alike(pairs, windows):
    assert windows.n_channels == N_CHANNELS
    assert windows.n_sizes == 2
    pooled = windows.pool(pairs.features)
    assert pooled.shape == (len(pairs.features), N_CHANNELS, 1 + 9)
    for size in range(2):
        power = pooled[:, :, windows.sizes == size].square().mean()
        assert float(power) == pytest.approx(1, rel=1e-4)


def test_pooled_weights_are_weights_of_the_numbers_of_a_description(pairs, windows, rng):
    weights = torch.from_numpy(rng.normal(size=(10, N_CHANNELS, 3))).float()
    pooled = torch.einsum("nkw,wkv->nv", windows.pool(pairs.features), weights)
    unpooled = windows.unpool(weights)
    assert unpooled.shape == (D + N_ENERGIES, 3)
    torch.testing.assert_close(pairs.features @ unpooled, pooled, atol=1e-3, rtol=1e-4)


def test_sums_of_folds_add_up(pairs, windows):
    both = Sums.of(pairs, windows)
    parts = [Sums.of(pairs.of(slice(start, None, 2)), windows) for start in (0, 1)]
    added = parts[0] + parts[1]
    assert added.n == both.n
    for name in ("gram", "cross", "power"):
        torch.testing.assert_close(getattr(added, name), getattr(both, name), atol=1e-2, rtol=1e-4)


def test_the_posterior_is_the_textbooks_averaged_over_windows_and_noise(pairs, windows, rng):
    """Each window and noise by itself: Bayesian linear regression with explicit matrices."""
    mean = torch.from_numpy(rng.normal(size=N_CHANNELS) / 5).float()
    root = torch.from_numpy(rng.normal(size=(N_CHANNELS, N_CHANNELS)) / 10).double()
    covariance = root @ root.T + 0.01 * torch.eye(N_CHANNELS)
    prior = VoxelPrior(mean, covariance.float(), torch.tensor([0.3, 0.7]))
    some = pairs.of(torch.arange(40))
    sums = Sums.of(some, windows)
    posterior = Posterior.of(sums.of_voxels(torch.tensor([2])), prior, windows)
    y = (some.voxels[:, 2] * some.counts.sqrt()).double()
    features = windows.pool(some.features * some.counts.sqrt()[:, None]).double()
    logs, means = [], []
    for explained in (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85):
        noise = float(y @ y) / len(y) * (1 - explained)
        for number in range(10):
            x = features[:, :, number]
            whole = x @ covariance @ x.T + noise * torch.eye(len(y))
            left = y - x @ mean.double()
            evidence = -0.5 * (torch.logdet(whole) + left @ torch.linalg.solve(whole, left))
            chance = 0.3 if number == 0 else 0.7 / 9
            logs.append(evidence + np.log(chance))
            means.append(mean.double() + covariance @ x.T @ torch.linalg.solve(whole, left))
    shares = torch.softmax(torch.stack(logs), 0).reshape(9, 10, 1)
    expected = (shares * torch.stack(means).reshape(9, 10, N_CHANNELS)).sum(0)
    torch.testing.assert_close(posterior.weights[:, :, 0].double(), expected, atol=1e-4, rtol=1e-3)


@pytest.fixture
def region(rng, windows):
    """A region of many voxels that respond alike, each within one small window."""
    n_voxels, n_images = 300, 60
    features = torch.from_numpy(rng.normal(size=(n_images, D + N_ENERGIES))).float()
    truth = torch.tensor([1.0, -1.0, 0.0, 0.0, 2.0, 0.0])
    numbers = torch.from_numpy(rng.integers(1, 10, n_voxels))
    signal = torch.einsum("nkv,k->nv", windows.pool(features)[:, :, numbers], truth)
    noise = torch.from_numpy(rng.normal(size=signal.shape)).float() * signal.std()
    return Pairs(features, signal + noise, torch.ones(n_images)), truth


def test_a_region_teaches_its_voxels(region, windows):
    """With 60 images of noisy responses, voxels together know the channels that drive them."""
    pairs, truth = region
    voxels = torch.arange(pairs.voxels.shape[1])
    sums = Sums.of(pairs, windows)
    (prior,) = POOLING.priors(sums, windows, [voxels])
    assert float(torch.corrcoef(torch.stack([prior.mean, truth]))[0, 1]) > 0.9
    assert float(prior.sizes[1]) > 0.9


def test_a_region_of_one_voxel_learns_from_the_others(region, windows):
    pairs, truth = region
    sums = Sums.of(pairs, windows)
    many = torch.arange(pairs.voxels.shape[1] - 1)
    alone = torch.tensor([pairs.voxels.shape[1] - 1])
    _, prior = POOLING.priors(sums, windows, [many, alone])
    assert float(torch.corrcoef(torch.stack([prior.mean, truth]))[0, 1]) > 0.9
    by_itself = Pooling(shared_voxels=0, isotropic_voxels=100, n_rounds=4)
    _, other = by_itself.priors(sums, windows, [many, alone])
    assert not torch.allclose(prior.mean, other.mean, atol=0.01)


def test_residuals_are_those_of_models_that_did_not_see_the_fold(pairs, windows):
    folds = torch.arange(len(pairs.counts)) % 3
    regions = torch.arange(pairs.voxels.shape[1]) % 2
    models = HierarchicalModels(pairs, folds, windows, regions, POOLING)
    whole = models.fitted_on(frozenset({0, 1, 2}))
    changed = Pairs(pairs.features, pairs.voxels.clone(), pairs.counts)
    changed.voxels[folds == 2] = torch.randn_like(changed.voxels[folds == 2])
    others = HierarchicalModels(changed, folds, windows, regions, POOLING)
    moved = others.fitted_on(frozenset({0, 1, 2}))
    predicted = [
        pairs.voxels[folds == 2] - whole.residual[folds == 2],
        changed.voxels[folds == 2] - moved.residual[folds == 2],
    ]
    torch.testing.assert_close(*predicted)
    assert not torch.allclose(whole.residual[folds == 0], moved.residual[folds == 0])
    alone = models.fitted_on(frozenset({0, 1}))
    assert torch.equal(alone.weights, others.fitted_on(frozenset({0, 1})).weights)


def test_shares_of_pooling_mix_the_same_two_fits(pairs, windows):
    folds = torch.arange(len(pairs.counts)) % 2
    regions = torch.zeros(pairs.voxels.shape[1], dtype=torch.long)
    models = HierarchicalModels(pairs, folds, windows, regions, POOLING)
    both = frozenset({0, 1})
    alone, half, pooled = (models.mixed(share).fitted_on(both) for share in (0.0, 0.5, 1.0))
    assert not torch.allclose(alone.weights, pooled.weights, atol=1e-3)
    for name in ("weights", "residual"):
        ends = getattr(alone, name) + getattr(pooled, name)
        torch.testing.assert_close(getattr(half, name), ends / 2)
    # Alone means alone: no voxel's weights depend on another's responses.
    changed = Pairs(pairs.features, pairs.voxels.clone(), pairs.counts)
    changed.voxels[:, 1:] = torch.randn_like(changed.voxels[:, 1:])
    others = HierarchicalModels(changed, folds, windows, regions, POOLING)
    of_one = others.mixed(0.0).fitted_on(both).weights[:, 0]
    torch.testing.assert_close(of_one, alone.weights[:, 0])
    assert not torch.allclose(others.fitted_on(both).weights[:, 0], pooled.weights[:, 0], atol=1e-4)


@pytest.mark.parametrize("has_places", [True, False])
@pytest.mark.parametrize("n_folds", [2, 3])
def test_what_is_settled_is_the_chosen_share(n_folds, has_places, pairs, windows):
    """And asks for no other fit."""
    folds = torch.arange(len(pairs.counts)) % n_folds
    regions = torch.zeros(pairs.voxels.shape[1], dtype=torch.long)
    kept, settled = (
        HierarchicalModels(
            pairs, folds, windows, regions, POOLING, pooled_share=0.5, has_places=has_places
        )
        for _ in range(2)
    )
    settled.settle()
    every = set(range(n_folds))
    for subset in (every, every - {0}, every - {1}):
        expected, given = (one.fitted_on(frozenset(subset)) for one in (kept, settled))
        assert torch.equal(given.weights, expected.weights)
        assert torch.equal(given.residual, expected.residual)


def test_weights_of_many_voxels_are_those_of_some_at_a_time(pairs, windows, monkeypatch):
    folds = torch.arange(len(pairs.counts)) % 2
    regions = torch.zeros(pairs.voxels.shape[1], dtype=torch.long)
    whole = HierarchicalModels(pairs, folds, windows, regions, POOLING).mixed(0.5)
    expected = whole.fitted_on(frozenset({0, 1}))
    monkeypatch.setattr("fmri2img.models._pooled_models._VOXELS_AT_ONCE", 7)
    in_parts = HierarchicalModels(pairs, folds, windows, regions, POOLING).mixed(0.5)
    torch.testing.assert_close(in_parts.fitted_on(frozenset({0, 1})).weights, expected.weights)


def test_voxels_without_a_region_are_a_region(pairs, windows):
    folds = torch.arange(len(pairs.counts)) % 2
    nowhere = torch.zeros(pairs.voxels.shape[1], dtype=torch.long)
    model = HierarchicalModels(pairs, folds, windows, nowhere, POOLING).fitted_on(frozenset({0, 1}))
    assert torch.isfinite(model.weights).all()
    left = (model.residual * pairs.counts[:, None]).square().mean()
    assert left < (pairs.voxels * pairs.counts[:, None]).square().mean()


def test_places_add_what_pooling_cannot_express_and_nothing_to_noise(rng):
    """Weights of single numbers, of which no pooled channel is a copy."""
    n_images = 600
    features = torch.from_numpy(rng.normal(size=(n_images, D))).float()
    truth = torch.zeros(D, 2)
    truth[[3, 40, 77], 0] = torch.tensor([1.0, -1.0, 0.5])
    voxels = features @ truth + torch.from_numpy(rng.normal(size=(n_images, 2))).float()
    pairs = Pairs(features, voxels, torch.ones(n_images))
    found = Places(features, pairs.counts, [torch.ones(D)]).weights(voxels)
    assert float(torch.corrcoef(torch.stack([found[:, 0], truth[:, 0]]))[0, 1]) > 0.9
    assert found[:, 1].norm() < 0.05 * found[:, 0].norm()


@pytest.mark.parametrize("n_images", [300, 25], ids=["over features", "over images"])
def test_places_are_ridge_regressions_weighed_by_evidence(n_images, rng):
    """All candidates one by one, with explicit matrices."""
    d, ratios = 120, (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
    features = 5 * torch.from_numpy(rng.normal(size=(n_images, d))).double()
    voxel = features @ torch.from_numpy(rng.normal(size=(d, 1)) / 40).double()
    voxel += torch.from_numpy(rng.normal(size=(n_images, 1))).double()
    counts = 1 + torch.arange(n_images).double() % 3
    windows = [torch.ones(d), torch.linspace(0, 1, d)]
    x, y = features * counts.sqrt()[:, None], voxel[:, 0] * counts.sqrt()
    logs, solutions = [-0.5 * n_images * torch.log(y @ y)], [torch.zeros(d).double()]
    for window in windows:
        scaled = x * torch.where(window > 0.03, window, 0.0)
        for ratio in ratios:
            whole = torch.eye(n_images) + ratio * scaled @ scaled.T
            solved = torch.linalg.solve(whole, y)
            evidence = -0.5 * (n_images * torch.log(y @ solved) + torch.logdet(whole))
            logs.append(evidence - np.log(2))
            solutions.append(torch.where(window > 0.03, window, 0.0) * (ratio * scaled.T @ solved))
    expected = torch.softmax(torch.stack(logs), 0) @ torch.stack(solutions)
    pairs = Pairs(features.float(), voxel.float(), counts.float())
    found = Places(pairs.features, pairs.counts, windows).weights(pairs.voxels)[:, 0]
    torch.testing.assert_close(found.double(), expected, atol=2e-4, rtol=1e-2)


def test_what_is_known_from_others_stays_where_nothing_is_learnt(pairs, windows):
    """Without rounds the prior is what is known; with them, its weight is in voxels."""
    voxels = [torch.arange(pairs.voxels.shape[1])]
    sums = Sums.of(pairs, windows)
    known = [VoxelPrior(torch.ones(N_CHANNELS), torch.eye(N_CHANNELS), torch.tensor([0.3, 0.7]))]
    (at_once,) = Pooling(30, 100, 0, 50).priors(sums, windows, voxels, known)
    assert at_once is known[0]
    (own,) = Pooling(30, 100, 1, 1e-9).priors(sums, windows, voxels, known)
    (half,) = Pooling(30, 100, 1, len(voxels[0])).priors(sums, windows, voxels, known)
    (theirs,) = Pooling(30, 100, 1, 1e9).priors(sums, windows, voxels, known)
    torch.testing.assert_close(half.mean, (own.mean + theirs.mean) / 2)
    torch.testing.assert_close(theirs.mean, known[0].mean)
    apart = own.mean - theirs.mean
    mixture = (own.covariance + theirs.covariance) / 2 + torch.outer(apart, apart) / 4
    torch.testing.assert_close(half.covariance, mixture, atol=1e-4, rtol=1e-4)


def test_without_places_all_weights_are_pooled(pairs, windows):
    folds = torch.arange(len(pairs.counts)) % 2
    regions = torch.zeros(pairs.voxels.shape[1], dtype=torch.long)
    both = frozenset({0, 1})
    models = HierarchicalModels(pairs, folds, windows, regions, POOLING, has_places=False)
    weights = models.fitted_on(both).weights
    pooled = models.windows.unpool(torch.zeros(10, N_CHANNELS, 1))
    assert weights.shape == (len(pooled), len(regions))
    with_places = HierarchicalModels(pairs, folds, windows, regions, POOLING).fitted_on(both)
    assert not torch.equal(weights, with_places.weights)
    assert torch.equal(weights, models.mixed(0.0).fitted_on(both).weights)

import pytest
import torch

from fmri2img.models._forward import (
    Candidates,
    Pairs,
    candidate_errors,
    fit_candidates,
    make_windows,
)
from voxel_world import GRIDS, N_ENERGIES, N_IMAGES, N_VOXELS, SHAPE, D, make_world


@pytest.fixture
def world(rng):
    return make_world(rng)


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


def test_windows_further_apart_are_fewer():
    assert len(list(make_windows([(4, 16, 16)], [1.5], spacing=2))) == 1 + 25

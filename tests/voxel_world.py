"""Made-up voxels of which each sees a spot of the picture, for tests of encoding models."""

import numpy as np
import torch

from fmri2img.models.base import TrainingTensors

SHAPE, ENERGY_SHAPE = (4, 6, 5), (2, 3, 3)
GRIDS = [SHAPE, ENERGY_SHAPE]
D, N_ENERGIES, N_VOXELS, N_IMAGES, N_TEST = 120, 18, 160, 200, 60


def make_world(rng):
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
    noise = (
        6 * rng.normal(size=(N_TEST, 2, N_VOXELS)) + 6 * rng.normal(size=(N_TEST, 2, 4)) @ shared.T
    )
    test = signal[N_IMAGES:] + noise.mean(axis=1)  # of two repetitions, as in training
    tensors = [
        torch.from_numpy(values).float()
        for values in (betas, latents[:N_IMAGES].reshape(-1, *SHAPE))
    ]
    contrasts = torch.from_numpy(energies[:N_IMAGES].reshape(-1, *ENERGY_SHAPE)).float()
    nothing = torch.zeros(0, *SHAPE), torch.zeros(0, *ENERGY_SHAPE)
    regions = torch.ones(N_VOXELS, dtype=torch.long)
    data = TrainingTensors(
        tensors[0],
        torch.from_numpy(trials),
        tensors[1],
        regions,
        contrasts,
        *nothing,
        n_repetitions=3,
    )
    return data, torch.from_numpy(test).float(), torch.from_numpy(latents[N_IMAGES:]).float()

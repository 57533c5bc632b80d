"""Draws from the posterior of a latent: what else a picture may be, given the response."""

import numpy as np
import torch

N_DRAWS = 32  # a thirtieth of the size of a covariance of 1024 numbers
_JITTER = 1e-7  # of the mean variance, so that rounding leaves a covariance positive


def draw(covariance: torch.Tensor, seed: int) -> torch.Tensor:
    """Draw deviations from the posterior mean, shape (N_DRAWS, n), float32.

    A posterior's covariance is the same for all responses, so draws can be made in training. For
    one seed they move along as the covariance changes.

    Parameters
    ----------
    covariance : Tensor, shape (n, n), float64
    seed : int
    """
    variance = covariance.diagonal().clamp(min=0).mean().clamp(min=1e-12)
    lifted = covariance + _JITTER * variance * torch.eye(len(covariance), dtype=covariance.dtype)
    normal = np.random.default_rng([seed, N_DRAWS]).standard_normal((N_DRAWS, len(covariance)))
    return (torch.from_numpy(normal) @ torch.linalg.cholesky(lifted).T).float()

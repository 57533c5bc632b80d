"""Draws from the posterior of a latent: what else a picture may be, given the response."""

import numpy as np
import torch

N_DRAWS = 32  # as large as a thirtieth of the covariance of 1024 numbers
_JITTER = 1e-7  # of the mean variance


def draw(covariance: torch.Tensor, seed: int) -> torch.Tensor:
    """Draw deviations from the posterior mean, shape (N_DRAWS, n), float32.

    A posterior's covariance is the same for all responses, so draws can be made in training. The
    same seed gives draws of smaller covariances that resemble those of larger ones.

    Parameters
    ----------
    covariance : Tensor, shape (n, n), float64
    seed : int
    """
    normal = np.random.default_rng([seed, N_DRAWS]).standard_normal((N_DRAWS, len(covariance)))
    return (torch.from_numpy(normal) @ _root(covariance).T).float()


def _root(covariance: torch.Tensor) -> torch.Tensor:
    variance = covariance.diagonal().clamp(min=0).mean()
    lifted = covariance + _JITTER * variance * torch.eye(len(covariance), dtype=covariance.dtype)
    root, fault = torch.linalg.cholesky_ex(lifted)
    if not fault:
        return root
    # Of very few pictures, or of uniform ones, rounding leaves variances below 0.
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()

"""Inverting a linear model of the voxels: the prior over pictures, the noise, and the posterior
mean of the picture.
"""

from dataclasses import dataclass

import torch

from fmri2img.models._forward import ForwardModel
from fmri2img.project.exceptions import MismatchError

_ADDED_VARIANCE = 1e-4  # in units of the mean variance, for singular covariances


def shrink_covariance(
    sample: torch.Tensor, shrinkage: float, grids: list[tuple[int, int, int]]
) -> torch.Tensor:
    """Shrink a covariance of descriptions towards one that is separable over channels and places,
    without covariance between parts.

    Parameters
    ----------
    sample : Tensor, shape (d, d), float64
    shrinkage : float
        Weight of the target: for each part, the Kronecker product of a covariance of channels and
        one of places.
    grids : list of (channels, height, width)

    Returns
    -------
    Tensor, shape (d, d), float64
    """
    target = torch.zeros_like(sample)
    start = 0
    for channels, height, width in grids:
        part = slice(start, start + channels * height * width)
        target[part, part] = _apart(sample[part, part], channels)
        start = part.stop
    # A small ridge keeps the matrix invertible for any number of images.
    ridge = (
        1e-5
        * sample.diagonal().mean().clamp(min=1e-12)
        * torch.eye(len(sample), dtype=torch.float64)
    )
    return (1 - shrinkage) * sample + shrinkage * target + ridge


def _apart(sample: torch.Tensor, channels: int) -> torch.Tensor:
    """Approximate a covariance by a Kronecker product of channels and places, with one step of the
    flip-flop algorithm.
    """
    places = len(sample) // channels
    blocks = sample.reshape(channels, places, channels, places)
    between = torch.einsum("aibi->ab", blocks) / places
    between = between / between.trace().clamp(min=1e-12) * channels + 1e-6 * torch.eye(
        channels, dtype=sample.dtype
    )
    within = torch.einsum("aibj,ba->ij", blocks, torch.linalg.inv(between)) / channels
    return torch.kron(between, within)


def noise_factor(residual: torch.Tensor, counts: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """Return the Cholesky factor of the residual covariance over voxels, shape (v, v), with shrunk
    off-diagonal elements.

    Parameters
    ----------
    residual : Tensor, shape (n, v)
        Cross-validated residuals of averaged responses under the encoding model.
    counts : Tensor, shape (n,)
        Number of averaged trials: the covariance is scaled to a single trial, as far as averaging
        reduces noise.
    shrinkage : float
        1 keeps only the diagonal.
    """
    covariance = (residual * counts[:, None]).T @ residual / len(residual)
    # A voxel that never varies has no noise and carries no information.
    floor = 1e-3 * covariance.diagonal().mean().clamp(min=1e-6)
    diagonal = covariance.diagonal() + floor
    covariance *= 1 - shrinkage
    covariance.diagonal().copy_(diagonal)
    return root_of(covariance)


def root_of(covariance: torch.Tensor) -> torch.Tensor:
    """Return the lower triangular root of a covariance, shape (d, d).

    With few or plain pictures the covariance is singular; a small share of the mean variance is
    then added to every variance.

    Raises
    ------
    MismatchError
        If it still has no root: values are not finite, or nothing varies.
    """
    root, failed = torch.linalg.cholesky_ex(covariance)
    if not failed:
        return root
    variances = covariance.diagonal()
    added = torch.diag(_ADDED_VARIANCE * variances.mean().expand_as(variances))
    root, failed = torch.linalg.cholesky_ex(covariance + added)
    if failed:
        raise MismatchError(
            "train: the covariance of the training pictures cannot be inverted, expected "
            "pictures that differ from one another; check them, or choose another model"
        )
    return root


def relative_noise(
    repetitions: float | torch.Tensor, counts: torch.Tensor, share: float
) -> float | torch.Tensor:
    """Return the noise variance of an average of ``repetitions`` trials, relative to the covariance
    of `noise_factor`.

    Parameters
    ----------
    repetitions : float or Tensor
    counts : Tensor, shape (n_images,)
        Trials of each training image; `noise_factor` multiplies residuals of averages by them.
    share : float
        Share of variance that averaging does not reduce, from `misfit_share`.
    """
    reference = share * float(counts.mean()) + (1 - share)
    return (share + (1 - share) / repetitions) / reference


@dataclass(frozen=True)
class Inversion:
    """An encoding model with prior and noise, ready to be inverted for noise of any size.

    With S = R R^T, C = L L^T and the eigenvectors U and eigenvalues e of R^T W C^-1 W^T R, the
    posterior mean for noise c C is R U (e + c)^-1 U^T R^T W C^-1 (response - mean), so further
    noise sizes cost almost nothing.

    Attributes
    ----------
    root : Tensor, shape (n_latents, k)
        R U, rows of the latents only: the rest of a description is not needed.
    values : Tensor, shape (k,)
        e.
    prior_variance : Tensor, shape (n_latents,)
        Diagonal of S.
    whitened : Tensor, shape (v, k)
        C^-1 W^T R U.
    """

    root: torch.Tensor
    values: torch.Tensor
    prior_variance: torch.Tensor
    whitened: torch.Tensor

    @classmethod
    def of(
        cls, forward: ForwardModel, prior: torch.Tensor, noise_shrinkage: float, n_latents: int
    ) -> "Inversion":
        """Decompose an encoding model with a prior covariance of shape (d, d)."""
        root = root_of(prior)
        factor = noise_factor(forward.residual, forward.counts, noise_shrinkage)
        return cls.decompose(forward.weights.T.double() @ root, factor, root[:n_latents])

    @classmethod
    def decompose(
        cls, weighted: torch.Tensor, factor: torch.Tensor, prior_root: torch.Tensor
    ) -> "Inversion":
        """Decompose W^T R (v, d) with L (v, v) and the latents' rows of R (n_latents, d)."""
        both = torch.linalg.solve_triangular(factor.double(), weighted, upper=False)  # L^-1 W^T R
        if both.shape[0] < both.shape[1]:
            values, left = torch.linalg.eigh(both @ both.T)
            real = values > 1e-10 * values[-1].clamp(min=1e-12)
            values, left = values[real], left[:, real]
            vectors = (both.T @ left) / values.sqrt()
        else:
            values, vectors = torch.linalg.eigh(both.T @ both)
            values = values.clamp(min=0)
        whitened = torch.linalg.solve_triangular(
            factor.T, (both @ vectors).float(), upper=True
        )  # (v, k)
        return cls(prior_root @ vectors, values, prior_root.square().sum(1), whitened)

    def gain(self, noise: float | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the linear map (v, n_latents) to the posterior mean of the latent, and the
        posterior's SDs (n_latents,).
        """
        gain = self.whitened.double() @ (self.root / (self.values + noise)).T
        decided = self.root.square() * (self.values / (self.values + noise))
        variance = self.prior_variance - decided.sum(1)
        return gain.float(), variance.clamp(min=0).sqrt().float()

    def predict(self, projected: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return posterior means (n, n_latents) from responses times ``whitened``, (n, k), with
        noise of sizes (n,).
        """
        return (projected / (self.values + noise[:, None])) @ self.root.T

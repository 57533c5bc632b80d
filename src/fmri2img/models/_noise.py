"""The noise of voxels: its covariance, learnt from the residuals of an encoding model."""

from dataclasses import dataclass

import torch

from fmri2img.models._stored import Betas
from fmri2img.project.exceptions import MismatchError

_ADDED_VARIANCE = 1e-4  # in units of the mean variance, for singular covariances
_FLOOR = 1e-3  # added to every variance, in units of the mean variance, so that there is an inverse
_ROWS_AT_ONCE = 1024
_TRIALS_AT_ONCE = 2048


@dataclass(frozen=True)
class SolvedNoise:
    """What an inversion needs of a covariance C over more voxels than images, without a root of it,
    for an encoding model W (d, v).

    Attributes
    ----------
    precision : Tensor, shape (d, d), float64
        W C^-1 W^T.
    solution : Tensor, shape (v, d)
        C^-1 W^T.
    """

    precision: torch.Tensor
    solution: torch.Tensor


# The root of a covariance (v, v), or what stands for it.
Noise = torch.Tensor | SolvedNoise


@dataclass(frozen=True)
class ManyImages:
    """Residuals of at least as many images as voxels, or of few voxels; see `noise_factor`."""

    residual: torch.Tensor
    counts: torch.Tensor

    def shrunk(self, shrinkage: float) -> Noise:
        """Return the root of the covariance with shrunk correlations."""
        return noise_factor(self.residual, self.counts, shrinkage)


@dataclass(frozen=True)
class FewImages:
    """Residuals of fewer images than voxels, and an encoding model, both in units of each voxel's
    SD, so that products over voxels serve for every shrinkage.

    In these units the covariance is (1 - shrinkage) E^T E + shrinkage + the rest of the floor, with
    residuals E, and its inverse is one over images (Woodbury's identity). It is that of
    `noise_factor`, but that the floor grows with a voxel's variance.

    Attributes
    ----------
    residual : Tensor, shape (n, v)
        E; its squares sum to nearly 1 for each voxel that varies.
    weights : Tensor, shape (d, v)
    sds : Tensor, shape (v,)
    gram : Tensor, shape (n, n)
        E E^T, its lower triangle.
    across : Tensor, shape (n, d), float64
        E times the weights.
    within : Tensor, shape (d, d), float64
        Products of the weights.
    """

    residual: torch.Tensor
    weights: torch.Tensor
    sds: torch.Tensor
    gram: torch.Tensor
    across: torch.Tensor
    within: torch.Tensor

    @classmethod
    def of(cls, residual: torch.Tensor, counts: torch.Tensor, weights: torch.Tensor) -> "FewImages":
        """Take what `noise_of` takes; ``residual`` is overwritten, as it may be large."""
        residual *= (counts / len(residual)).sqrt()[:, None]
        variances = residual.square().sum(0)
        # A voxel that never varies has no noise and carries no information.
        sds = (variances + _FLOOR * variances.mean().clamp(min=1e-6)).sqrt()
        residual /= sds
        weights = weights / sds
        return cls(
            residual,
            weights,
            sds,
            _gram(residual),
            (residual @ weights.T).double(),
            (weights @ weights.T).double(),
        )

    def shrunk(self, shrinkage: float) -> Noise:
        """Return what stands for the root of the covariance with shrunk correlations."""
        kept = 1 - shrinkage
        added = shrinkage + kept * _FLOOR
        inner = self.gram.double().mul_(kept)
        inner.diagonal().add_(added)
        root = root_of(inner)
        del inner  # half a gigabyte at the real size; torch.cholesky_solve would copy the root
        solved = torch.linalg.solve_triangular(root, self.across, upper=False)  # (n, d)
        solved = torch.linalg.solve_triangular(root.T, solved, upper=True)
        del root
        precision = (self.within - kept * self.across.T @ solved) / added
        solution = self.weights - kept * (solved.float().T @ self.residual)
        return SolvedNoise(precision, (solution / (added * self.sds)).T)


def _gram(rows: torch.Tensor) -> torch.Tensor:
    """Return the lower triangle of rows rows^T (n, n)."""
    gram = torch.zeros(len(rows), len(rows))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        stop = start + _ROWS_AT_ONCE
        gram[start:stop, :stop] = rows[start:stop] @ rows[:stop].T
    return gram


def noise_of(
    residual: torch.Tensor, counts: torch.Tensor, weights: torch.Tensor
) -> ManyImages | FewImages:
    """Return the noise in the form that is cheaper to invert: `FewImages` if there are more voxels
    than images, and at least as many as a description has numbers.

    Parameters
    ----------
    residual : Tensor, shape (n, v)
        As for `noise_factor`; not to be used afterwards.
    counts : Tensor, shape (n,)
    weights : Tensor, shape (d, v)
        Of the encoding model.
    """
    n, v = residual.shape
    if v > n and v >= len(weights):
        return FewImages.of(residual, counts, weights)
    return ManyImages(residual, counts)


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
    floor = _FLOOR * covariance.diagonal().mean().clamp(min=1e-6)
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


def misfit_share(
    residual: torch.Tensor, counts: torch.Tensor, within: float, freedom: float
) -> float:
    """Return the share of a single trial's unexplained variance that repeats with the image, so
    that averaging does not reduce it.

    Variance within images is noise of single trials. The residual variance of averages is that
    noise divided by the number of trials, plus the misfit of the encoding model.

    Parameters
    ----------
    residual : Tensor, shape (n_images, n_voxels)
        Of averaged responses, under models that did not see them.
    counts : Tensor, shape (n_images,)
        Number of averaged trials.
    within, freedom : float
        From `variance_within_images`.
    """
    if freedom < 1:
        return 0.0
    left = residual.square().mean().item() - within * float((1 / counts).mean())
    return max(0.0, left) / (max(0.0, left) + within) if within > 0 else 1.0


def variance_within_images(
    normalizer: torch.nn.Module, betas: Betas, trial_images: torch.Tensor, averages: torch.Tensor
) -> tuple[float, float]:
    """Return the mean variance of z-scored trials around their image's mean, and its degrees of
    freedom.

    Parameters
    ----------
    normalizer : Module
    betas : Tensor or StoredBetas, shape (n_trials, n_voxels)
    trial_images : Tensor, shape (n_trials,), int64
        Row of each trial's image.
    averages : Tensor, shape (n_images, n_voxels)
    """
    total, freedom = 0.0, 0.0
    for rows in torch.arange(len(betas)).split(_TRIALS_AT_ONCE):
        known = torch.isfinite(betas[rows])
        misses = normalizer(betas[rows]) - normalizer(averages[trial_images[rows]])
        total += float((misses * known).square().sum(dtype=torch.float64))
        freedom += float(known.sum())
    freedom -= float(torch.isfinite(averages).sum())
    return (total / freedom, freedom) if freedom >= 1 else (0.0, 0.0)

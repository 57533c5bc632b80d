"""Ridge regression from voxels to each latent number: the baseline that every encoder must beat."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import torch
from himalaya.kernel_ridge import generate_dirichlet_samples
from himalaya.ridge import solve_group_ridge_random_search
from pydantic import Field
from sklearn.model_selection import GroupKFold

from fmri2img.models._stored import Betas
from fmri2img.models.base import Encoder, EncoderSettings, TrainingTensors
from fmri2img.project.config import PARAMS_PATH
from fmri2img.project.exceptions import MismatchError
from fmri2img.project.param_types import Penalty, Seed

# himalaya holds every penalty's solution at once, (penalties, voxels, trials): above this size in
# bytes the Gram matrix is used instead.
_HIMALAYA_BYTES = 1 << 31
_ROWS_AT_ONCE, _COLUMNS_AT_ONCE, _TARGETS_AT_ONCE = 2048, 2048, 1024


class Settings(EncoderSettings):
    """``train.ridge`` in ``params.yaml``.

    Attributes
    ----------
    bands : str
        ``none``: one penalty for all voxels of a latent number; ``roi``: one for each region
        (banded ridge, Dupré la Tour et al. 2022, doi:10.1016/j.neuroimage.2022.119728).
    n_band_draws : int
        Number of ratios of the regions' penalties that are tried: equal ones, then random ones.
    solver : str
        ``himalaya``: himalaya's estimator, which tries every penalty; ``gram``: the same from the
        Gram matrix of voxels, for which fewer are tried; ``auto``: himalaya, unless it would take
        2 GiB or more.
    """

    penalties: Annotated[list[Penalty], Field(min_length=1)]
    n_folds: Annotated[int, Field(ge=2)]
    unit: Literal["trials", "images"]
    bands: Literal["none", "roi"]
    n_band_draws: Annotated[int, Field(ge=1)]
    seed: Seed
    solver: Literal["auto", "himalaya", "gram"] = "auto"  # as in projects of version 0.3.0


class Model(Encoder):
    """Multi-target ridge; the penalty of each target is chosen by cross-validation that keeps an
    image's trials together.

    Averaged betas of test images go through the same linear map as single trials of training.
    """

    Settings = Settings
    trained_by_gradient = False

    def __init__(self, n_voxels: int, latent_shape: tuple[int, int, int], settings: Any) -> None:
        super().__init__(n_voxels, latent_shape, settings)
        n_targets = int(np.prod(latent_shape))
        self.linear = torch.nn.Linear(n_voxels, n_targets)

    def decode_voxels(self, voxels: torch.Tensor) -> torch.Tensor:
        """Map z-scored voxels (n, n_voxels) to latents (n, 4, h, w)."""
        return self.linear(voxels).unflatten(1, self.latent_shape)  # (n, 4, h, w)

    @torch.no_grad()
    def voxel_weights(self) -> torch.Tensor:
        """Return the length of each voxel's weights, shape (n_voxels,)."""
        return self.linear.weight.norm(dim=0)

    @torch.no_grad()
    def solve(self, data: TrainingTensors) -> dict[str, float]:
        """Fit weights and penalties on training trials or averaged training images."""
        settings = self.settings
        by_trials = settings.unit == "trials"
        betas = data.betas if by_trials else data.image_betas
        groups = data.trial_images if by_trials else torch.arange(len(data.latents))
        targets = data.latents.flatten(1)[groups]
        voxel_mean, target_mean = _mean(self.normalizer, betas), targets.mean(0)
        targets = targets - target_mean
        facts = {}
        weights = torch.zeros(betas.shape[1], targets.shape[1])
        if len(data.latents) > 1:  # one image gives nothing to learn: its latent is the mean
            bands = (
                data.roi_labels.unique(return_inverse=True)[1]
                if settings.bands == "roi"
                else torch.zeros(betas.shape[1], dtype=torch.long)
            )
            splitter = GroupKFold(
                min(settings.n_folds, len(data.latents)), shuffle=True, random_state=settings.seed
            )
            folds = np.zeros(len(betas), dtype=np.int64)
            for number, (_, held_out) in enumerate(splitter.split(groups, groups=groups.numpy())):
                folds[held_out] = number
            fits = len(settings.penalties) * betas.nbytes < _HIMALAYA_BYTES
            by_himalaya = fits if settings.solver == "auto" else settings.solver == "himalaya"
            solver = solve_by_himalaya if by_himalaya else solve_by_gram
            weights, penalties, error = solver(
                lambda rows: self.normalizer(betas[rows]) - voxel_mean,
                targets,
                torch.from_numpy(folds),
                penalties=settings.penalties,
                bands=bands,
                gammas=_draw_gammas(int(bands.max()) + 1, settings.n_band_draws, settings.seed),
            )
            facts = {
                "median_penalty": float(penalties.median()),
                "cross_validated_mse": float(error.mean()),
            }
        self.linear.weight.copy_(weights.T)
        self.linear.bias.copy_(target_mean - voxel_mean @ weights)
        return facts


def _mean(normalizer: Callable[[torch.Tensor], torch.Tensor], betas: Betas) -> torch.Tensor:
    """Return the mean of z-scored voxels, shape (n_voxels,): not 0 where values are missing."""
    total = torch.stack(
        [normalizer(part).sum(0, dtype=torch.float64) for part in betas.split(_ROWS_AT_ONCE)]
    ).sum(0)
    return (total / len(betas)).float()


def _draw_gammas(n_bands: int, n_draws: int, seed: int) -> np.ndarray:
    """Return factors of the bands' variances to try, shape (n_draws, n_bands); each row has mean
    1, and the first is all ones.
    """
    if n_bands == 1:
        return np.ones((1, 1), dtype=np.float32)
    drawn = generate_dirichlet_samples(
        n_draws, n_bands, concentration=[0.3, 1.0], random_state=seed
    )
    gammas: np.ndarray = np.asarray(drawn, dtype=np.float32) * n_bands
    gammas[0] = 1
    return gammas


Rows = Callable[[torch.Tensor | slice], torch.Tensor]


def solve_by_himalaya(
    voxels: Rows,
    targets: torch.Tensor,
    folds: torch.Tensor,
    *,
    penalties: list[float],
    bands: torch.Tensor,
    gammas: np.ndarray,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Solve ridge regressions with himalaya, from the singular values of the data.

    Each target gets the penalty and band factors with the smallest mean squared error over the
    folds.

    Parameters
    ----------
    voxels : callable
        Returns rows of the regressors, shape (n, n_voxels); their mean over all rows is 0.
    targets : Tensor, shape (n_rows, n_targets)
        Targets, centred: each column has mean 0.
    folds : Tensor, shape (n_rows,), int64
    penalties : list of float
    bands : Tensor, shape (n_voxels,), int64
        Number of each voxel's band, from 0.
    gammas : ndarray, shape (n_draws, n_bands)
        Factors of the bands: a band's squared weights are penalised by penalty / factor.

    Returns
    -------
    weights : Tensor, shape (n_voxels, n_targets)
    penalties : Tensor, shape (n_targets,)
    errors : Tensor, shape (n_targets,)
        Mean squared error of the chosen penalty in cross-validation.
    """
    everything = voxels(slice(None))
    order = torch.argsort(bands, stable=True)
    parts = [everything[:, bands == band].numpy() for band in range(gammas.shape[1])]
    splits = [
        (np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in folds.unique()
    ]
    deltas, coefficients, scores = solve_group_ridge_random_search(
        parts,
        targets.numpy(),
        n_iter=gammas,
        alphas=np.asarray(penalties, dtype=np.float32),
        cv=splits,
        return_weights=True,
        n_targets_batch=_TARGETS_AT_ONCE,
        progress_bar=False,
        warn=False,
    )
    weights = torch.empty(everything.shape[1], targets.shape[1])
    weights[order] = torch.from_numpy(np.asarray(coefficients, dtype=np.float32))
    # deltas are log(factor / penalty), and factors have mean 1 over bands.
    chosen = gammas.shape[1] / np.exp(np.asarray(deltas, dtype=np.float64)).sum(0)
    return weights, torch.from_numpy(chosen), torch.from_numpy(-np.asarray(scores).max(axis=0))


def solve_by_gram(
    voxels: Rows,
    targets: torch.Tensor,
    folds: torch.Tensor,
    *,
    penalties: list[float],
    bands: torch.Tensor,
    gammas: np.ndarray,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Solve such regressions from X^T X, with memory for about four matrices (n_voxels, n_voxels).

    At 27 000 trials of 15 724 voxels a solution for each penalty, (n_voxels, n_trials), takes
    1.7 GB, and singular values take hours on two cores. A factor for each penalty and fold takes
    most of the time, so in the first fold penalties are tried from the largest one down, until one
    is worse for all targets; in the others only those that were best for a target there, and their
    neighbours. Otherwise the choice is that of `solve_by_himalaya`, and so are parameters and
    returns.
    """
    names, penalties = folds.unique(), sorted(penalties)
    gram, cross = _products(voxels, targets, torch.arange(len(targets)))
    errors = torch.zeros(len(gammas), len(penalties), targets.shape[1], dtype=torch.float64)
    for fold in names:
        rows = torch.nonzero(folds == fold).squeeze(1)
        held_out = voxels(rows)
        own_gram, own_cross = _products(voxels, targets, rows)
        gram -= own_gram
        for number, gamma in enumerate(gammas):
            scale = torch.from_numpy(gamma)[bands].sqrt()
            for order in reversed(range(len(penalties))):
                if errors[number, order].isinf().any():  # not worth trying
                    continue
                right = cross - own_cross
                weights = scale[:, None] * _solve(gram, right, scale, penalties[order])
                misses = targets[rows] - held_out @ weights
                squares = misses.square().sum(0, dtype=torch.float64)
                errors[number, order] += squares / len(rows) / len(names)
                if fold == names[0] and _worse_for_all(errors[number, order:]):
                    errors[number, :order] = torch.inf
        gram += own_gram
        del own_gram, held_out
        if fold == names[0]:
            errors[:, ~_worth_trying(errors)] = torch.inf
    best = errors.flatten(0, 1).argmin(0)
    weights = torch.zeros_like(cross)
    for choice in best.unique():
        chosen = best == choice
        scale = torch.from_numpy(gammas[int(choice) // len(penalties)])[bands].sqrt()
        weights[:, chosen] = scale[:, None] * _solve(
            gram, cross[:, chosen], scale, penalties[int(choice) % len(penalties)]
        )
    return (
        weights,
        torch.tensor(penalties)[best % len(penalties)],
        errors.flatten(0, 1).gather(0, best[None])[0],
    )


def _worth_trying(errors: torch.Tensor) -> torch.Tensor:
    """Return which of ascending penalties (n_penalties,) are best for a target, or next to one that
    is, by errors of shape (n_gammas, n_penalties, n_targets).
    """
    best = errors.argmin(1).unique()
    near = torch.stack([best - 1, best, best + 1]).clamp(0, errors.shape[1] - 1)
    return torch.zeros(errors.shape[1], dtype=torch.bool).index_fill(0, near.flatten(), True)


def _worse_for_all(errors: torch.Tensor) -> bool:
    """Return whether the first penalty is worse for all targets than the next larger one, by errors
    of shape (n_penalties, n_targets).
    """
    return len(errors) > 1 and bool((errors[0] > errors[1]).all())


def _products(
    voxels: Rows, targets: torch.Tensor, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the upper triangle of X^T X, and X^T Y, of some rows, reading a few at a time."""
    gram, cross, strips = torch.zeros(0), torch.zeros(0), list[slice]()
    for part in rows.split(_ROWS_AT_ONCE):
        x = voxels(part)
        if not len(gram):
            gram = torch.zeros(x.shape[1], x.shape[1])
            starts = range(0, len(gram), _COLUMNS_AT_ONCE)
            strips = [slice(start, min(start + _COLUMNS_AT_ONCE, len(gram))) for start in starts]
        for strip in strips:
            gram[: strip.stop, strip].addmm_(x[:, : strip.stop].T, x[:, strip])
        cross = cross + x.T @ targets[part] if len(cross) else x.T @ targets[part]
    return gram, cross


def _solve(
    gram: torch.Tensor, cross: torch.Tensor, scale: torch.Tensor, penalty: float
) -> torch.Tensor:
    """Return (D G D + penalty)^-1 D cross, with D the diagonal matrix of ``scale``; of G, ``gram``,
    the upper triangle counts.
    """
    matrix = gram.clone()
    if not (scale == 1).all():  # a pass over a gigabyte at the real size
        matrix *= scale
        matrix *= scale[:, None]
    matrix.diagonal().add_(penalty)
    # In place: the upper triangle of a row-major matrix is the lower one that LAPACK writes in its
    # own order.
    factor, failed = torch.linalg.cholesky_ex(
        matrix.mT, upper=False, out=(matrix.mT, torch.empty((), dtype=torch.int32))
    )
    if failed:
        raise MismatchError(
            f"{PARAMS_PATH}: train.ridge.penalties: {penalty} is too small for {len(gram)} voxels "
            "in single precision; "
            f"remove penalties below {1e-6 * float(gram.diagonal().mean()):.0e}"
        )
    return torch.cholesky_solve(scale[:, None] * cross, factor)

"""The way from pictures to voxels: a linear model of each voxel that sees a neighbourhood of the picture only.

A picture is described by latent numbers and by local contrast energies, each with a place in the picture. Candidate neighbourhoods
(windows) and ridge penalties are judged by cross-validation; a voxel's weights are the mean over its best candidates, each counted by
the likelihood of what it left unexplained.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch

_CUT = 0.03  # a window is cut where it has fallen to this share of its peak
_IMAGES_AT_ONCE = 1500  # on which a candidate is judged in one fold: more would cost time and change no choice
_CANDIDATES = 8  # that a voxel's weights are averaged over


@dataclass(frozen=True)
class Pairs:
    """Centred descriptions (n, d) and averaged voxels (n, v) of training images, and how many trials were averaged (n,)."""

    features: torch.Tensor
    voxels: torch.Tensor
    counts: torch.Tensor

    def of(self, rows: torch.Tensor) -> "Pairs":
        """Take some images."""
        return Pairs(self.features[rows], self.voxels[rows], self.counts[rows])


def make_windows(grids: list[tuple[int, int, int]], sizes: list[float]) -> Iterator[torch.Tensor]:
    """Yield what a voxel may see, shape (d,), 1 at most: all of it, then Gaussian windows of each size.

    Parameters
    ----------
    grids : list of (channels, height, width)
        Of each part of a description, one after the other; all cover the whole picture.
    sizes : list of float
        SDs in cells of the first grid; centres are as far apart as the SD, 2 cells at least.
    """
    _, height, width = grids[0]
    yield torch.cat([torch.ones(channels * rows * columns) for channels, rows, columns in grids])
    for size in sizes:
        step = max(2.0, size)
        for row, column in product(*(torch.arange((step - 1) / 2, extent, step).tolist() for extent in (height, width))):
            yield torch.cat([_window(grid, row, column, size, height / grid[1], width / grid[2]) for grid in grids])


def _window(grid: tuple[int, int, int], row: float, column: float, size: float, row_step: float, column_step: float) -> torch.Tensor:
    channels, height, width = grid
    rows = ((torch.arange(height) + 0.5) * row_step - 0.5 - row)[:, None]
    columns = ((torch.arange(width) + 0.5) * column_step - 0.5 - column)[None]
    return torch.exp(-(rows**2 + columns**2) / (2 * size**2)).flatten().repeat(channels)


class _Products:
    """What ridge regressions on the same images share: F^T F, F^T V and, for fewer images than features, F itself."""

    def __init__(self, pairs: Pairs) -> None:
        self.rows = pairs.features * pairs.counts.sqrt()[:, None]  # (n, d)
        self.cross = self.rows.T @ (pairs.voxels * pairs.counts.sqrt()[:, None])  # (d, v)
        self.gram = self.rows.T @ self.rows if len(self.rows) >= self.rows.shape[1] // 4 else None

    def within(self, window: torch.Tensor) -> "_Eigen":
        """Decompose the features within a window, scaled by it: they are penalised where it is low."""
        kept = torch.nonzero(window > _CUT).squeeze(1)
        scale = window[kept]
        if self.gram is None or len(self.rows) < len(kept):
            scaled = self.rows[:, kept] * scale
            values, left = torch.linalg.eigh(scaled @ scaled.T)
            real = values > 1e-6 * values[-1]
            values, left = values[real], left[:, real]
            return _Eigen(kept, scale, values, (scaled.T @ left) / values.sqrt())
        values, vectors = torch.linalg.eigh(self.gram[kept][:, kept] * scale[:, None] * scale)
        return _Eigen(kept, scale, values.clamp(min=0), vectors)


@dataclass(frozen=True)
class _Eigen:
    """Ridge regressions within a window, ready for any penalty."""

    kept: torch.Tensor
    scale: torch.Tensor
    values: torch.Tensor
    vectors: torch.Tensor

    def rotate(self, cross: torch.Tensor) -> torch.Tensor:
        """Turn F^T V (d, v) into the basis of the solution."""
        return self.vectors.T @ (cross[self.kept] * self.scale[:, None])

    def features(self, features: torch.Tensor) -> torch.Tensor:
        """Turn descriptions (n, d) into the same basis."""
        return (features[:, self.kept] * self.scale) @ self.vectors

    def weights(self, solution: torch.Tensor) -> torch.Tensor:
        """Turn solutions back into weights of the kept features."""
        return self.scale[:, None] * (self.vectors @ solution)


def candidate_errors(pairs: Pairs, folds: torch.Tensor, windows: list[torch.Tensor], penalties: torch.Tensor) -> torch.Tensor:
    """Return the cross-validated squared error, every trial counted, shape (n_windows, n_penalties, v)."""
    errors = torch.zeros(len(windows), len(penalties), pairs.voxels.shape[1])
    for fold in folds.unique():
        held_out = pairs.of(torch.nonzero(folds == fold).squeeze(1)[:_IMAGES_AT_ONCE])
        products = _Products(pairs.of(folds != fold))
        for number, window in enumerate(windows):
            eigen = products.within(window)
            rotated, features = eigen.rotate(products.cross), eigen.features(held_out.features)
            for order, penalty in enumerate(penalties):
                misses = held_out.voxels - features @ (rotated / (eigen.values[:, None] + penalty))
                errors[number, order] += held_out.counts @ misses**2
    return errors


@dataclass(frozen=True)
class Candidates:
    """The windows and penalties that each voxel's weights are averaged over.

    Attributes
    ----------
    windows, penalties : Tensor, shape (n_candidates, v), int64
        Numbers, the best first.
    shares : Tensor, shape (n_candidates, v)
        Of sum 1.
    """

    windows: torch.Tensor
    penalties: torch.Tensor
    shares: torch.Tensor

    @classmethod
    def of(cls, errors: torch.Tensor, n_trials: float) -> "Candidates":
        """Weigh candidates, given `candidate_errors`, by the likelihood of Gaussian noise of the variance that the best one leaves."""
        flat = errors.flatten(0, 1)  # (n_windows * n_penalties, v)
        best = flat.min(0).values.clamp(min=1e-12)
        shares, numbers = torch.softmax(n_trials * (best - flat) / (2 * best), dim=0).topk(min(_CANDIDATES, len(flat)), dim=0)
        n_penalties = errors.shape[1]
        return cls(numbers // n_penalties, numbers % n_penalties, shares / shares.sum(0))


def fit_candidates(pairs: Pairs, windows: list[torch.Tensor], penalties: torch.Tensor, candidates: Candidates) -> torch.Tensor:
    """Return the encoding weights (d, v), averaged over each voxel's candidates."""
    products = _Products(pairs)
    weights = torch.zeros_like(products.cross)
    for number in candidates.windows.unique():
        chosen = candidates.windows == number  # (n_candidates, v)
        voxels = torch.nonzero(chosen.any(0)).squeeze(1)
        eigen = products.within(windows[int(number)])
        rotated = eigen.rotate(products.cross[:, voxels])
        solution = torch.zeros_like(rotated)
        for place in range(len(chosen)):
            mine = chosen[place, voxels]
            penalty, share = penalties[candidates.penalties[place, voxels[mine]]], candidates.shares[place, voxels[mine]]
            solution[:, mine] += share * rotated[:, mine] / (eigen.values[:, None] + penalty)
        weights[eigen.kept[:, None], voxels] += eigen.weights(solution)
    return weights


@dataclass(frozen=True)
class ForwardModel:
    """From descriptions to voxels.

    Attributes
    ----------
    weights : Tensor, shape (d, v)
    candidates : Candidates
    residual : Tensor, shape (n, v)
        What models of other folds leave of averaged responses.
    counts : Tensor, shape (n,)
        Trials that were averaged.
    """

    weights: torch.Tensor
    candidates: Candidates
    residual: torch.Tensor
    counts: torch.Tensor

    @classmethod
    def fit(cls, pairs: Pairs, folds: torch.Tensor, windows: list[torch.Tensor], penalties: torch.Tensor) -> "ForwardModel":
        """Weigh windows and penalties of each voxel by cross-validation, and fit."""
        errors = candidate_errors(pairs, folds, windows, penalties)
        candidates = Candidates.of(errors, float(pairs.counts.sum()))
        residual = pairs.voxels.clone()
        for fold in folds.unique():
            rows = folds == fold
            residual[rows] -= pairs.features[rows] @ fit_candidates(pairs.of(~rows), windows, penalties, candidates)
        return cls(fit_candidates(pairs, windows, penalties, candidates), candidates, residual, pairs.counts)

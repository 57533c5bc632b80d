"""Encoding model from pictures to voxels: a linear model of each voxel, which sees only a
neighbourhood of the picture.

A picture is described by latent numbers and local contrast energies, each with a place in the
picture. Candidate neighbourhoods (windows) and ridge penalties are compared by cross-validation; a
voxel's weights are the mean over its best candidates, weighted by the likelihood of their
residuals.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch

WINDOW_CUT = 0.03  # a window is cut where it has fallen to this share of its peak
_IMAGES_JUDGED = 600  # per fold: more would cost time at NSD's size and change little
_SMALLEST_SHARE = 1e-12
_CANDIDATES = 8  # averaged for a voxel's weights


@dataclass(frozen=True)
class Pairs:
    """Centred descriptions (n, d) and averaged voxels (n, v) of training images, and how many
    trials were averaged (n,).
    """

    features: torch.Tensor
    voxels: torch.Tensor
    counts: torch.Tensor

    @classmethod
    def centred(
        cls, features: torch.Tensor, voxels: torch.Tensor, counts: torch.Tensor
    ) -> tuple["Pairs", torch.Tensor]:
        """Take centred descriptions, and voxels less their mean over trials, which is returned too,
        shape (v,); changes ``voxels``.
        """
        mean = (counts @ voxels) / counts.sum()
        return cls(features, voxels.sub_(mean), counts), mean

    def of(self, rows: torch.Tensor) -> "Pairs":
        """Take some images, rows of shape (n,)."""
        return Pairs(self.features[rows], self.voxels[rows], self.counts[rows])


def make_windows(
    grids: list[tuple[int, int, int]], sizes: list[float], *, spacing: float = 1
) -> Iterator[torch.Tensor]:
    """Yield candidate windows, shape (d,), with values up to 1: the whole picture, then Gaussians
    of each size.

    Parameters
    ----------
    grids : list of (channels, height, width)
        Grid of each part of a description, in order; each covers the whole picture.
    sizes : list of float
        SDs in cells of the first grid.
    spacing : float
        Distance between centres, in SDs; at least 2 cells.
    """
    _, height, width = grids[0]
    yield torch.cat([torch.ones(channels * rows * columns) for channels, rows, columns in grids])
    for size in sizes:
        step = max(2.0, spacing * size)
        for row, column in product(
            *(torch.arange((step - 1) / 2, extent, step).tolist() for extent in (height, width))
        ):
            yield torch.cat(
                [
                    _window(grid, row, column, size, height / grid[1], width / grid[2])
                    for grid in grids
                ]
            )


def _window(
    grid: tuple[int, int, int],
    row: float,
    column: float,
    size: float,
    row_step: float,
    column_step: float,
) -> torch.Tensor:
    channels, height, width = grid
    rows = ((torch.arange(height) + 0.5) * row_step - 0.5 - row)[:, None]
    columns = ((torch.arange(width) + 0.5) * column_step - 0.5 - column)[None]
    return torch.exp(-(rows**2 + columns**2) / (2 * size**2)).flatten().repeat(channels)


def shares_of(evidence: torch.Tensor) -> torch.Tensor:
    """Return the probability of each candidate (n, ...) from its log evidence.

    Shares too small to matter become 0: processors take a hundred times as long with numbers below
    the smallest normal one.
    """
    shares = torch.softmax(evidence, 0)
    return torch.where(shares > _SMALLEST_SHARE, shares, 0)


class Regressions:
    """Ridge regressions of voxels on the same images, within any window and with any penalty.

    Trials have equal weight, not images: rows are multiplied by the root of their trial count.
    """

    def __init__(self, pairs: Pairs) -> None:
        self.features = pairs.features * pairs.counts.sqrt()[:, None]  # (n, d)
        self.voxels = pairs.voxels * pairs.counts.sqrt()[:, None]  # (n, v)
        self.is_tall = len(self.features) >= self.features.shape[1] // 4
        if self.is_tall:
            self.gram, self.cross = self.features.T @ self.features, self.features.T @ self.voxels

    def within(self, window: torch.Tensor) -> "Equations":
        """Scale the features by a window: they are penalised where it is low."""
        kept = torch.nonzero(window > WINDOW_CUT).squeeze(1)
        scale = window[kept]
        if self.is_tall and len(kept) <= len(self.features):
            return Equations(
                kept,
                scale,
                self.gram[kept][:, kept] * scale[:, None] * scale,
                None,
                self.cross[kept] * scale[:, None],
            )
        features = self.features[:, kept] * scale
        return Equations(kept, scale, features @ features.T, features, self.voxels)


@dataclass(frozen=True)
class Equations:
    """The normal equations within a window: over features, or over images if there are fewer.

    Attributes
    ----------
    kept : Tensor, shape (k,), int64
        Indices of the features inside the window.
    scale : Tensor, shape (k,)
    gram : Tensor, shape (k, k) or (n, n)
    features : Tensor, shape (n, k), or None
        Scaled features; only if the equations are over images.
    right : Tensor, shape (k, v) or (n, v)
    """

    kept: torch.Tensor
    scale: torch.Tensor
    gram: torch.Tensor
    features: torch.Tensor | None
    right: torch.Tensor

    def predictions(
        self, features: torch.Tensor, penalties: torch.Tensor
    ) -> Iterator[torch.Tensor]:
        """Yield the predicted responses of all voxels, shape (m, v), for each penalty.

        The Gram matrix is decomposed once; each penalty then costs one product.

        Parameters
        ----------
        features : Tensor, shape (m, d)
            Features of other images.
        penalties : Tensor, shape (n_penalties,)
        """
        lengths, axes = torch.linalg.eigh(self.gram)
        scaled = features[:, self.kept] * self.scale
        left = scaled @ (axes if self.features is None else self.features.T @ axes)
        right = axes.T @ self.right
        for penalty in penalties:
            yield (left / (lengths.clamp(min=0) + penalty)) @ right

    def solve(self, penalty: float, voxels: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """Return the weights (k, v) of some voxels."""
        matrix = self.gram.clone()
        matrix.diagonal().add_(penalty)
        solution = torch.cholesky_solve(self.right[:, voxels], torch.linalg.cholesky(matrix))
        return self.scale[:, None] * (
            solution if self.features is None else self.features.T @ solution
        )


def candidate_errors(
    pairs: Pairs, folds: torch.Tensor, windows: list[torch.Tensor], penalties: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """Return the cross-validated squared error, summed over trials, shape (n_windows,
    n_penalties, v), and the number of trials.
    """
    n_trials = 0.0
    errors = torch.zeros(len(windows), len(penalties), pairs.voxels.shape[1])
    for fold in folds.unique():
        held_out = pairs.of(torch.nonzero(folds == fold).squeeze(1)[:_IMAGES_JUDGED])
        n_trials += float(held_out.counts.sum())
        regressions = Regressions(pairs.of(folds != fold))
        for number, window in enumerate(windows):
            predicted = regressions.within(window).predictions(held_out.features, penalties)
            for order, voxels in enumerate(predicted):
                errors[number, order] += held_out.counts @ (held_out.voxels - voxels) ** 2
    return errors, n_trials


@dataclass(frozen=True)
class Candidates:
    """The windows and penalties that each voxel's weights are averaged over.

    Attributes
    ----------
    windows, penalties : Tensor, shape (n_candidates, v), int64
        Indices of windows and penalties, the best candidate first.
    shares : Tensor, shape (n_candidates, v)
        Weight of each candidate; the shares of a voxel sum to 1.
    """

    windows: torch.Tensor
    penalties: torch.Tensor
    shares: torch.Tensor

    @classmethod
    def of(cls, errors: torch.Tensor, n_trials: float) -> "Candidates":
        """Weight candidates, given `candidate_errors`, by their likelihood under Gaussian noise
        with the residual variance of the best one.
        """
        flat = errors.flatten(0, 1)  # (n_windows * n_penalties, v)
        best = flat.min(0).values.clamp(min=1e-12)
        shares, numbers = torch.softmax(n_trials * (best - flat) / (2 * best), dim=0).topk(
            min(_CANDIDATES, len(flat)), dim=0
        )
        n_penalties = errors.shape[1]
        return cls(numbers // n_penalties, numbers % n_penalties, shares / shares.sum(0))


def fit_candidates(
    pairs: Pairs, windows: list[torch.Tensor], penalties: torch.Tensor, candidates: Candidates
) -> torch.Tensor:
    """Return the encoding weights (d, v), averaged over each voxel's candidates."""
    regressions = Regressions(pairs)
    weights = torch.zeros(pairs.features.shape[1], pairs.voxels.shape[1])
    for number in candidates.windows.unique().tolist():
        regression = regressions.within(windows[number])
        for order, penalty in enumerate(penalties.tolist()):
            chosen = (candidates.windows == number) & (
                candidates.penalties == order
            )  # (n_candidates, v)
            if len(voxels := torch.nonzero(chosen.any(0)).squeeze(1)):
                share = (candidates.shares * chosen).sum(0)[voxels]
                weights[regression.kept[:, None], voxels] += share * regression.solve(
                    penalty, voxels
                )
    return weights


@dataclass(frozen=True)
class ForwardModel:
    """Linear model from descriptions to voxels.

    Attributes
    ----------
    weights : Tensor, shape (d, v)
    residual : Tensor, shape (n, v)
        Residuals of averaged responses under models fitted on the other folds.
    counts : Tensor, shape (n,)
        Number of trials averaged for each image.
    windowed_share : float
        Share of the voxels' weights that see less than the whole picture.
    """

    weights: torch.Tensor
    residual: torch.Tensor
    counts: torch.Tensor
    windowed_share: float

    @classmethod
    def fit(
        cls, pairs: Pairs, folds: torch.Tensor, windows: list[torch.Tensor], penalties: torch.Tensor
    ) -> "ForwardModel":
        """Weight windows (d,) and penalties for each voxel by cross-validation, and fit; ``folds``
        has shape (n_images,).
        """
        candidates = Candidates.of(*candidate_errors(pairs, folds, windows, penalties))
        residual = pairs.voxels.clone()
        for fold in folds.unique():
            rows = folds == fold
            residual[rows] -= pairs.features[rows] @ fit_candidates(
                pairs.of(~rows), windows, penalties, candidates
            )
        weights = fit_candidates(pairs, windows, penalties, candidates)
        windowed = (candidates.shares * (candidates.windows > 0)).sum(0).mean()
        return cls(weights, residual, pairs.counts, float(windowed))

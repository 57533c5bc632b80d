"""Intervals over images, permutation tests, and corrections for many tests.

The unit is the image, within a subject: pairs of images are not independent, and an interval over
random pools describes only the drawing.
"""

from collections.abc import Mapping

import numpy as np
from scipy.stats import bootstrap

from fmri2img.project.progress import progress

_RESAMPLES_AT_ONCE = 200  # of 8 metrics x 1000 images: 13 MB


def bootstrap_intervals(
    scores: np.ndarray, n_resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Return 95 % intervals of means over images, bias-corrected and accelerated (BCa; Efron 1987,
    doi:10.1080/01621459.1987.10478410).

    Parameters
    ----------
    scores : ndarray, shape (n_metrics, n_images)
        All metrics share the resamples.
    n_resamples : int
    rng : Generator

    Returns
    -------
    ndarray, shape (n_metrics, 2)
        Lower and upper end; both are the mean where all images score the same.
    """
    means = scores.mean(axis=1)
    intervals = np.stack([means, means], axis=1)
    if (varied := np.ptp(scores, axis=1) > 1e-12).any():
        interval = bootstrap(
            (scores[varied],),
            np.mean,
            axis=1,
            n_resamples=n_resamples,
            batch=_RESAMPLES_AT_ONCE,
            method="BCa",
            rng=rng,
        ).confidence_interval
        intervals[varied] = np.stack([interval.low, interval.high], axis=1)
    return intervals


def sign_flip_p(differences: np.ndarray, n_permutations: int, rng: np.random.Generator) -> float:
    """Return the two-sided probability of a mean difference as large as observed if the two models
    were exchangeable for each image.

    ``p = (b + 1) / (m + 1)``, never 0 (Phipson & Smyth 2010, arXiv:1603.05766).

    Parameters
    ----------
    differences : ndarray, shape (n_images,)
        Score of one model minus that of the other, on the same images.
    n_permutations : int
        How many sets of signs are drawn.
    rng : Generator
        Draws them.

    Returns
    -------
    float
        From ``1 / (n_permutations + 1)`` to 1.
    """
    observed = abs(differences.sum())
    reached = 0
    for start in range(0, n_permutations, _RESAMPLES_AT_ONCE):
        n_drawn = min(_RESAMPLES_AT_ONCE, n_permutations - start)
        signs = rng.integers(2, size=(n_drawn, len(differences)), dtype=np.int8) * 2.0 - 1
        # Rounding must not turn a tie into a miss.
        reached += int((np.abs(signs @ differences) >= observed * (1 - 1e-12)).sum())
    return (reached + 1) / (n_permutations + 1)


def permutation_p(
    tables: Mapping[str, np.ndarray], n_permutations: int, rng: np.random.Generator
) -> dict[str, float]:
    """Return the probability of mean scores as high as observed if predictions were paired with
    images at random.

    ``p = (b + 1) / (m + 1)``, never 0 (Phipson & Smyth 2010, arXiv:1603.05766). All metrics share
    the permutations.

    Parameters
    ----------
    tables : mapping of str to ndarray, shape (n, n)
        Metric to the score of each prediction (columns) if each image (rows) were the right one;
        higher is better.
    n_permutations : int
        How many pairings are drawn.
    rng : Generator
        Draws them.

    Returns
    -------
    dict of str to float
        Metric to p.
    """
    n_images = len(next(iter(tables.values())))
    columns = np.arange(n_images)
    observed = {metric: np.diag(table).mean() for metric, table in tables.items()}
    reached = dict.fromkeys(tables, 0)
    drawing = progress(f"permutations, {_RESAMPLES_AT_ONCE} at a time")
    for start in drawing(range(0, n_permutations, _RESAMPLES_AT_ONCE)):
        n_drawn = min(_RESAMPLES_AT_ONCE, n_permutations - start)
        paired = np.stack([rng.permutation(n_images) for _ in range(n_drawn)])
        for metric, table in tables.items():
            reached[metric] += int((table[paired, columns].mean(axis=1) >= observed[metric]).sum())
    return {metric: (count + 1) / (n_permutations + 1) for metric, count in reached.items()}


def p_text(value: float) -> str:
    """Return a p-value with four digits after the point; five where these would say 0.000x."""
    return f"{value:.4f}" if value >= 0.001 else f"{value:.5f}"


def too_few_resamples(n_tests: int, n_resamples: int, setting: str) -> str:
    """Say that so many tests cannot reach .05 after Holm's correction, if that is so; else empty.

    The smallest p is 1 / (n_resamples + 1), and the correction multiplies it by the number of
    tests.
    """
    if n_tests <= 0.05 * (n_resamples + 1):
        return ""
    return (
        f"With {n_tests} tests and {n_resamples} resamples no p can fall below "
        f"{min(1.0, n_tests / (n_resamples + 1)):.3f}, so this list cannot tell which scores "
        f"differ; {setting} at least {20 * n_tests}."
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values adjusted for multiple tests by Holm's step-down procedure (1979), which keeps
    the family-wise error below the level.

    Parameters
    ----------
    p_values : mapping of str to float
        Test to p; all tests of the family.

    Returns
    -------
    dict of str to float
        Test to adjusted p, in the same order.
    """
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, (name, value) in enumerate(ordered):
        highest = max(highest, min(1.0, value * (len(ordered) - rank)))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}

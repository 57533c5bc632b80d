"""Intervals over images and permutation tests."""

import numpy as np


def bootstrap_interval(scores: np.ndarray, n_resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean, resampling images.

    Parameters
    ----------
    scores : ndarray, shape (n_images,)
    n_resamples : int
    rng : Generator

    Returns
    -------
    tuple of float
        Lower and upper end.
    """
    chosen = rng.integers(len(scores), size=(n_resamples, len(scores)))
    low, high = np.percentile(scores[chosen].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def permutation_p(similarity: np.ndarray, n_permutations: int, rng: np.random.Generator) -> float:
    """Return the chance of a mean similarity as high as observed, were predictions paired with images at random.

    ``p = (b + 1) / (m + 1)``, never 0 (Phipson & Smyth 2010, arXiv:1603.05766).

    Parameters
    ----------
    similarity : ndarray, shape (n, n)
        Rows are truth, columns predictions.
    n_permutations : int
    rng : Generator

    Returns
    -------
    float
        0 to 1.
    """
    observed = np.diag(similarity).mean()
    columns = np.arange(len(similarity))
    reached = sum(similarity[rng.permutation(columns), columns].mean() >= observed for _ in range(n_permutations))
    return (int(reached) + 1) / (n_permutations + 1)

"""Scores of predicted latents: per image, per latent number, and how far predictions shrink."""

import numpy as np

from fmri2img.evaluation.correlation import row_correlations
from fmri2img.evaluation.identification import (
    similarity_matrix,
    two_way_identification,
    two_way_table,
)
from fmri2img.evaluation.metrics.declaration import Family, FamilyScores, Metric
from fmri2img.evaluation.predictions import Predictions, TestTruth
from fmri2img.evaluation.presets import Preset
from fmri2img.evaluation.read_outs import Networks

PATTERN = Metric(
    name="pattern_correlation",
    title="latent pattern r",
    short="latent r",
    unit="correlation over the latent",
    chance=0.0,
    space="latents",
    level="headline",
)
DIMENSION = Metric(
    name="dimension_correlation",
    title="latent dimension r",
    chance=0.0,
    space="latents",
    of_each_image=False,
)
TWO_WAY = Metric(
    name="two_way",
    title="latent 2-way",
    unit="share of other images",
    chance=0.5,
    space="latents",
    level="headline",
)
_FIXED_TRUTH = TWO_WAY.variant("two_way_ground_truth", f"{TWO_WAY.title}, fixed truth")
_SCALED = PATTERN.variant("pattern_correlation_scaled", f"{PATTERN.title}, z-scored")


def pattern_correlations(
    truth: np.ndarray,
    predicted: np.ndarray,
    train_mean: np.ndarray,
    train_sd: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Return the correlation over latent numbers, per image, after subtracting the training mean
    and dividing by the training SD, if given.

    Without centring, the mean latent alone would score high; without dividing, numbers that vary
    most count most, as in the loss.

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, d)
    train_mean : ndarray, shape (d,)
    train_sd : ndarray, shape (d,), or 1

    Returns
    -------
    ndarray, shape (n,)
        0 for a prediction that equals the training mean.
    """
    return row_correlations((truth - train_mean) / train_sd, (predicted - train_mean) / train_sd)


def dimension_correlations(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the correlation over images of each latent number (the "profile"), shape (d,); 0
    where the prediction is constant.
    """
    return row_correlations(truth.T, predicted.T)


def latent_summary(
    truth: np.ndarray, predicted: np.ndarray, train_mean: np.ndarray
) -> dict[str, float]:
    """Return numbers that describe the predicted latents as a whole.

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, d)
        In scaled units (times 0.18215 for Stable Diffusion 1.x).
    train_mean : ndarray, shape (d,)

    Returns
    -------
    dict of str to float
        ``dimension_correlation``: mean over latent numbers. ``r2_mean``, ``r2_weighted``: 1 -
        squared error / squared error of the training mean, averaged over latent numbers, plainly
        and weighted by variance. ``mse``, ``mae``: in scaled units. ``mse_relative``,
        ``mae_relative``: relative to predicting the training mean. ``spread_ratio``: median over
        latent numbers of SD(prediction) / SD(truth), below 1 for predictions that shrink.
        ``slope``: of truth on prediction over all numbers, after centring; 1 is calibrated.
    """
    error, baseline = truth - predicted, truth - train_mean
    squared, squared_baseline = (error**2).sum(axis=0), (baseline**2).sum(axis=0)
    centred = predicted - predicted.mean(axis=0)
    spread = float((centred**2).sum())
    # Centring a constant prediction leaves only rounding error, which is not signal.
    varies = spread > 1e-12 * squared_baseline.sum()
    return {
        DIMENSION.name: float(dimension_correlations(truth, predicted).mean()),
        "r2_mean": float((1 - squared / squared_baseline).mean()),
        "r2_weighted": float(1 - squared.sum() / squared_baseline.sum()),
        "mse": float((error**2).mean()),
        "mae": float(np.abs(error).mean()),
        "mse_relative": float((error**2).mean() / (baseline**2).mean()),
        "mae_relative": float(np.abs(error).mean() / np.abs(baseline).mean()),
        "spread_ratio": float(np.median(predicted.std(axis=0) / truth.std(axis=0))),
        "slope": float((centred * (truth - truth.mean(axis=0))).sum() / spread) if varies else 0.0,
    }


def resampled_dimension_correlation(
    truth: np.ndarray, predicted: np.ndarray, n_resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the mean correlation per latent number for images drawn with replacement, shape
    (n_resamples,).

    The score is not a mean over images, so images are weighted by how often they are drawn.

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, d)
    n_resamples : int
    rng : Generator
    """
    n_images = len(truth)
    truth, predicted = (
        np.asarray(values - values.mean(axis=0), dtype=np.float32) for values in (truth, predicted)
    )
    means = []
    for start in range(0, n_resamples, 500):
        counts = (
            rng.multinomial(
                n_images, np.full(n_images, 1 / n_images), size=min(500, n_resamples - start)
            ).astype(np.float32)
            / n_images
        )
        mean_1, mean_2 = counts @ truth, counts @ predicted
        variance_1, variance_2 = counts @ truth**2 - mean_1**2, counts @ predicted**2 - mean_2**2
        covariance = counts @ (truth * predicted) - mean_1 * mean_2
        product = variance_1 * variance_2
        defined = product > 1e-12
        means.append(
            np.where(defined, covariance / np.sqrt(np.where(defined, product, 1)), 0).mean(axis=1)
        )
    return np.concatenate(means)


def latent_scores(
    truth: np.ndarray, predicted: np.ndarray, train_mean: np.ndarray, train_sd: np.ndarray
) -> dict[str, np.ndarray]:
    """Return pattern correlations and two-way identification, both directions, centred on the
    training mean; each of shape (n,).

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, d)
    train_mean, train_sd : ndarray, shape (d,)
    """
    scores = {
        PATTERN.name: pattern_correlations(truth, predicted, train_mean),
        _SCALED.name: pattern_correlations(truth, predicted, train_mean, train_sd),
    }
    if np.allclose(predicted, train_mean):  # after centring, nothing is left to identify
        return scores
    similarity = similarity_matrix(truth - train_mean, predicted - train_mean)
    fixed_truth = two_way_identification(similarity, "ground_truth")
    return scores | {
        TWO_WAY.name: two_way_identification(similarity),
        _FIXED_TRUTH.name: fixed_truth,
    }


def score_latents(
    truth: TestTruth, predictions: Predictions, networks: Networks, preset: Preset
) -> FamilyScores:
    """Score the rows that have latents."""
    del networks, preset
    rows = predictions.latents
    tables = {}
    for row in (row for row in predictions.tested if row in rows):
        similarity = similarity_matrix(
            truth.latents - truth.train_mean, rows[row] - truth.train_mean
        )
        tables[row] = {PATTERN.name: similarity, TWO_WAY.name: two_way_table(similarity)}
    return FamilyScores(
        {
            row: latent_scores(truth.latents, values, truth.train_mean, truth.train_sd)
            for row, values in rows.items()
        },
        {
            row: {DIMENSION.name: float(dimension_correlations(truth.latents, values).mean())}
            for row, values in rows.items()
        },
        tables,
    )


FAMILY = Family(
    metrics=(PATTERN, DIMENSION, TWO_WAY, _FIXED_TRUTH, _SCALED), score=score_latents, place=2
)

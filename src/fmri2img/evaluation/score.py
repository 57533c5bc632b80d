"""All scores of one encoder on the test images, each beside its floors and the autoencoder's ceiling."""

from dataclasses import dataclass

import numpy as np

from fmri2img.evaluation.inference import bootstrap_interval, permutation_p
from fmri2img.evaluation.latents import (
    dimension_correlations,
    pattern_correlations,
    similarity_matrix,
    two_way_identification,
)
from fmri2img.evaluation.pixels import enlarge, similarity_of_moments, ssim_moments, unit_rows

METRICS = ("pixcorr", "ssim", "pattern_correlation", "dimension_correlation", "two_way")
# Predictors that know nothing of the test trials, then what the autoencoder alone would reach.
FLOORS = ("grey", "train_mean", "mean_latent", "shuffled")
CEILING = "vae_ceiling"
_BATCH = 32  # pictures of 425 x 425 take 70 MB


@dataclass(frozen=True)
class TestSet:
    """Truth and predictions of the test images, in the same order.

    Attributes
    ----------
    images, predicted_images, ceiling_images : ndarray, shape (n, side, side, 3), uint8
    latents, predicted_latents : ndarray, shape (n, 4, h, w)
    train_mean_image, mean_decoded : ndarray, shape (side, side, 3), uint8
        Mean over training images; decoded mean of their latents.
    train_mean_latent : ndarray, shape (4, h, w)
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    images: np.ndarray
    predicted_images: np.ndarray
    ceiling_images: np.ndarray
    latents: np.ndarray
    predicted_latents: np.ndarray
    train_mean_image: np.ndarray
    mean_decoded: np.ndarray
    train_mean_latent: np.ndarray


@dataclass(frozen=True)
class Scores:
    """What `score_test_set` found.

    Attributes
    ----------
    means : dict of str to dict of str to float
        Row (``model``, floors, ceiling) to metric to mean over images.
    intervals : dict of str to tuple
        95 % bootstrap interval over images of each of the model's metrics.
    p_values : dict of str to float
        Permutation p of the model's metrics.
    per_image : dict of str to ndarray, shape (n,)
        The model's scores of each image.
    """

    means: dict[str, dict[str, float]]
    intervals: dict[str, tuple[float, float]]
    p_values: dict[str, float]
    per_image: dict[str, np.ndarray]


def score_test_set(test: TestSet, *, image_size: int, n_permutations: int, n_bootstrap: int, seed: int) -> Scores:
    """Score an encoder.

    Parameters
    ----------
    test : TestSet
    image_size : int
        Side in pixels at which pictures are compared; 425 is NSD's.
    n_permutations, n_bootstrap : int
    seed : int

    Returns
    -------
    Scores
    """
    rng = np.random.default_rng(seed)
    shuffle = _derangement(len(test.images), rng)
    n_images, side = test.images.shape[:2]
    # A single picture stands for a prediction that is the same for all images.
    pictures = {
        "model": test.predicted_images,
        "grey": np.full((1, side, side, 3), 128, np.uint8),
        "train_mean": test.train_mean_image[None],
        "mean_latent": test.mean_decoded[None],
        "shuffled": test.predicted_images[shuffle],
        CEILING: test.ceiling_images,
    }
    flat = test.predicted_latents.reshape(n_images, -1)
    mean_latent = test.train_mean_latent.reshape(-1)
    # Grey and mean picture are not latents: among latents, only the mean and the shuffled ones are floors.
    latents = {
        "model": flat,
        "mean_latent": np.broadcast_to(mean_latent, flat.shape),
        "shuffled": flat[shuffle],
        CEILING: test.latents.reshape(n_images, -1),
    }
    truth = test.latents.reshape(n_images, -1)
    per_image = _picture_scores(test.images, pictures, image_size)
    for row, values in latents.items():
        per_image[row] |= _latent_scores(truth, values, mean_latent)
    means = {row: {metric: float(scores.mean()) for metric, scores in found.items()} for row, found in per_image.items()}
    for row, values in latents.items():
        means[row]["dimension_correlation"] = float(dimension_correlations(truth, values).mean())
    model = per_image["model"]
    intervals = {metric: bootstrap_interval(scores, n_bootstrap, rng) for metric, scores in model.items()}
    intervals["dimension_correlation"] = _resampled_dimensions(truth, flat, min(n_bootstrap, 500), rng)
    similarity = similarity_matrix(truth, flat, mean_latent)
    pixels = unit_rows(test.images.reshape(n_images, -1)) @ unit_rows(test.predicted_images.reshape(n_images, -1)).T
    p_values = {
        "pixcorr": permutation_p(pixels, n_permutations, rng),
        "pattern_correlation": permutation_p(similarity, n_permutations, rng),
    }
    return Scores(means, intervals, p_values, model)


def _derangement(n_images: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random order in which no image keeps its place, shape (n,)."""
    order = rng.permutation(n_images)
    shuffled = np.empty(n_images, dtype=np.int64)
    shuffled[order] = np.roll(order, 1)
    return shuffled


def _picture_scores(truth: np.ndarray, pictures: dict[str, np.ndarray], image_size: int) -> dict[str, dict[str, np.ndarray]]:
    """Return PixCorr and SSIM of each image for every row; what concerns the truth alone is computed once."""
    found: dict[str, dict[str, list]] = {row: {"pixcorr": [], "ssim": []} for row in pictures}
    for start in range(0, len(truth), _BATCH):
        seen = enlarge(truth[start : start + _BATCH], image_size)
        unit, moments = unit_rows(seen.reshape(len(seen), -1)), ssim_moments(seen)
        for row, images in pictures.items():
            shown = enlarge(images if len(images) == 1 else images[start : start + _BATCH], image_size)
            found[row]["pixcorr"].append((unit * unit_rows(shown.reshape(len(shown), -1))).sum(axis=1))
            found[row]["ssim"].append(similarity_of_moments(moments, ssim_moments(shown)))
    return {row: {metric: np.concatenate(parts) for metric, parts in scores.items()} for row, scores in found.items()}


def _latent_scores(truth: np.ndarray, predicted: np.ndarray, train_mean: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "pattern_correlation": pattern_correlations(truth, predicted, train_mean),
        "two_way": two_way_identification(similarity_matrix(truth, predicted, train_mean)),
    }


def _resampled_dimensions(truth: np.ndarray, predicted: np.ndarray, n_resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """Bootstrap the mean correlation per latent number over images; it is no mean of per-image scores."""
    means = []
    for _ in range(n_resamples):
        rows = rng.integers(len(truth), size=len(truth))
        means.append(dimension_correlations(truth[rows], predicted[rows]).mean())
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)

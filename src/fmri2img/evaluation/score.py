"""All scores of one encoder on the test images, each beside its floors and the autoencoder's ceiling."""

from dataclasses import dataclass

import numpy as np

from fmri2img.evaluation.identification import similarity_matrix, two_way_identification, two_way_table
from fmri2img.evaluation.inference import bootstrap_intervals, permutation_p
from fmri2img.evaluation.latents import dimension_correlations, pattern_correlations, resampled_dimension_correlation
from fmri2img.evaluation.pixels import PRESETS, score_pictures

METRICS = ("pixcorr", "ssim", "pattern_correlation", "dimension_correlation", "two_way")
# Predictors that know nothing of the test trials, then what the autoencoder alone would reach.
FLOORS = ("grey", "train_mean", "mean_latent", "shuffled")
CEILING = "vae_ceiling"


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
        95 % BCa bootstrap interval over images of each of the model's metrics; percentile for ``dimension_correlation``.
    p_values : dict of str to float
        Permutation p of the model's metrics.
    per_image : dict of str to ndarray, shape (n,)
        The model's scores of each image.
    """

    means: dict[str, dict[str, float]]
    intervals: dict[str, tuple[float, float]]
    p_values: dict[str, float]
    per_image: dict[str, np.ndarray]


def score_test_set(test: TestSet, *, preset: str, n_permutations: int, n_bootstrap: int, seed: int) -> Scores:
    """Score an encoder.

    Parameters
    ----------
    test : TestSet
    preset : str
        How pictures are brought to 425 x 425: a key of `pixels.PRESETS`.
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
    found = score_pictures(test.images, pictures, PRESETS[preset].bring)
    per_image = {row: {metric: found[row][metric] for metric in ("pixcorr", "ssim")} for row in pictures}
    for row, values in latents.items():
        per_image[row] |= _latent_scores(truth, values, mean_latent)
    means = {row: {metric: float(scores.mean()) for metric, scores in found.items()} for row, found in per_image.items()}
    for row, values in latents.items():
        means[row]["dimension_correlation"] = float(dimension_correlations(truth, values).mean())
    model = per_image["model"]
    ends = bootstrap_intervals(np.stack(list(model.values())), n_bootstrap, rng)
    intervals = {metric: (float(low), float(high)) for metric, (low, high) in zip(model, ends, strict=True)}
    low, high = np.percentile(resampled_dimension_correlation(truth, flat, n_bootstrap, rng), (2.5, 97.5))
    intervals["dimension_correlation"] = (float(low), float(high))
    similarity = similarity_matrix(truth - mean_latent, flat - mean_latent)
    tables = {
        # On pictures as they are: at 425 x 425 all pairs would take a hundred times as long.
        "pixcorr": similarity_matrix(test.images.reshape(n_images, -1), test.predicted_images.reshape(n_images, -1)),
        "pattern_correlation": similarity,
        "two_way": two_way_table(similarity),
    }
    return Scores(means, intervals, permutation_p(tables, n_permutations, rng), model)


def _derangement(n_images: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random order in which no image keeps its place, shape (n,)."""
    order = rng.permutation(n_images)
    shuffled = np.empty(n_images, dtype=np.int64)
    shuffled[order] = np.roll(order, 1)
    return shuffled


def _latent_scores(truth: np.ndarray, predicted: np.ndarray, train_mean: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "pattern_correlation": pattern_correlations(truth, predicted, train_mean),
        "two_way": two_way_identification(similarity_matrix(truth - train_mean, predicted - train_mean)),
    }

"""Results of scoring: of rows, of one encoder, and of encoders that steer Stable Diffusion."""

from dataclasses import dataclass

import numpy as np

from fmri2img.evaluation.inference import bootstrap_intervals


@dataclass(frozen=True)
class RowScores:
    """Scores of several rows.

    Attributes
    ----------
    per_image : dict of str to dict of str to ndarray, shape (n,)
        Row to metric to scores of each image.
    means : dict of str to dict of str to float
        Row to metric to mean over images, including metrics without a score per image.
    tables : dict of str to dict of str to ndarray, shape (n, n)
        Row to metric to the score of every pairing, for permutation tests; only for the model.
    absent : dict of str to str
        Metric to the reason why it was not computed.
    weights : dict of str to str
        Weight file of a network to its SHA-256.
    """

    per_image: dict[str, dict[str, np.ndarray]]
    means: dict[str, dict[str, float]]
    tables: dict[str, dict[str, np.ndarray]]
    absent: dict[str, str]
    weights: dict[str, str]

    def intervals(
        self, n_resamples: int, rng: np.random.Generator
    ) -> dict[str, dict[str, tuple[float, float]]]:
        """Return 95 % BCa intervals over images, by row and metric."""
        ends = {
            row: bootstrap_intervals(np.stack(list(metrics.values())), n_resamples, rng)
            for row, metrics in self.per_image.items()
        }
        return {
            row: {
                metric: (float(low), float(high))
                for metric, (low, high) in zip(self.per_image[row], pairs, strict=True)
            }
            for row, pairs in ends.items()
        }


@dataclass(frozen=True)
class Scores:
    """Result of `score_model`.

    Attributes
    ----------
    rows : RowScores
        Scores of the rows that depend on the encoder.
    intervals : dict of str to dict of str to tuple
        95 % intervals by row and metric: BCa bootstrap over images, or percentile for the
        correlation of latent numbers, which only the model has.
    p_values : dict of str to float
        Permutation p of the model's metrics.
    latent : dict of str to float
        `latent_metrics.latent_summary` of the model, ``reliability``, and ``error_over_stated``:
        the RMS error over the one that the encoder states, if it states one; 1 is calibrated, above
        1 is overconfident.
    retrieval : dict of str to dict of str to float
        Retrieval scores in latents, ``raw`` and ``centred`` on the training mean.
    repetitions : dict of int to dict of str to float
        Number of averaged repetitions to metric.
    seeds : dict of str to list of float
        Metric to its mean over images, for the encoder and for those trained with other seeds;
        empty if there are none.
    brain : dict of str to dict of str to dict of str to float
        `brain.score_responses` of ``Parts.seen_again``.
    brain_of_images : ndarray, shape (m,)
        `brain.image_correlations` of the encoder, for the images of ``TestTruth.responses``.
    profile : ndarray, shape (d,), or None
        Correlation over images of each latent number; None for an encoder that predicts no
        latents, whose ``latent`` and ``retrieval`` are empty.
    n_constant : int
        Number of reconstructions of a single grey; their PixCorr counts as 0.
    """

    rows: RowScores
    intervals: dict[str, dict[str, tuple[float, float]]]
    p_values: dict[str, float]
    latent: dict[str, float]
    retrieval: dict[str, dict[str, float]]
    repetitions: dict[int, dict[str, float]]
    seeds: dict[str, list[float]]
    brain: dict[str, dict[str, dict[str, float]]]
    brain_of_images: np.ndarray
    profile: np.ndarray | None
    n_constant: int


@dataclass(frozen=True)
class Steering:
    """Extra scores of encoders that steer Stable Diffusion.

    Attributes
    ----------
    halves : dict of str to dict of str to float
        Result of `score_halves`.
    samples : dict of str to dict of str to float
        Result of `identify_by_samples`.
    """

    halves: dict[str, dict[str, float]]
    samples: dict[str, dict[str, float]]

"""The encoding model: a ridge regression from latents to voxels, fitted on training images, and how
much of each region's signal it explains.

This direction has a noise ceiling for each voxel (Allen et al. 2022,
doi:10.1038/s41593-021-00962-x). The decoding direction has none: latents are free of noise.
"""

from dataclasses import dataclass

import numpy as np

from fmri2img.containers.encoding_model import EncodingModel
from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.ncsnr import noise_ceiling
from fmri2img.containers.repetitions import average_zscored
from fmri2img.containers.splits import Split
from fmri2img.evaluation.brain import regions_of
from fmri2img.evaluation.correlation import row_correlations
from fmri2img.project.config import FitEncodingModelParams
from fmri2img.project.progress import progress

_VOXELS = 4096  # fitted at a time: a multiple of those that the solver takes at once


def fit_encoding_model(
    examples: Examples, split: Split, latents: Latents, params: FitEncodingModelParams
) -> EncodingModel:
    """Fit a ridge regression to averaged responses to training images, with each voxel's penalty
    chosen by cross-validation over images.

    Parameters
    ----------
    examples, split, latents
        Data of one subject.
    params : FitEncodingModelParams

    Returns
    -------
    EncodingModel
    """
    # Both take half a second to load, and whoever only scores does without.
    from himalaya.ridge import RidgeCV
    from sklearn.model_selection import KFold

    train_ids = split.ids("train")
    trials = examples.trials_of(train_ids)
    responses = average_zscored(examples, trials, trials)
    features = latents.of(train_ids).reshape(len(train_ids), -1)
    latent_mean, response_mean = features.mean(axis=0), responses.mean(axis=0)
    ridge = RidgeCV(
        alphas=np.asarray(params.penalties, dtype=np.float32),
        fit_intercept=False,
        cv=KFold(params.n_folds, shuffle=True, random_state=params.seed),
        solver_params={
            "n_targets_batch": 1024,
            "warn": False,
        },  # with few images the kernel form would save seconds
    )
    fitting = progress("fitting, groups of voxels")
    centred = responses - response_mean
    parts = np.split(centred, range(_VOXELS, centred.shape[1], _VOXELS), axis=1)
    weights = [ridge.fit(features - latent_mean, part).coef_ for part in fitting(parts)]
    return EncodingModel(
        np.concatenate(weights, axis=1).astype(np.float32),
        latent_mean,
        response_mean,
        provenance=examples.provenance,
    )


def ceiling_source(examples: Examples) -> str:
    """Return which ncsnr gives the noise ceilings: the one estimated on images that are not shared,
    if there is one, else the dataset's own, if it ships one.
    """
    if np.isfinite(examples.training_ncsnr).any():
        return "ncsnr estimated on images that are not shared"
    if not np.isfinite(examples.ncsnr).any():
        return (
            "ncsnr: there is none, neither shipped with the dataset nor estimated, so no voxel "
            "counts (extract_betas.recompute_ncsnr estimates it)"
        )
    return (
        "ncsnr shipped with the dataset, estimated from all repetitions including those of test "
        "images (extract_betas.recompute_ncsnr avoids that)"
    )


@dataclass(frozen=True)
class VoxelScores:
    """How much of each voxel's responses to test images an encoding model explains; NaN where
    nothing can be said.

    Attributes
    ----------
    ceiling : ndarray, shape (n_voxels,)
        Noise ceiling in percent of variance, for the test images' numbers of repetitions.
    r2 : ndarray, shape (n_voxels,)
        Percent of variance explained, relative to the training mean.
    correlation : ndarray, shape (n_voxels,)
        Over images.
    """

    ceiling: np.ndarray
    r2: np.ndarray
    correlation: np.ndarray


def score_voxels(
    model: EncodingModel, examples: Examples, split: Split, latents: Latents
) -> VoxelScores:
    """Score each voxel on the test images."""
    test_ids = split.ids("test")
    trials = examples.trials_of(test_ids)
    measured = average_zscored(examples, trials, examples.trials_of(split.ids("train")))
    predicted = model.predict(latents.of(test_ids).reshape(len(test_ids), -1))
    _, shown = np.unique(examples.trial_image_ids[trials], return_counts=True)
    estimated = examples.training_ncsnr
    ceiling = noise_ceiling(estimated if np.isfinite(estimated).any() else examples.ncsnr, shown)
    variance = ((measured - model.response_mean) ** 2).sum(axis=0)
    r2 = 100 * (
        1 - ((measured - predicted) ** 2).sum(axis=0) / np.where(variance > 0, variance, np.nan)
    )
    return VoxelScores(ceiling, r2, row_correlations(measured.T, predicted.T))


def score_encoding_model(
    model: EncodingModel,
    examples: Examples,
    split: Split,
    latents: Latents,
    *,
    min_noise_ceiling: float,
) -> dict[str, dict[str, float]]:
    """Return how much of the responses to test images the model explains in each region, beside the
    noise ceiling; nothing is clipped.

    Parameters
    ----------
    model : EncodingModel
    examples, split, latents
        Data of one subject.
    min_noise_ceiling : float
        Threshold in percent; voxels below it, or without any signal, count only in the median
        ``noise_ceiling``. `ceiling_source` says which ncsnr gives the ceiling.

    Returns
    -------
    dict of str to dict of str to float
        Region to ``n_voxels``; ``noise_ceiling``: median over all its voxels, percent of variance,
        for the test images' numbers of repetitions; ``n_above``: number of voxels that count; and
        medians over these: ``noise_ceiling_above``, ``r2`` (percent, relative to the training
        mean), ``r2_normalized`` (percent of the noise ceiling), ``correlation`` over images,
        ``correlation_normalized`` (divided by the root of the ceiling). Medians over no voxels are
        left out.
    """
    scores = score_voxels(model, examples, split, latents)
    ceiling, r2, correlation = scores.ceiling, scores.r2, scores.correlation
    regions = {}
    for name, voxels in regions_of(examples.roi_names).items():
        known = voxels[np.isfinite(ceiling[voxels])]
        above = known[
            (ceiling[known] >= min_noise_ceiling) & (ceiling[known] > 0) & np.isfinite(r2[known])
        ]
        share = ceiling[above] / 100
        medians = {
            "noise_ceiling": ceiling[known],
            "noise_ceiling_above": ceiling[above],
            "r2": r2[above],
            "r2_normalized": r2[above] / share,
        }
        medians |= {
            "correlation": correlation[above],
            "correlation_normalized": correlation[above] / np.sqrt(share),
        }
        counts = {"n_voxels": float(len(voxels)), "n_above": float(len(above))}
        regions[name] = counts | {
            metric: float(np.median(values)) for metric, values in medians.items() if len(values)
        }
    return regions

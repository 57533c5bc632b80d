"""The brain's side: a model from latents to voxels, how much of each region's signal it explains, and how well it finds responses again.

The encoding direction has a noise ceiling for each voxel (Allen et al. 2022, doi:10.1038/s41593-021-00962-x). The decoding direction has
none: latents are free of noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fmri2img.containers import EncodingModel, Examples, Latents
from fmri2img.evaluation.pixels import row_correlations
from fmri2img.responses.ncsnr import noise_ceiling
from fmri2img.responses.repetitions import average_zscored
from fmri2img.responses.splits import Split

ALL_VOXELS = "all voxels"


def regions_of(examples: Examples) -> dict[str, np.ndarray]:
    """Return the voxels of each region by name, and of all together (`ALL_VOXELS`)."""
    names = np.asarray(examples.roi_names)
    return {ALL_VOXELS: np.arange(examples.n_voxels)} | {str(name): np.flatnonzero(names == name) for name in np.unique(names)}


def score_encoding_model(
    model: EncodingModel, examples: Examples, split: Split, latents: Latents, *, min_noise_ceiling: float
) -> dict[str, dict[str, float]]:
    """Say how much of the test images' responses the model explains in each region, beside what noise allows.

    Nothing is clipped. The noise ceiling comes from the ncsnr that NSD ships, which describes and chooses nothing here; where there is none
    (responses from time series), from the one estimated on images that are not shared.

    Parameters
    ----------
    model : EncodingModel
    examples, split, latents
        The subject's.
    min_noise_ceiling : float
        Percent; voxels below it count in no median but that of the ceiling itself.

    Returns
    -------
    dict of str to dict of str to float
        Region to ``n_voxels``; ``noise_ceiling``: median over voxels, percent of variance, for as many repetitions as the test images have;
        ``n_above``: voxels with at least ``min_noise_ceiling``; over these, medians of ``r2`` (percent, from the training mean),
        ``r2_normalized`` (r2 in percent of the noise ceiling), ``correlation`` over images, ``correlation_normalized`` (over the
        root of the ceiling). Medians of no voxel are left out.
    """
    test_ids = split.ids("test")
    trials = examples.trials_of(test_ids)
    measured = average_zscored(examples, trials, examples.trials_of(split.ids("train")))
    predicted = model.predict(latents.of(test_ids).reshape(len(test_ids), -1))
    _, shown = np.unique(examples.trial_image_ids[trials], return_counts=True)
    ncsnr = np.where(np.isfinite(examples.ncsnr), examples.ncsnr, examples.training_ncsnr)
    ceiling = noise_ceiling(ncsnr, shown)
    r2 = 100 * (1 - ((measured - predicted) ** 2).sum(axis=0) / ((measured - model.response_mean) ** 2).sum(axis=0).clip(min=1e-12))
    correlation = row_correlations(measured.T, predicted.T)
    found = {}
    for name, voxels in regions_of(examples).items():
        known = voxels[np.isfinite(ceiling[voxels])]
        above = known[ceiling[known] >= min_noise_ceiling]
        medians = {"noise_ceiling": ceiling[known]}
        if len(above):
            share = ceiling[above] / 100
            medians |= {"r2": r2[above], "r2_normalized": r2[above] / share}
            medians |= {"correlation": correlation[above], "correlation_normalized": correlation[above] / np.sqrt(share)}
        counts = {"n_voxels": float(len(voxels)), "n_above": float(len(above))}
        found[name] = counts | {metric: float(np.median(values)) for metric, values in medians.items() if len(values)}
    return found


@dataclass(frozen=True)
class MeasuredResponses:
    """Responses to the test images, and the model that predicts them from pictures.

    Attributes
    ----------
    model : EncodingModel
    regions : dict of str to ndarray
        Name to voxels.
    averaged : ndarray, shape (n, n_voxels)
        Over all repetitions of each test image, z-scored by training trials.
    second_ids : ndarray, shape (m,)
        Test images that were shown more than once.
    second : ndarray, shape (m, n_voxels)
        Their second repetition alone.
    """

    model: EncodingModel
    regions: dict[str, np.ndarray]
    averaged: np.ndarray
    second_ids: np.ndarray
    second: np.ndarray

    @classmethod
    def of(cls, model: EncodingModel, examples: Examples, split: Split) -> "MeasuredResponses":
        """Collect from a subject's examples."""
        trials, reference = examples.trials_of(split.ids("test")), examples.trials_of(split.ids("train"))
        ids, starts, shown = np.unique(examples.trial_image_ids[trials], return_index=True, return_counts=True)
        again = trials[starts[shown > 1] + 1]  # trials of an image are in time order
        second = average_zscored(examples, again, reference) if len(again) else np.zeros((0, examples.n_voxels), np.float32)
        return cls(model, regions_of(examples), average_zscored(examples, trials, reference), ids[shown > 1], second)


def brain_correlations(predicted: np.ndarray, measured: np.ndarray, regions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return, for each region, the correlation over its voxels between predicted and measured responses to each picture.

    With responses that the encoding model predicts from *reconstructions*, this scores reconstructions without their truth (MindEye2,
    arXiv:2403.11207, section 3.4, with GNet in place of a linear model).

    Parameters
    ----------
    predicted, measured : ndarray, shape (n, n_voxels)
    regions : mapping of str to ndarray
        Name to voxels; those with fewer than two are left out.

    Returns
    -------
    dict of str to ndarray, shape (n,)
    """
    return {name: row_correlations(measured[:, voxels], predicted[:, voxels]) for name, voxels in regions.items() if len(voxels) > 1}

"""The brain's side: how much of each region's signal the encoding model explains, and whether
reconstructions predict responses.

The encoding direction has a noise ceiling for each voxel (Allen et al. 2022,
doi:10.1038/s41593-021-00962-x). The decoding direction has none: latents are free of noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fmri2img.containers import EncodingModel, Examples, Latents
from fmri2img.evaluation.correlation import row_correlations
from fmri2img.evaluation.inference import bootstrap_intervals
from fmri2img.responses.ncsnr import noise_ceiling
from fmri2img.responses.repetitions import average_zscored
from fmri2img.responses.splits import Split

ALL_VOXELS = "all voxels"


def regions_of(examples: Examples) -> dict[str, np.ndarray]:
    """Return the voxels of each region by name, and of all together (`ALL_VOXELS`), each of shape
    (n,).
    """
    names = np.asarray(examples.roi_names)
    return {ALL_VOXELS: np.arange(examples.n_voxels)} | {
        str(name): np.flatnonzero(names == name) for name in np.unique(names)
    }


def ceiling_source(examples: Examples) -> str:
    """Say which ncsnr gives the noise ceilings: the one estimated on images that are not shared
    if there is one, else the dataset's own.
    """
    if np.isfinite(examples.training_ncsnr).any():
        return "ncsnr estimated on images that are not shared"
    return (
        "ncsnr as the dataset ships it, from all repetitions, those of test images among them "
        "(extract_betas.recompute_ncsnr avoids that)"
    )


def score_encoding_model(
    model: EncodingModel,
    examples: Examples,
    split: Split,
    latents: Latents,
    *,
    min_noise_ceiling: float,
) -> dict[str, dict[str, float]]:
    """Say how much of the test images' responses the model explains in each region, beside what
    noise allows; nothing is clipped.

    Parameters
    ----------
    model : EncodingModel
    examples, split, latents
        The subject's.
    min_noise_ceiling : float
        Percent; voxels below it, and without any signal, count in no median but ``noise_ceiling``.
        The ceiling is that of `ceiling_source`.

    Returns
    -------
    dict of str to dict of str to float
        Region to ``n_voxels``; ``noise_ceiling``: median over all its voxels, percent of variance,
        for as many repetitions as the test images have; ``n_above``: voxels that count; over these,
        medians of ``noise_ceiling_above``, ``r2`` (percent, from the training mean),
        ``r2_normalized`` (percent of the noise ceiling), ``correlation`` over images,
        ``correlation_normalized`` (over the root of the ceiling). Medians of no voxel are left out.
    """
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
    correlation = row_correlations(measured.T, predicted.T)
    regions = {}
    for name, voxels in regions_of(examples).items():
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


@dataclass(frozen=True)
class MeasuredResponses:
    """Responses to the second showing of test images, and the model that predicts them from
    pictures' latents.

    An encoder and the encoding model learn from the same trials. Applied one after the other to a
    trial, they would give back some of its noise, and correlate with it without any signal: so
    reconstructions are made from the first repetition and compared with the second.

    Attributes
    ----------
    model : EncodingModel
    regions : dict of str to ndarray
        Name to voxels.
    image_ids : ndarray, shape (m,)
        Test images that were shown more than once.
    second : ndarray, shape (m, n_voxels)
        Their second repetition alone, z-scored by training trials.
    """

    model: EncodingModel
    regions: dict[str, np.ndarray]
    image_ids: np.ndarray
    second: np.ndarray

    @classmethod
    def of(cls, model: EncodingModel, examples: Examples, split: Split) -> "MeasuredResponses":
        """Collect from a subject's examples."""
        trials, reference = (
            examples.trials_of(split.ids("test")),
            examples.trials_of(split.ids("train")),
        )
        ids, starts, shown = np.unique(
            examples.trial_image_ids[trials], return_index=True, return_counts=True
        )
        again = trials[starts[shown > 1] + 1]  # trials of an image are in time order
        second = (
            average_zscored(examples, again, reference)
            if len(again)
            else np.zeros((0, examples.n_voxels), np.float32)
        )
        return cls(model, regions_of(examples), ids[shown > 1], second)


def brain_correlations(
    predicted: np.ndarray, measured: np.ndarray, regions: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return, for each region, the correlation over its voxels between predicted and measured
    responses to each picture.

    With responses that an encoding model predicts from *reconstructions*, this scores
    reconstructions without their truth (MindEye2, arXiv:2403.11207, section 3.4, with GNet in place
    of a linear model, and without a second repetition).

    Parameters
    ----------
    predicted, measured : ndarray, shape (n, n_voxels)
    regions : mapping of str to ndarray
        Name to voxels; those with fewer than two are left out.

    Returns
    -------
    dict of str to ndarray, shape (n,)
    """
    return {
        name: row_correlations(measured[:, voxels], predicted[:, voxels])
        for name, voxels in regions.items()
        if len(voxels) > 1
    }


def score_responses(
    responses: MeasuredResponses,
    rows: Mapping[str, np.ndarray],
    n_resamples: int,
    rng: np.random.Generator,
) -> dict[str, dict[str, dict[str, float]]]:
    """Score what rows of pictures let one expect of the second repetition.

    Parameters
    ----------
    responses : MeasuredResponses
    rows : mapping of str to ndarray, shape (m, d)
        Row to latents of its pictures, for ``responses.image_ids``.
    n_resamples : int
        Resamples of the bootstrap over images.
    rng : Generator

    Returns
    -------
    dict of str to dict of str to dict of str to float
        Region to row to ``mean``, ``low`` and ``high`` (95 %, BCa) of `brain_correlations`; empty
        without two images shown again.
    """
    regions: dict[str, dict[str, dict[str, float]]] = {}
    if len(responses.image_ids) < 2:
        return regions
    for row, latents in rows.items():
        scores = brain_correlations(
            responses.model.predict(latents), responses.second, responses.regions
        )
        ends = (
            bootstrap_intervals(np.stack(list(scores.values())), n_resamples, rng) if scores else ()
        )
        for (region, values), (low, high) in zip(scores.items(), ends, strict=True):
            regions.setdefault(region, {})[row] = {
                "mean": float(values.mean()),
                "low": float(low),
                "high": float(high),
            }
    return regions

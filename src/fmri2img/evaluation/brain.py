"""Brain scores: how well reconstructions predict responses, region by region."""

from collections.abc import Mapping, Sequence

import numpy as np

from fmri2img.evaluation.correlation import row_correlations
from fmri2img.evaluation.inference import bootstrap_intervals, sign_flip_p
from fmri2img.evaluation.predictions import ALL_VOXELS, MeasuredResponses
from fmri2img.evaluation.table_rows import MODEL, SHUFFLED


def regions_of(roi_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return voxel indices by region name, and all voxels as `ALL_VOXELS`, each of shape (n,).

    Parameters
    ----------
    roi_names : sequence of str
        Name of each voxel's region.
    """
    names = np.asarray(roi_names)
    return {ALL_VOXELS: np.arange(len(names))} | {
        str(name): np.flatnonzero(names == name) for name in np.unique(names)
    }


def brain_correlations(
    predicted: np.ndarray, measured: np.ndarray, regions: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return, for each region, the correlation over its voxels between predicted and measured
    responses to each picture.

    Applied to responses that an encoding model predicts from *reconstructions*, this scores
    reconstructions without their truth (MindEye2, arXiv:2403.11207, section 3.4, which uses GNet
    instead of a linear model, and no second repetition).

    Parameters
    ----------
    predicted, measured : ndarray, shape (n, n_voxels)
    regions : mapping of str to ndarray
        Voxels by region name; regions with fewer than two voxels are left out.

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
    """Score how well rows of pictures predict the responses to the second repetition.

    Parameters
    ----------
    responses : MeasuredResponses
    rows : mapping of str to ndarray, shape (m, d)
        Latents of each row's pictures, for ``responses.image_ids``.
    n_resamples : int
        Resamples of the bootstrap over images.
    rng : Generator

    Returns
    -------
    dict of str to dict of str to dict of str to float
        Region to row to ``mean``, ``low`` and ``high`` (95 %, BCa) of `brain_correlations`, and for
        the encoder ``p``, of being as far from shuffled reconstructions by chance (sign flips);
        empty if fewer than two images were repeated.
    """
    regions: dict[str, dict[str, dict[str, float]]] = {}
    of_images: dict[str, dict[str, np.ndarray]] = {}
    if len(responses.image_ids) < 2:
        return regions
    for row, latents in rows.items():
        scores = brain_correlations(responses.predict(latents), responses.second, responses.regions)
        ends = (
            bootstrap_intervals(np.stack(list(scores.values())), n_resamples, rng) if scores else ()
        )
        for (region, values), (low, high) in zip(scores.items(), ends, strict=True):
            regions.setdefault(region, {})[row] = {
                "mean": float(values.mean()),
                "low": float(low),
                "high": float(high),
            }
            of_images.setdefault(region, {})[row] = values
    for region, by_row in of_images.items():
        if MODEL in by_row and SHUFFLED in by_row:
            apart = by_row[MODEL] - by_row[SHUFFLED]
            regions[region][MODEL]["p"] = sign_flip_p(apart, n_resamples, rng)
    return regions


def image_correlations(responses: MeasuredResponses, latents: np.ndarray | None) -> np.ndarray:
    """Return the correlation over all voxels for each repeated image, from ``latents`` (m, d) of
    its reconstruction; no rows if there are none.
    """
    if latents is None or ALL_VOXELS not in responses.regions:
        return np.zeros(0)
    regions = {ALL_VOXELS: responses.regions[ALL_VOXELS]}
    scores = brain_correlations(responses.predict(latents), responses.second, regions)
    return scores.get(ALL_VOXELS, np.zeros(0))

"""Brain scores: how well reconstructions predict responses, region by region."""

from collections.abc import Mapping, Sequence

import numpy as np

from fmri2img.evaluation.correlation import row_correlations, unit_rows
from fmri2img.evaluation.inference import bootstrap_intervals, permutation_p
from fmri2img.evaluation.predictions import ALL_VOXELS, MeasuredResponses
from fmri2img.evaluation.table_rows import MODEL


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
    n_permutations: int,
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
    n_permutations : int
        Pairings of responses and reconstructions behind each p.
    rng : Generator

    Returns
    -------
    dict of str to dict of str to dict of str to float
        Region to row to ``mean``, ``low`` and ``high`` (95 %, BCa) of `brain_correlations`, and for
        the encoder ``p``, of a mean as high if responses were paired with reconstructions at
        random; empty if fewer than two images were repeated.
    """
    regions: dict[str, dict[str, dict[str, float]]] = {}
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
    if MODEL in rows and regions:
        predicted = responses.predict(rows[MODEL])
        pairings = {
            region: unit_rows(responses.second[:, voxels]) @ unit_rows(predicted[:, voxels]).T
            for region, voxels in responses.regions.items()
            if region in regions
        }
        for region, p_value in permutation_p(pairings, n_permutations, rng).items():
            regions[region][MODEL]["p"] = p_value
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

"""From what drives the simulated cortex to noise-free voxel responses, and from these to betas.

A voxel of an early area sums filters, luminance and colour within its receptive field; from area to
area, more of its response comes from a random network and from the category of the scene, and its
field grows. Betas are that response plus noise: of the strength that published noise ceilings
imply, in percent signal change, and with each session's own gain and
offset. Where a number has no source here, it is chosen so that betas have
the statistics of NSD's (``docs/simulation.md``).
"""

from dataclasses import dataclass

import numpy as np
import scipy.special
import scipy.stats

from fmri2img.datasets.simulation.cortex import (
    NSDGENERAL_RADIUS,
    CorticalPoints,
    receptive_field_centres,
)
from fmri2img.datasets.simulation.picture_drives import (
    GRID_SIDE,
    N_CHANNELS,
    N_COLOURS,
    N_DEEP,
    N_FILTERS,
)
from fmri2img.datasets.simulation.scenes import CATEGORIES
from fmri2img.datasets.simulation.worlds import World

# Median ncsnr inside nsdgeneral, betas b3 in func1pt8mm, subj01 to subj08, as published with the
# Allen2022 benchmark of brain-score.
PUBLISHED_NCSNR = (0.361, 0.361, 0.324, 0.296, 0.415, 0.343, 0.281, 0.226)
# Other beta versions have lower ceilings; these ratios to b3 are round figures, not measurements.
_NCSNR_RATIO = {"b1": 0.6, "b2": 0.8, "b3": 1.0}
# V1, V2, V3, hV4 and higher areas: ncsnr relative to V1, of fields inside the picture (with those
# outside, medians fall from 0.55 in V1 to 0.35 in hV4, as in NSD's subj01); share of the drive from
# deep channels, relative to the setting; share of variance from the category; size of the receptive
# field in degrees at the fovea, and its growth per degree; weight of colours.
_AREA_NCSNR = np.array([1.0, 1.02, 0.96, 0.8, 1.0])
_AREA_DEEP = np.array([0.3, 0.6, 0.8, 1.0, 1.2])
_AREA_CATEGORY = np.array([0.0, 0.0, 0.0, 0.1, 0.4])
_AREA_SIZE = np.array([0.25, 0.35, 0.45, 0.8, 1.6])
_AREA_GROWTH = np.array([0.10, 0.16, 0.24, 0.40, 0.60])
_AREA_COLOUR = np.array([0.8, 0.8, 0.8, 1.3, 0.3])
# SDs of log ncsnr below and above its median: together 0.48, as in NSD's V1v, with a largest value
# near 1.4.
_SPREAD_BELOW, _SPREAD_ABOVE = 0.66, 0.27
_PICTURE_DEGREES = 8.4  # width of NSD's pictures


@dataclass(frozen=True)
class VoxelModel:
    """Encoding model and noise of some voxels: the ground truth.

    Attributes
    ----------
    fields : ndarray, shape (n_voxels, 289), float32
        Receptive fields on a 17 x 17 grid over the picture, each summing to 1.
    channel_weights : ndarray, shape (n_voxels, 31), float32
        Weights of luminance, red-green, blue-yellow, filters and deep channels.
    deep_share : ndarray, shape (n_voxels,), float32
        Share of the drive's variance that comes from deep channels.
    category_weights : ndarray, shape (n_voxels, 10), float32
    category_share : ndarray, shape (n_voxels,), float32
        Share of the response's variance that comes from the category.
    ncsnr : ndarray, shape (n_voxels,), float32
        Signal SD over noise SD; 0 where a voxel responds to no picture.
    baseline, amplitude : ndarray, shape (n_voxels,), float32
        Mean response and SD of signal plus noise, percent signal change.
    """

    fields: np.ndarray
    channel_weights: np.ndarray
    deep_share: np.ndarray
    category_weights: np.ndarray
    category_share: np.ndarray
    ncsnr: np.ndarray
    baseline: np.ndarray
    amplitude: np.ndarray


def draw_voxels(
    points: CorticalPoints,
    labels: np.ndarray,
    subject_number: int,
    *,
    version: str,
    world: World,
    deep_share: float,
    rng: np.random.Generator,
) -> VoxelModel:
    """Draw receptive fields, tuning and noise of visual voxels.

    Parameters
    ----------
    points : CorticalPoints
        Where the n voxels lie on the cortex.
    labels : ndarray, shape (n_voxels,)
        prf-visualrois labels; voxels with 0 are treated as higher visual cortex.
    subject_number : int
        1 to 8; sets the median ncsnr.
    version : str
        ``b1``, ``b2`` or ``b3``.
    world : World
    deep_share : float
        Share of hV4's drive that comes from the random network; less in earlier areas, more in
        higher ones.
    rng : Generator

    Returns
    -------
    VoxelModel
    """
    n_voxels = len(labels)
    area = np.where(labels > 0, (labels - 1) // 2, len(_AREA_NCSNR) - 1)  # 0 V1 to 4 higher
    centres = receptive_field_centres(points, labels)
    distance = np.linalg.norm(centres, axis=1)
    size = (_AREA_SIZE[area] + _AREA_GROWTH[area] * distance) * rng.lognormal(0, 0.2, n_voxels)
    fields = _receptive_fields(centres, size)
    if not world.is_local:
        scattered = rng.random(fields.shape, dtype=np.float32) ** 8
        fields = scattered / scattered.sum(axis=1, keepdims=True)
    tuning = rng.standard_normal((n_voxels, N_CHANNELS))
    first, last = N_COLOURS, N_COLOURS + N_FILTERS
    # Contrast excites; luminance and colour may push either way.
    tuning[:, first:last] = 0.6 * np.abs(tuning[:, first:last])
    tuning[:, 1:first] *= _AREA_COLOUR[area, None]
    share = world.category_share
    ncsnr = PUBLISHED_NCSNR[subject_number - 1] * _NCSNR_RATIO[version]
    kind = rng.random(n_voxels)
    is_silent = kind < world.silent + world.dead
    is_dead = kind < world.dead
    # A few voxels sit on veins and swing so widely that int16 saturates, as in the real files.
    amplitude = rng.lognormal(np.log(1.1), 0.45, n_voxels)
    amplitude *= np.where(rng.random(n_voxels) < 0.003, 40, 1)
    return VoxelModel(
        fields=fields,
        channel_weights=tuning.astype(np.float32),
        deep_share=_deep_shares(world, deep_share, area).astype(np.float32),
        category_weights=rng.standard_normal((n_voxels, len(CATEGORIES))).astype(np.float32),
        category_share=(_AREA_CATEGORY[area] if share is None else np.full(n_voxels, share)).astype(
            np.float32
        ),
        ncsnr=np.where(
            is_silent,
            0,
            _draw_ncsnr(rng, ncsnr, area, _share_inside(centres, size), points.fan_distance),
        ).astype(np.float32),
        baseline=np.where(is_dead, 0, rng.normal(1.6, 0.9, n_voxels)).astype(np.float32),
        amplitude=np.where(is_dead, 0.01, amplitude).astype(np.float32),
    )


def _deep_shares(world: World, deep_share: float, area: np.ndarray) -> np.ndarray:
    if world.drive != "filters":
        return np.ones(len(area))
    return np.clip(deep_share * _AREA_DEEP[area], 0, 1)


def _draw_ncsnr(
    rng: np.random.Generator,
    median: float,
    area: np.ndarray,
    share_inside: np.ndarray,
    fan_distance: np.ndarray,
) -> np.ndarray:
    """Draw each voxel's ncsnr, shape (n_voxels,); its median inside nsdgeneral is ``median``."""
    deviate = _stratified_normal(rng, len(area))
    relative = _AREA_NCSNR[area] * np.exp(
        np.where(deviate < 0, _SPREAD_BELOW, _SPREAD_ABOVE) * deviate
    )
    relative *= np.sqrt(share_inside)  # what a field sees outside the picture never changes
    general = fan_distance < NSDGENERAL_RADIUS
    scale = np.median(relative[general]) if general.any() else np.median(relative)
    return median * relative / scale


def _stratified_normal(rng: np.random.Generator, n_values: int) -> np.ndarray:
    """Return standard normal values in random order whose median is 0 for any number of them,
    shape (n_values,).
    """
    return scipy.special.ndtri((rng.permutation(n_values) + 0.5) / n_values)


def _receptive_fields(centres: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return Gaussian windows on the grid, shape (n_voxels, 289); rows run downwards, as in a
    picture.
    """
    axis = ((np.arange(GRID_SIDE) + 0.5) / GRID_SIDE - 0.5) * _PICTURE_DEGREES
    across = np.exp(-0.5 * ((axis[None] - centres[:, :1]) / size[:, None]) ** 2)
    down = np.exp(-0.5 * ((-axis[None] - centres[:, 1:]) / size[:, None]) ** 2)
    windows = (down[:, :, None] * across[:, None, :]).reshape(len(centres), -1) + 1e-9
    return (windows / windows.sum(axis=1, keepdims=True)).astype(np.float32)


def _share_inside(centres: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return how much of each receptive field lies inside the picture, shape (n_voxels,)."""
    edge = _PICTURE_DEGREES / 2
    inside = scipy.special.ndtr((edge - centres) / size[:, None]) - scipy.special.ndtr(
        (-edge - centres) / size[:, None]
    )
    share: np.ndarray = inside.prod(axis=1)
    return share


def noise_free_responses(
    model: VoxelModel,
    drives: np.ndarray,
    categories: np.ndarray,
    world: World,
    n_reference: int | None = None,
) -> np.ndarray:
    """Compute each voxel's responses without noise.

    Parameters
    ----------
    model : VoxelModel
    drives : ndarray, shape (n_images, 31, 289)
        What drives the cortex, from `picture_drives`.
    categories : ndarray, shape (n_images,)
        Index into ``scenes.CATEGORIES``, or -1 if unknown.
    world : World
    n_reference : int or None
        Number of images, the first ones, over which responses are standardised; None: all.

    Returns
    -------
    ndarray, shape (n_images, n_voxels), float32
        Mean 0 and SD 1 over those images.
    """
    shallow, deep = (
        _summed(model, drives, channels, n_reference)
        for channels in (range(N_CHANNELS - N_DEEP), range(N_CHANNELS - N_DEEP, N_CHANNELS))
    )
    responses = np.sqrt(1 - model.deep_share) * shallow + np.sqrt(model.deep_share) * deep
    if world.threshold is not None:
        standard = _standardised(responses, n_reference)
        responses = np.maximum(standard - np.float32(world.threshold), 0) ** world.exponent
    one_hot = np.zeros((len(drives), len(CATEGORIES)), dtype=np.float32)
    known = categories >= 0
    one_hot[np.flatnonzero(known), categories[known]] = 1
    by_category = _standardised(one_hot @ model.category_weights.T, n_reference)
    share = model.category_share if known.any() else np.zeros_like(model.category_share)
    standard = _standardised(responses, n_reference)
    return _standardised(np.sqrt(1 - share) * standard + np.sqrt(share) * by_category, n_reference)


def _summed(
    model: VoxelModel, drives: np.ndarray, channels: range, n_reference: int | None
) -> np.ndarray:
    """Return the weighted sum of some channels within each receptive field, of unit SD, shape
    (n_images, n_voxels), float32.
    """
    total = np.zeros((len(drives), len(model.ncsnr)), dtype=np.float32)
    for channel in channels:
        # Each channel has unit SD before weighting, however much a receptive field averages away.
        drive = _standardised(drives[:, channel] @ model.fields.T, n_reference)
        drive *= model.channel_weights[:, channel]
        total += drive
    return _standardised(total, n_reference)


def _standardised(responses: np.ndarray, n_reference: int | None) -> np.ndarray:
    """Bring responses, shape (n_images, n_voxels), to mean 0 and SD 1 over the first images;
    constant ones become 0.
    """
    centred: np.ndarray = responses - responses[:n_reference].mean(axis=0)
    deviation = centred[:n_reference].std(axis=0)
    centred /= np.where(deviation > 1e-6, deviation, np.inf)
    return centred


def make_betas(
    signal: np.ndarray, noise: np.ndarray, model: VoxelModel, *, gain: float, offset: np.ndarray
) -> np.ndarray:
    """Mix signal and noise to percent signal change.

    Parameters
    ----------
    signal, noise : ndarray, shape (n_trials, n_voxels)
        Each of unit SD.
    model : VoxelModel
    gain : float
        Gain of the session.
    offset : ndarray, shape (n_voxels,)
        Offset of the session, in units of the voxel's SD.

    Returns
    -------
    ndarray, shape (n_trials, n_voxels), float32
    """
    share = model.ncsnr**2 / (1 + model.ncsnr**2)  # fraction of the variance that is signal
    mixed = np.sqrt(share) * signal + np.sqrt(1 - share) * noise
    return model.baseline + gain * model.amplitude * (mixed + offset)


def haemodynamic_response(seconds: np.ndarray) -> np.ndarray:
    """Return the response to a brief event at second 0, peak 1: a double gamma with its peak near 5
    s and an undershoot near 15 s.

    The shape and its parameters (6, 16, 1/6) are those of Glover 1999, doi:10.1006/nimg.1998.0419,
    as commonly rounded.
    """
    after = np.maximum(seconds, 0)
    shape = scipy.stats.gamma.pdf(after, 6) - scipy.stats.gamma.pdf(after, 16) / 6
    return shape / 0.1754  # maximum of the difference


def simulate_run(
    percent: np.ndarray,
    slots: np.ndarray,
    mean: np.ndarray,
    tr_seconds: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Make the time series of a 300-s run, with the one extra volume that the files have.

    Parameters
    ----------
    percent : ndarray, shape (n_voxels, n_trials)
        Betas.
    slots : ndarray, shape (n_trials,)
        0-based 4-s slots in which images appear.
    mean : ndarray, shape (n_voxels,)
        Mean of each voxel, in scanner units.
    tr_seconds : float
    rng : Generator

    Returns
    -------
    ndarray, shape (n_volumes, n_voxels), int16
        With slow drift and white noise of 0.5 % each.
    """
    seconds = np.arange(round(300 / tr_seconds) + 1) * tr_seconds
    # Three seconds of image: the mean of events at its beginning, middle and end.
    since = seconds[:, None] - 4.0 * slots[None]  # (n_volumes, n_trials)
    responses = np.mean([haemodynamic_response(since - part) for part in (0.5, 1.5, 2.5)], axis=0)
    drift = np.cos(np.pi * np.outer(seconds / 300, [1, 2])) @ rng.normal(0, 0.5, (2, len(mean)))
    noise = rng.normal(0, 0.5, (len(seconds), len(mean)))
    series = mean * (1 + (responses @ percent.T + drift + noise) / 100)
    return np.clip(np.rint(series), 1, 32_767).astype(np.int16)

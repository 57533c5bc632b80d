"""From pictures to noise-free voxel responses, and from these to betas.

A voxel of an early area sums oriented energy, luminance and colour within its receptive field;
higher voxels add the category and pool widely. Betas are that response plus noise of the strength
that published noise ceilings imply, in percent signal change, with each session's own gain and
offset.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.special
import scipy.stats
from PIL import Image

from fmri2img.datasets.simulation.cortex import Cortex, CorticalPoints, receptive_field_centres
from fmri2img.datasets.simulation.scenes import CATEGORIES

# Median ncsnr inside nsdgeneral, betas b3 in func1pt8mm, subj01 to subj08, as published with the
# Allen2022 benchmark of brain-score.
PUBLISHED_NCSNR = (0.361, 0.361, 0.324, 0.296, 0.415, 0.343, 0.281, 0.226)
# Other beta versions have lower ceilings; these ratios to b3 are round figures, not measurements.
_NCSNR_RATIO = {"b1": 0.6, "b2": 0.8, "b3": 1.0}
# SD of log ncsnr over voxels; if wider, a short experiment's few images bias the median upwards
_NCSNR_SPREAD = 0.28
_FIELD_DEGREES = 8.4  # width of NSD's pictures
_GRID_SIDE, _FEATURE_SIDE = 17, 85
_SCALES = (0.09, 0.22)  # centre frequencies of the energy channels, cycles per pixel at 85 pixels
_ORIENTATIONS = 4
N_CHANNELS = 3 + len(_SCALES) * _ORIENTATIONS
_N_NOISE_SOURCES, _SHARED_NOISE = 12, 0.2


@dataclass(frozen=True)
class VoxelModel:
    """Encoding model and noise of some voxels.

    Attributes
    ----------
    fields : ndarray, shape (n_voxels, 289), float32
        Receptive fields on a 17 x 17 grid over the picture, each summing to 1.
    channel_weights : ndarray, shape (n_voxels, 11), float32
        Weights of luminance, red-green, blue-yellow and 8 energy channels.
    category_weights : ndarray, shape (n_voxels, 10), float32
    ncsnr : ndarray, shape (n_voxels,), float32
        Signal SD over noise SD.
    baseline, amplitude : ndarray, shape (n_voxels,), float32
        Mean response and SD of signal plus noise, percent signal change.
    """

    fields: np.ndarray
    channel_weights: np.ndarray
    category_weights: np.ndarray
    ncsnr: np.ndarray
    baseline: np.ndarray
    amplitude: np.ndarray


def image_features(picture: np.ndarray) -> np.ndarray:
    """Compute the features of a picture that drive the simulated cortex.

    Parameters
    ----------
    picture : ndarray, shape (425, 425, 3), uint8
        Any side divisible by 85 will do.

    Returns
    -------
    ndarray, shape (11, 289), float32
        Luminance, two colour opponents, then local energy by scale and orientation, averaged on a
        17 x 17 grid.
    """
    block = picture.shape[0] // _FEATURE_SIDE
    small = (
        np.asarray(Image.fromarray(picture).reduce(block), dtype=np.float32) / 255
    )  # (85, 85, 3)
    red, green, blue = np.moveaxis(small, -1, 0)
    luminance = (red + green + blue) / 3
    maps = [luminance, red - green, blue - (red + green) / 2]
    spectrum = scipy.fft.fft2(luminance - luminance.mean())
    maps += [*np.abs(scipy.fft.ifft2(spectrum * _energy_filters()))]
    side, step = _GRID_SIDE, _FEATURE_SIDE // _GRID_SIDE
    pooled = np.stack(maps).reshape(-1, side, step, side, step).mean(axis=(2, 4))
    return pooled.reshape(N_CHANNELS, -1).astype(np.float32)


@lru_cache(maxsize=1)
def _energy_filters() -> np.ndarray:
    """Return one-sided log-Gabor windows in the frequency domain, shape (8, 85, 85): their
    output's modulus is local energy.
    """
    fy, fx = np.meshgrid(
        np.fft.fftfreq(_FEATURE_SIDE), np.fft.fftfreq(_FEATURE_SIDE), indexing="ij"
    )
    radius, angle = np.hypot(fy, fx), np.arctan2(fy, fx)
    radius[0, 0] = 1e-6
    windows = []
    for frequency in _SCALES:
        for orientation in np.arange(_ORIENTATIONS) * np.pi / _ORIENTATIONS:
            turn = (angle - orientation + np.pi) % (2 * np.pi) - np.pi
            windows.append(
                np.exp(-0.5 * (np.log(radius / frequency) / 0.55) ** 2 - 0.5 * (turn / 0.45) ** 2)
            )
    return np.stack(windows).astype(np.float32)


def draw_voxels(
    points: CorticalPoints,
    labels: np.ndarray,
    subject_number: int,
    *,
    version: str,
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
    rng : Generator

    Returns
    -------
    VoxelModel
    """
    n_voxels = len(labels)
    early, is_hv4 = (labels > 0) & (labels < 7), labels == 7
    area = np.where(labels > 0, (labels + 1) // 2, 5)  # 1 V1, 2 V2, 3 V3, 4 hV4, 5 higher
    centres = receptive_field_centres(points, labels)
    distance = np.linalg.norm(centres, axis=1)
    base, growth = np.array([0.25, 0.35, 0.45, 0.8, 1.6]), np.array([0.10, 0.16, 0.24, 0.40, 0.60])
    size = (base[area - 1] + growth[area - 1] * distance) * rng.lognormal(0, 0.2, n_voxels)
    colour_gain = np.where(is_hv4, 1.3, np.where(early, 0.8, 0.3))
    tuning = rng.standard_normal((n_voxels, N_CHANNELS))
    # Energy excites; luminance and colour may push either way.
    tuning[:, 3:] = np.abs(tuning[:, 3:]) * np.where(area <= 3, 0.6, 0.4)[:, None]
    tuning[:, 1:3] *= colour_gain[:, None]
    category_gain = np.where(early, 0.0, np.where(is_hv4, 0.4, 1.5))
    median = PUBLISHED_NCSNR[subject_number - 1] * _NCSNR_RATIO[version]
    return VoxelModel(
        fields=_receptive_fields(centres, size),
        channel_weights=tuning.astype(np.float32),
        category_weights=(
            category_gain[:, None] * rng.standard_normal((n_voxels, len(CATEGORIES)))
        ).astype(np.float32),
        ncsnr=(median * np.exp(_NCSNR_SPREAD * _stratified_normal(rng, n_voxels))).astype(
            np.float32
        ),
        baseline=rng.normal(0.6, 0.8, n_voxels).astype(np.float32),
        # A few voxels sit on veins and swing so widely that int16 saturates, as in the real files.
        amplitude=(
            rng.lognormal(0.6, 0.45, n_voxels) * np.where(rng.random(n_voxels) < 0.003, 25, 1)
        ).astype(np.float32),
    )


def _stratified_normal(rng: np.random.Generator, n_values: int) -> np.ndarray:
    """Return standard normal values in random order whose median is 0 for any number of them,
    shape (n_values,).
    """
    return scipy.special.ndtri((rng.permutation(n_values) + 0.5) / n_values)


def _receptive_fields(centres: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return Gaussian windows on the grid, shape (n_voxels, 289); rows run downwards, as in a
    picture.
    """
    axis = ((np.arange(_GRID_SIDE) + 0.5) / _GRID_SIDE - 0.5) * _FIELD_DEGREES
    across = np.exp(-0.5 * ((axis[None] - centres[:, :1]) / size[:, None]) ** 2)
    down = np.exp(-0.5 * ((-axis[None] - centres[:, 1:]) / size[:, None]) ** 2)
    windows = (down[:, :, None] * across[:, None, :]).reshape(len(centres), -1) + 1e-9
    return (windows / windows.sum(axis=1, keepdims=True)).astype(np.float32)


def noise_free_responses(
    model: VoxelModel, features: np.ndarray, categories: np.ndarray
) -> np.ndarray:
    """Compute each voxel's responses without noise.

    Parameters
    ----------
    model : VoxelModel
    features : ndarray, shape (n_images, 11, 289)
        Features of the images, from `image_features`.
    categories : ndarray, shape (n_images,)
        Index into ``scenes.CATEGORIES``, or -1 if unknown.

    Returns
    -------
    ndarray, shape (n_images, n_voxels), float32
        Mean 0 and SD 1 over the given images.
    """
    spread = features.std(axis=(0, 2), keepdims=True) + 1e-6
    scaled = (features - features.mean(axis=(0, 2), keepdims=True)) / spread
    responses = np.zeros((len(features), len(model.ncsnr)), dtype=np.float32)
    for channel in range(N_CHANNELS):
        drive = scaled[:, channel] @ model.fields.T
        # Each channel has unit SD before weighting, however much a receptive field averages away.
        drive /= drive.std(axis=0) + 1e-6
        responses += drive * model.channel_weights[:, channel]
    known = categories >= 0
    one_hot = np.zeros((len(features), len(CATEGORIES)), dtype=np.float32)
    one_hot[np.flatnonzero(known), categories[known]] = np.sqrt(len(CATEGORIES))
    responses += one_hot @ model.category_weights.T
    responses -= responses.mean(axis=0)
    return responses / (responses.std(axis=0) + 1e-6)


def session_noise(
    positions_mm: np.ndarray,
    n_trials: int,
    rng: np.random.Generator,
    sources: np.ndarray,
    shared_rng: np.random.Generator,
) -> np.ndarray:
    """Draw trial noise of about unit SD, a fifth of it shared between voxels, with a slow drift.

    Parameters
    ----------
    positions_mm : ndarray, shape (n_voxels, 3)
    n_trials : int
    rng : Generator
    sources : ndarray, shape (12, 4)
        Spatial frequency (per mm) and phase of each shared noise source.
    shared_rng : Generator
        Draws the shared time courses; needs the same start for all parts of one session.

    Returns
    -------
    ndarray, shape (n_trials, n_voxels), float32
    """
    maps = np.cos(positions_mm @ sources[:, :3].T + sources[:, 3]).astype(
        np.float32
    )  # (n_voxels, n_sources)
    maps *= np.sqrt(_SHARED_NOISE) / np.linalg.norm(maps, axis=1, keepdims=True)
    courses = shared_rng.standard_normal((n_trials, len(sources)), dtype=np.float32)
    drift = np.linspace(-1, 1, n_trials, dtype=np.float32) * np.sqrt(3)  # unit SD
    courses += 0.05 * drift[:, None] * shared_rng.standard_normal(len(sources), dtype=np.float32)
    noise = rng.standard_normal((n_trials, len(positions_mm)), dtype=np.float32)
    noise *= np.sqrt(1 - _SHARED_NOISE)
    noise += courses @ maps.T
    return noise


def draw_noise_sources(cortex: Cortex, rng: np.random.Generator) -> np.ndarray:
    """Draw the spatial waves of the shared noise, shape (12, 4): frequency in radians per mm,
    and phase.
    """
    waves = rng.normal(0, 3 / cortex.semi_axes.mean(), (_N_NOISE_SOURCES, 3))
    return np.column_stack([waves, rng.uniform(0, 2 * np.pi, _N_NOISE_SOURCES)])


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

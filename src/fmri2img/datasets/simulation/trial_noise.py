"""The noise of single trials: autocorrelated, drifting, with heavy tails, partly shared between
voxels.
"""

import numpy as np
import scipy.signal

from fmri2img.datasets.simulation.cortex import Cortex
from fmri2img.datasets.simulation.worlds import World

_N_NOISE_SOURCES = 12
_AUTOCORRELATION = 0.2  # of the noise of successive trials
_MOTION_SHARE, _MOTION = 0.01, 2.0  # trials with that many times the noise
_RUNS = 12  # in a session


def session_noise(
    positions_mm: np.ndarray,
    n_trials: int,
    rng: np.random.Generator,
    sources: np.ndarray,
    shared_rng: np.random.Generator,
    world: World,
) -> np.ndarray:
    """Draw the noise of a session's trials, of about unit SD: partly shared between voxels,
    autocorrelated, drifting within runs and from run to run, with heavy tails, and stronger in
    trials in which the head moved.

    Parameters
    ----------
    positions_mm : ndarray, shape (n_voxels, 3)
    n_trials : int
    rng : Generator
    sources : ndarray, shape (12, 4)
        Spatial frequency (per mm) and phase of each shared noise source.
    shared_rng : Generator
        Draws what voxels have in common; needs the same start for all parts of one session.
    world : World

    Returns
    -------
    ndarray, shape (n_trials, n_voxels), float32
    """
    maps = np.cos(positions_mm @ sources[:, :3].T + sources[:, 3]).astype(np.float32)
    maps /= np.linalg.norm(maps, axis=1, keepdims=True)  # (n_voxels, n_sources)
    common = _autocorrelated(shared_rng, (n_trials, len(sources)))
    trends = _run_trends(n_trials)
    drift = trends @ shared_rng.standard_normal((trends.shape[1], len(sources)), dtype=np.float32)
    motion = np.where(shared_rng.random(n_trials) < _MOTION_SHARE, _MOTION, 1)
    courses = np.sqrt(world.shared_noise) * common + np.sqrt(world.drift) * drift
    noise = _heavy_tailed(_autocorrelated(rng, (n_trials, len(positions_mm))), world.tail)
    noise *= np.float32(np.sqrt(1 - world.shared_noise - world.drift))
    noise += courses.astype(np.float32) @ maps.T
    noise *= (motion / np.sqrt(1 + _MOTION_SHARE * (_MOTION**2 - 1))).astype(np.float32)[:, None]
    return noise


def _autocorrelated(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw an autoregressive process of order 1 along the first axis, of unit SD, float32."""
    white = rng.standard_normal(shape, dtype=np.float32)
    white[1:] *= np.float32(np.sqrt(1 - _AUTOCORRELATION**2))
    coefficients = np.array([1, -_AUTOCORRELATION], dtype=np.float32)
    process: np.ndarray = scipy.signal.lfilter(coefficients[:1], coefficients, white, axis=0)
    return process


def _heavy_tailed(normal: np.ndarray, tail: float) -> np.ndarray:
    """Add a cubic term to standard normal values; the result has unit SD, and with ``tail`` 0.04
    a kurtosis of 4.2.
    """
    values: np.ndarray = normal * (1 + np.float32(tail) * normal**2)
    return values / np.float32(np.sqrt(1 + 6 * tail + 15 * tail**2))


def _run_trends(n_trials: int) -> np.ndarray:
    """Return the offset of each run and a linear trend within it, shape (n_trials, 24), float32;
    any random sum of them has about unit SD.
    """
    run = np.arange(n_trials) * _RUNS // n_trials
    trends = np.zeros((n_trials, 2 * _RUNS), dtype=np.float32)
    for number in range(_RUNS):
        here = np.flatnonzero(run == number)
        trends[here, number] = np.sqrt(0.5)
        trends[here, _RUNS + number] = np.sqrt(0.5) * np.sqrt(3) * np.linspace(-1, 1, len(here))
    return trends


def draw_noise_sources(cortex: Cortex, rng: np.random.Generator) -> np.ndarray:
    """Draw the spatial waves of the shared noise, shape (12, 4): frequency in radians per mm,
    and phase.
    """
    waves = rng.normal(0, 3 / cortex.semi_axes.mean(), (_N_NOISE_SOURCES, 3))
    return np.column_stack([waves, rng.uniform(0, 2 * np.pi, _N_NOISE_SOURCES)])

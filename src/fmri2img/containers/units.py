"""Betas as NSD stores them and in percent signal change."""

import numpy as np

# Stored units of one percent signal change (NSD manual, "Functional data").
UNITS_PER_PERCENT = 300.0


def to_stored_units(betas: np.ndarray) -> np.ndarray:
    """Convert percent to stored units, int16, as MATLAB does: half away from zero, saturating,
    NaN to 0.
    """
    scaled = np.nan_to_num(betas * UNITS_PER_PERCENT)
    rounded = np.trunc(scaled + np.copysign(0.5, scaled))
    return np.clip(rounded, -32_768, 32_767).astype(np.int16)


def to_percent(stored: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Convert stored units to percent signal change.

    Parameters
    ----------
    stored : ndarray, shape (n_trials, n_voxels), int16
    valid : ndarray, shape (n_trials, n_voxels), bool
        Whether the voxel has data in the trial's session.

    Returns
    -------
    ndarray, shape (n_trials, n_voxels), float32
        NaN where there are no data.
    """
    percent = stored / np.float32(UNITS_PER_PERCENT)
    percent[~valid] = np.nan
    return percent

"""Whether a session's betas can be responses of a brain: files that were allocated and never
written, or written in part, read as zeros.
"""

import numpy as np

from fmri2img.project.config import SessionLimits

# Voxels at the edge of the volume have no data in some sessions, all of a small region perhaps.
_SMALL_REGION = 50
_VOXELS_AT_ONCE = 512
_NO_RESPONSE = 1e20  # in whatever unit


def without_coverage(betas: np.ndarray) -> np.ndarray:
    """Return a session's betas, shape (n_trials, n_voxels), float32, from volumes that hold 0 where
    there are no data: NaN if that is a small region as a whole.
    """
    if betas.shape[1] < _SMALL_REGION and not betas.any():
        return np.full_like(betas, np.nan)
    return betas


def session_fault(betas: np.ndarray, limits: SessionLimits) -> str:
    """Return what is wrong with the betas of one session; empty if they can be responses.

    Parameters
    ----------
    betas : ndarray, shape (n_trials, n_voxels)
        Integers, in which 0 may stand for no data, or floats, in which NaN does.
    limits : SessionLimits
        Shares from which a session is refused: a few trials may be missing.
    """
    n_trials, n_voxels = betas.shape
    if n_trials < 2 or not n_voxels:
        return ""
    is_integer = np.issubdtype(betas.dtype, np.integer)
    ends = (np.iinfo(betas.dtype).min, np.iinfo(betas.dtype).max) if is_integer else ()
    n_constant = n_saturated = 0
    has_value = np.zeros(n_trials, bool)
    for start in range(0, n_voxels, _VOXELS_AT_ONCE):
        block = betas[:, start : start + _VOXELS_AT_ONCE]
        if is_integer:
            n_constant += int((block == block[0]).all(axis=0).sum())
        else:  # also of voxels with a single value, or none
            if (largest := float(np.abs(np.nan_to_num(block, nan=0.0)).max())) > _NO_RESPONSE:
                return f"it holds betas of {largest:.3g}, expected responses"
            n_constant += int((~(np.fmax.reduce(block) > np.fmin.reduce(block))).sum())
        # NaN is declared as missing, and no zero; a voxel that is always missing says nothing.
        has_value |= (block[:, np.isfinite(block).any(axis=0)] != 0).any(axis=1)
        n_saturated += sum(int((block == limit).sum()) for limit in ends)
    n_empty = n_trials - int(has_value.sum())
    if n_constant == n_voxels:
        is_declared = n_empty == n_trials if is_integer else not np.isfinite(betas).any()
        if is_declared and (n_voxels < _SMALL_REGION or not is_integer):
            return ""
        return f"no voxel varies over its {n_trials} trials, expected responses"
    if n_voxels < _SMALL_REGION:
        return ""
    if n_empty > max(1, limits.empty_trials * n_trials):
        return (
            f"{n_empty} of {n_trials} trials have no value in any voxel, expected responses in all "
            f"but {limits.empty_trials:.1%} (machine.session_limits.empty_trials)"
        )
    if n_saturated > limits.saturated * n_trials * n_voxels:
        return (
            f"{n_saturated} of {n_trials * n_voxels} values are the largest that can be stored, "
            f"expected under {limits.saturated:.1%} (machine.session_limits.saturated)"
        )
    return ""

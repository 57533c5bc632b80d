"""Noise ceilings from repetitions, by a published definition.

Allen et al. 2022, doi:10.1038/s41593-021-00962-x: betas are z-scored within each session; the noise
variance is the variance over the trials of an image, averaged over images; the rest of the
unit variance is signal.
"""

import numpy as np

from fmri2img.project.exceptions import ConfigError


def zscore_sessions(betas: np.ndarray, sessions: np.ndarray) -> np.ndarray:
    """Z-score each voxel within each session.

    Parameters
    ----------
    betas : ndarray, shape (n_trials, n_voxels)
    sessions : ndarray, shape (n_trials,)

    Returns
    -------
    ndarray, shape (n_trials, n_voxels), float32
        NaN where a voxel does not vary in a session (masked or invalid there).
    """
    scored = np.empty(betas.shape, dtype=np.float32)
    for session in np.unique(sessions):
        rows = sessions == session
        values = betas[rows].astype(np.float32)
        deviation = values.std(axis=0, ddof=1, dtype=np.float64).astype(np.float32)
        deviation[deviation == 0] = np.nan
        scored[rows] = (
            values - values.mean(axis=0, dtype=np.float64).astype(np.float32)
        ) / deviation
    return scored


def estimate_ncsnr(
    betas: np.ndarray,
    sessions: np.ndarray,
    image_ids: np.ndarray,
    *,
    n_repetitions: int,
    chosen: np.ndarray | None = None,
) -> np.ndarray:
    """Estimate each voxel's noise-ceiling signal-to-noise ratio.

    Parameters
    ----------
    betas : ndarray, shape (n_trials, n_voxels)
        Any unit: sessions are z-scored here.
    sessions, image_ids : ndarray, shape (n_trials,)
    n_repetitions : int
        Number of times that the experiment shows an image; only images shown this often (at
        least 2) are used.
    chosen : ndarray of int, optional
        Image ids to estimate from; all by default. Sessions are always z-scored over all trials.

    Returns
    -------
    ndarray, shape (n_voxels,), float32
        Signal SD over noise SD, 0 or more; NaN where no image has that many valid trials.
    """
    ids, inverse, counts = np.unique(image_ids, return_inverse=True, return_counts=True)
    used = counts == max(n_repetitions, 2)
    if chosen is not None:
        used &= np.isin(ids, chosen)
    order = np.argsort(inverse, kind="stable")
    complete = order[used[inverse[order]]].reshape(int(used.sum()), max(n_repetitions, 2))
    repeated = zscore_sessions(betas, sessions)[complete]  # (n_images, n_repetitions, n_voxels)
    variance = repeated.var(axis=1, ddof=1)
    valid = np.isfinite(variance)
    n_valid = valid.sum(axis=0)
    noise_variance = np.where(valid, variance, 0).sum(axis=0, dtype=np.float64) / np.where(
        n_valid, n_valid, np.nan
    )
    signal_variance = np.maximum(0, 1 - noise_variance)
    return np.sqrt(signal_variance / noise_variance).astype(np.float32)


def common_repetitions(image_ids: np.ndarray) -> int:
    """Return how often most images were shown, of those that were shown twice or more; 0 if none
    was.

    Parameters
    ----------
    image_ids : ndarray, shape (n_trials,)
    """
    n_images = np.bincount(np.unique(image_ids, return_counts=True)[1], minlength=3)
    n_images[:2] = 0
    return int(n_images.argmax()) if n_images.any() else 0


def noise_ceiling(ncsnr: np.ndarray, n_repetitions: np.ndarray | int) -> np.ndarray:
    """Return the percent of a voxel's variance that a perfect model of the image could explain.

    Parameters
    ----------
    ncsnr : ndarray, shape (n_voxels,)
        Signal SD over noise SD; NaN outside the brain mask.
    n_repetitions : int or ndarray, shape (n_images,)
        Trials averaged for each image; if images differ, the mean of 1/n over images is used.

    Returns
    -------
    ndarray, shape (n_voxels,)
        0 to 100.

    Raises
    ------
    ValueError
        If an image has no repetition.
    """
    averaged = np.atleast_1d(n_repetitions)
    if averaged.min() < 1:
        raise ValueError(f"n_repetitions must be at least 1, got {averaged.min()}")
    return 100 * ncsnr**2 / (ncsnr**2 + np.mean(1 / averaged))


def above_threshold(ncsnr: np.ndarray, threshold: float) -> np.ndarray:
    """Return which voxels are kept, shape (n_voxels,), bool.

    Raises
    ------
    ConfigError
        If no voxel is kept.
    """
    if threshold == 0:
        return np.ones(len(ncsnr), dtype=bool)
    kept = ncsnr >= threshold  # NaN is below any threshold
    if not kept.any():
        raise ConfigError(
            f"params.yaml: extract_betas.min_ncsnr: {threshold} leaves none of {len(ncsnr)} "
            f"voxels; the best voxel has {np.nanmax(ncsnr, initial=0):.2f} on images that are not "
            "shared; lower the threshold, or name more sessions"
        )
    return kept

"""Averaging the repetitions of an image."""

import numpy as np


def average_repetitions(betas: np.ndarray, trial_image_ids: np.ndarray, image_ids: np.ndarray) -> np.ndarray:
    """Average each image's trials, ignoring missing ones.

    Parameters
    ----------
    betas : ndarray, shape (n_trials, n_voxels), float32
        NaN where invalid.
    trial_image_ids : ndarray, shape (n_trials,)
        Ascending.
    image_ids : ndarray, shape (n_images,)
        Ascending; each must have a trial.

    Returns
    -------
    ndarray, shape (n_images, n_voxels), float32
        NaN where no trial of the image is valid.

    Raises
    ------
    ValueError
        If an image has no trial.
    """
    used = np.isin(trial_image_ids, image_ids)
    kept, starts = np.unique(trial_image_ids[used], return_index=True)
    if len(kept) != len(image_ids):
        raise ValueError(f"{len(image_ids) - len(kept)} of {len(image_ids)} images have no trial; take image ids from the examples")
    chosen = betas[used]
    valid = np.isfinite(chosen)
    total = np.add.reduceat(np.where(valid, chosen, 0), starts, axis=0)
    count = np.add.reduceat(valid, starts, axis=0, dtype=np.float32)
    return np.divide(total, count, out=np.full(total.shape, np.nan, dtype=np.float32), where=count > 0)

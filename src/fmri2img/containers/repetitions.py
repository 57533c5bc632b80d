"""Averaging the repetitions of an image."""

import numpy as np

from fmri2img.containers.examples import Examples

# For 27 000 trials a block takes 110 MB; a copy of all voxels of nsdgeneral takes 1.7 GB.
_VOXELS_AT_ONCE = 1024


def average_repetitions(
    betas: np.ndarray, trial_image_ids: np.ndarray, image_ids: np.ndarray
) -> np.ndarray:
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
        raise ValueError(
            f"{len(image_ids) - len(kept)} of {len(image_ids)} images have no trial; take image "
            "ids from the examples"
        )
    averages = np.full((len(image_ids), betas.shape[1]), np.nan, dtype=np.float32)
    for start in range(0, betas.shape[1], _VOXELS_AT_ONCE):
        block = np.s_[:, start : start + _VOXELS_AT_ONCE]
        chosen = betas[block][used]
        valid = np.isfinite(chosen)
        total = np.add.reduceat(np.where(valid, chosen, 0), starts, axis=0)
        count = np.add.reduceat(valid, starts, axis=0, dtype=np.float32)
        np.divide(total, count, out=averages[block], where=count > 0)
    return averages


def averaged_betas(examples: Examples, image_ids: np.ndarray) -> np.ndarray:
    """Return betas in the dataset's unit, averaged over the repetitions of each image, shape
    (n_images, n_voxels), float32.
    """
    trials = examples.trials_of(image_ids)
    return average_repetitions(
        examples.in_units(trials), examples.trial_image_ids[trials], image_ids
    )


def average_zscored(examples: Examples, trials: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Z-score responses within each session by the mean and SD of reference trials, then average
    each image's trials.

    Gain and baseline drift between scan days; with training trials as the reference, test trials
    affect neither.

    Parameters
    ----------
    examples : Examples
    trials : ndarray of int
        Rows of the trials to average, ascending, and so sorted by image.
    reference : ndarray of int
        Rows of the trials that give the mean and SD.

    Returns
    -------
    ndarray, shape (n_images, n_voxels), float32
        For the images of ``trials``, ascending by id; 0, the reference mean, where no trial is
        valid.
    """
    image_ids, rows = np.unique(examples.trial_image_ids[trials], return_inverse=True)
    total = np.zeros((len(image_ids), examples.n_voxels), dtype=np.float32)
    count = np.zeros_like(total)
    # Session by session: all trials of 40 sessions would take gigabytes.
    for session in np.unique(examples.trial_session[trials]):
        mine = examples.trial_session[trials] == session
        known = examples.in_units(reference[examples.trial_session[reference] == session])
        if len(known) < 2:
            raise ValueError(
                f"session {session} has {len(known)} reference trials, expected at least 2 for a "
                "mean and an SD"
            )
        deviation = known.std(axis=0, ddof=1)
        scored = (examples.in_units(trials[mine]) - known.mean(axis=0)) / np.where(
            deviation > 0, deviation, 1
        )
        valid = np.isfinite(scored)
        np.add.at(total, rows[mine], np.where(valid, scored, 0))
        np.add.at(count, rows[mine], valid)
    return total / np.maximum(count, 1)

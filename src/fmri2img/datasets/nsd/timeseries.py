"""Trial responses from raw time series: the mean of a window after onset minus the mean of a
baseline before it.

The first variant of the fmri2img scripts worked this way, without a GLM. Every run file has one
more volume than its design file (trailing volumes are dropped), and sessions with resting-state
runs count their NSD runs from 02 (NSD manual, "Time-series data").
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri2img.datasets.nsd.design import UNITS
from fmri2img.datasets.nsd.volumes import stream_voxels
from fmri2img.project.config import TimeseriesParams
from fmri2img.project.exceptions import ConfigError, FormatError, MismatchError
from fmri2img.project.files import check_file


@dataclass(frozen=True)
class RunFiles:
    """One NSD run on disk: volumes, onsets, and the 0-based image ids that the responses table
    gives for it.
    """

    volumes: Path
    onsets: Path
    image_ids: np.ndarray


def read_session_responses(
    runs: list[RunFiles],
    mask: np.ndarray,
    params: TimeseriesParams,
    tr_seconds: float,
    *,
    remedy: str,
) -> np.ndarray:
    """Read the responses to all trials of one session.

    Parameters
    ----------
    runs : list of RunFiles
        The 12 NSD runs in order, rest runs left out.
    mask : ndarray, shape (x, y, z), bool
    params : TimeseriesParams
        Window and baseline.
    tr_seconds : float
        Time between volumes.
    remedy : str
        The command that fetches the files.

    Returns
    -------
    ndarray, shape (750, n_voxels), int16
        Percent of the run's mean x 300, like betas; 0 in all trials if the voxel is masked in any
        run.

    Raises
    ------
    MismatchError
        If a design file shows other images than the responses table.
    FormatError
        If a run has fewer volumes than its design.
    ConfigError
        If a window reaches beyond the run for some trial.
    """
    responses = [_run_responses(run, mask, params, tr_seconds, remedy=remedy) for run in runs]
    masked = np.any([np.isnan(response).any(axis=0) for response in responses], axis=0)
    whole = np.concatenate(responses)
    whole[:, masked] = np.nan
    return UNITS.to_stored(whole)


def read_onsets(path: Path, *, remedy: str) -> np.ndarray:
    """Read a design file, shape (n_volumes,), int64: the 1-based 73k id where an image appears,
    else 0.
    """
    check_file(path, remedy)
    try:
        with warnings.catch_warnings(action="ignore"):  # of an empty file
            onsets = np.loadtxt(path, dtype=np.int64, ndmin=1)
    except ValueError as error:
        raise FormatError(
            f"{path}: expected one whole number a line ({error}); run: {remedy}"
        ) from error
    if onsets.ndim != 1 or not len(onsets):
        raise FormatError(
            f"{path}: got numbers of shape {onsets.shape}, expected one a line; run: {remedy}"
        )
    return onsets


def _run_responses(
    run: RunFiles, mask: np.ndarray, params: TimeseriesParams, tr_seconds: float, *, remedy: str
) -> np.ndarray:
    """Return percent of the run's mean, shape (n_trials, n_voxels), float32; NaN where the voxel
    is masked.
    """
    onsets = read_onsets(run.onsets, remedy=remedy)
    volumes = np.flatnonzero(onsets)
    if not np.array_equal(onsets[volumes] - 1, run.image_ids):
        raise MismatchError(
            f"{run.onsets}: shows {len(volumes)} images that are not the {len(run.image_ids)} of "
            "responses.tsv for this run; "
            "resting-state runs shift the numbers of files by one"
        )
    series = np.array(
        list(map(np.copy, stream_voxels(run.volumes, mask, remedy=remedy))), dtype=np.float32
    )
    if len(series) < len(onsets):
        raise FormatError(
            f"{run.volumes}: got {len(series)} volumes, expected at least {len(onsets)} as in "
            f"{run.onsets.name}; run: {remedy}"
        )
    series = series[: len(onsets)]
    mean = series.mean(axis=0)
    mean[mean <= 0] = np.nan  # int16 files mark a voxel without data by 0
    after = _window_means(series, volumes, params.window_seconds, tr_seconds, "window_seconds")
    before = _window_means(series, volumes, params.baseline_seconds, tr_seconds, "baseline_seconds")
    return 100 * (after - before) / mean


def _window_means(
    series: np.ndarray, onsets: np.ndarray, window: list[float], tr_seconds: float, key: str
) -> np.ndarray:
    """Average the volumes whose time from onset lies in [first, last), shape (n_trials,
    n_voxels).
    """
    # The margin keeps a volume at exactly 4 s within a window from 4 s, whatever 3 x 4/3 rounds to.
    first, last = (int(np.ceil(seconds / tr_seconds - 1e-6)) for seconds in window)
    offsets = np.arange(first, last)
    if not len(offsets) or onsets[0] + first < 0 or onsets[-1] + last > len(series):
        raise ConfigError(
            f"params.yaml: extract_betas.timeseries.{key}: {window} holds {len(offsets)} volumes "
            f"of {tr_seconds:.3g} s and must lie within "
            f"the run for every trial; choose a window between {-onsets[0] * tr_seconds:.3g} and "
            f"{(len(series) - onsets[-1]) * tr_seconds:.3g} s"
        )
    return series[onsets[:, None] + offsets].mean(axis=1)

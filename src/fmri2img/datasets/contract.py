"""The check of files against what their dataset declares."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fmri2img.containers.storage import JoinedArray
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.units import Units
from fmri2img.datasets.protocol import Facts
from fmri2img.project.exceptions import MismatchError

_ID_KINDS = {"numbers": "iu", "texts": "U"}
_VOXELS_AT_ONCE = 512
# What a voxel's SD over trials may be, by a word of the unit's name. Betas a thousand times too
# large or too small have another unit than declared.
_LIKELY_SD = {"percent": (0.02, 50.0), "zscore": (0.05, 20.0)}


def check_betas(trials: TrialBetas, facts: Facts, subject: str) -> TrialBetas:
    """Check betas against what the dataset declares; return them with its title and terms.

    Parameters
    ----------
    trials : TrialBetas
        ``betas`` may be on disk.
    facts : Facts
    subject : str
        Expected subject.

    Raises
    ------
    MismatchError
        If a declared fact does not hold; the message names it.
    """
    for fact, fault in _faults(trials, facts, subject):
        if fault:
            raise MismatchError(
                f"{facts.title}: {subject}: {fault}; correct the data, or what the dataset "
                f"declares ({fact})"
            )
    about = {"title": facts.title, "terms": facts.terms}
    return replace(trials, provenance=trials.provenance | about)


def _faults(trials: TrialBetas, facts: Facts, subject: str) -> Iterator[tuple[str, str]]:
    """Yield each declared fact with the fault that contradicts it, empty if there is none."""
    owner = trials.provenance["subject"]
    yield "subjects", "" if owner == subject else f"the betas belong to {owner}"
    kind = trials.image_ids.dtype.kind
    is_declared = kind in _ID_KINDS[facts.ids]
    yield "ids", "" if is_declared else f"image ids are {trials.image_ids.dtype}, not {facts.ids}"
    units = Units.of(trials.provenance)
    yield "units", "" if units == facts.units else f"betas are in {units}, not in {facts.units}"
    yield "units", _scale_fault(trials, facts.units)
    ids, counts = np.unique(trials.image_ids, return_counts=True)
    most = int(counts.max(initial=0))
    fault = f"image {ids[counts.argmax()]} was shown {most} times, not {facts.n_repetitions}"
    stated = trials.n_repetitions == facts.n_repetitions
    yield "n_repetitions", "" if most <= facts.n_repetitions and stated else fault
    splits = trials.provenance["splits"]
    yield "splits", "" if splits == list(facts.splits) else f"splits are {splits}"
    yield "missing", _missing(trials) if facts.missing == "refused" else ""


def _scale_fault(trials: TrialBetas, units: Units) -> str:
    """Return how betas contradict the name of their unit; empty if they do not."""
    name = re.sub(r"[ _-]", "", units.name.lower()).replace("%", "percent")
    likely = [limits for word, limits in _LIKELY_SD.items() if word in name]
    if not likely:
        return ""
    block = _columns(trials, slice(0, _VOXELS_AT_ONCE)).astype(np.float32) / units.per_unit
    finite = [values[np.isfinite(values)] for values in block.T]
    deviations = np.array([values.std() for values in finite if values.any()])
    typical = float(np.nanmedian(deviations)) if deviations.size else np.nan
    (lowest, highest), *_ = likely
    if np.isnan(typical) or lowest <= typical <= highest:
        return ""
    return (
        f"betas vary with an SD of {typical:.3g} (median of voxels), expected {lowest:g} to "
        f"{highest:g} in {units.name}"
    )


def _columns(trials: TrialBetas, voxels: slice) -> np.ndarray:
    """Return all trials of some voxels, wherever the betas are."""
    betas = trials.betas
    part: np.ndarray = (
        betas.read_columns(voxels) if isinstance(betas, JoinedArray) else betas[:, voxels]
    )
    return part


def _missing(trials: TrialBetas) -> str:
    if not trials.valid.all():
        session = trials.sessions[np.flatnonzero(~trials.valid.all(axis=1))[0]]
        return f"session {session} has voxels without data"
    if np.issubdtype(trials.betas.dtype, np.integer):
        return ""
    for start in range(0, trials.n_voxels, _VOXELS_AT_ONCE):
        block = _columns(trials, slice(start, start + _VOXELS_AT_ONCE))
        if len(places := np.argwhere(~np.isfinite(block))):
            trial, voxel = places[0]
            return f"trial {trial}, voxel {start + voxel} (from 0) has no finite beta"
    return ""

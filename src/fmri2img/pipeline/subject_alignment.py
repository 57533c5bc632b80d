"""Check one subject's trials, pictures and volumes against one another, from the pipeline's files.

The betas of at most `_N_VOXELS` voxels are read, those with the highest noise ceiling if there is
one; trials of test images take no part (`fmri2img.evaluation.alignment`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fmri2img.containers.examples import Examples
from fmri2img.containers.ids import find_rows
from fmri2img.containers.ncsnr import (
    common_repetitions,
    estimate_ncsnr,
    noise_ceiling,
    zscore_sessions,
)
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.units import Units
from fmri2img.evaluation.alignment import (
    CLEAR,
    FEWEST_TRIALS,
    Features,
    Finding,
    check_alignment,
)
from fmri2img.evaluation.shown_trials import GIVEN, ShownTrials
from fmri2img.features.halves import half_features
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.layout import examples_path, split_path, voxels_path

Progress = Callable[..., Any]
_N_VOXELS, _BEST = 2000, 0.1
_TRIALS_AT_ONCE, _PICTURES_AT_ONCE = 256, 256
_PICTURES_OF_OTHERS = 1500  # of each other subject: enough to recognize a table
_LARGEST = 5.0  # responses beyond so many SDs are clipped: a few artefacts would decide


@dataclass(frozen=True)
class Alignment:
    """What was found for one subject.

    Attributes
    ----------
    subject : str
    data_source : str
    finding : Finding
    knows_sides : bool
        Whether the file says which hemisphere a voxel lies in.
    explained, ceiling : float
        Percent of the variance of single trials that pictures explain, and could explain, in the
        tenth of the voxels with the highest ceiling; a NaN ceiling: no image was repeated.
    """

    subject: str
    data_source: str
    finding: Finding
    knows_sides: bool
    explained: float
    ceiling: float

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, rounded, for ``reports/alignment``."""
        finding = self.finding
        # With too few trials nothing is wrong, and nothing is known.
        is_told = finding.match(GIVEN).n_trials >= FEWEST_TRIALS
        return {
            "subject": self.subject,
            "data_source": self.data_source,
            "fault": finding.fault if is_told else "",
            "matches": [
                {
                    "pictures": match.name,
                    "n_trials": match.n_trials,
                    "mean": round(match.mean, 3),
                    "standard_errors": round(match.standard_errors, 1),
                }
                for match in finding.matches
            ],
            "remarks": list(_remarks(self)) if is_told else [finding.fault],
        }


@dataclass(frozen=True)
class _Table:
    """Image of each trial, and the images that are not for tests."""

    trials: TrialBetas
    examples: Examples
    is_withheld: np.ndarray  # of each trial


def check_subject(subject: str, others: list[str], progress: Progress) -> Alignment:
    """Check one subject's files; tables of others that are here are tried, too.

    Parameters
    ----------
    subject : str
    others : list of str
    progress : callable
        Wraps iterables, with ``total``.
    """
    table = _open(subject)
    tables = {other: _open(other) for other in others if _is_here(other)}
    ids, blocks = _pictures(table, tables)
    features = Features(*half_features(progress(blocks, desc="pictures")))
    trials, chosen = table.trials, _chosen_voxels(table.trials)
    betas = _read(trials, chosen, progress)
    kept, responses = ~table.is_withheld, np.zeros_like(betas)
    responses[kept] = np.nan_to_num(zscore_sessions(betas[kept], trials.session[kept]))
    shown = ShownTrials(
        np.clip(responses, -_LARGEST, _LARGEST),
        _rows(ids, trials.image_ids, table.is_withheld),
        trials.session,
        trials.run,
        _is_left(trials, chosen),
    )
    at_same_places = {
        f"the table of {name}": _at(trials, other, ids) for name, other in tables.items()
    }
    finding = check_alignment(shown, features, at_same_places)
    ceilings = _ceilings(table, betas)
    best = np.argsort(-np.nan_to_num(ceilings))[: max(1, round(_BEST * len(ceilings)))]
    is_known = shown.is_left is not None
    explained, ceiling = (float(values[best].mean()) for values in (finding.explained, ceilings))
    source = trials.provenance["data_source"]
    return Alignment(subject, source, finding, is_known, explained, ceiling)


def _is_here(subject: str) -> bool:
    return voxels_path(subject).exists() and examples_path(subject).exists()


def _open(subject: str) -> _Table:
    data = SubjectData(subject)
    trials, examples = (
        data.trial_betas(on_disk=["betas"]),
        data.examples(on_disk=["images", "betas"]),
    )
    withheld = trials.is_shared
    if split_path(subject).exists():  # random ones test on images that are not set apart
        withheld = withheld | np.isin(trials.image_ids, data.split().ids("test"))
    return _Table(trials, examples, withheld)


def _pictures(table: _Table, others: dict[str, _Table]) -> tuple[pd.Index, Iterator[np.ndarray]]:
    """Return image ids, and their pictures in the same order, a few at a time."""
    known, sources = pd.Index([], dtype=table.trials.image_ids.dtype), []
    # A test image here may be a training image of another subject.
    withheld = pd.Index(np.unique(table.trials.image_ids[table.is_withheld]))
    for each, at_most in ((table, None), *((one, _PICTURES_OF_OTHERS) for one in others.values())):
        ids = pd.Index(pd.unique(each.trials.image_ids[~each.is_withheld])[:at_most])
        new = ids.difference(known).difference(withheld)
        rows = np.sort(find_rows(each.examples.image_ids, new, "examples"))
        sources.append((each.examples, rows))
        known = known.append(pd.Index(each.examples.image_ids[rows]))
    blocks = (
        examples.images[rows[start : start + _PICTURES_AT_ONCE]]
        for examples, rows in sources
        for start in range(0, len(rows), _PICTURES_AT_ONCE)
    )
    return known, blocks


def _chosen_voxels(trials: TrialBetas) -> np.ndarray:
    """Return the voxels to read, ascending: those with the highest ceiling on training images, or
    any.
    """
    if trials.n_voxels <= _N_VOXELS:
        return np.arange(trials.n_voxels)
    order = np.random.default_rng(0).permutation(trials.n_voxels)
    if np.isfinite(trials.training_ncsnr).any():
        order = np.argsort(-np.nan_to_num(trials.training_ncsnr), kind="stable")
    return np.sort(order[:_N_VOXELS])


def _is_left(trials: TrialBetas, voxels: np.ndarray) -> np.ndarray | None:
    """Return which voxels lie in the left hemisphere, by the affine; None if it is made up, as for
    a folder's positions.
    """
    if trials.provenance.get("func_space") == "own grid":
        return None
    positions = np.c_[trials.voxel_ijk[voxels], np.ones(len(voxels))] @ trials.affine.T
    is_left: np.ndarray = positions[:, 0] < 0
    return is_left


def _read(trials: TrialBetas, voxels: np.ndarray, progress: Progress) -> np.ndarray:
    """Read the betas of some voxels, in the dataset's unit; NaN: missing."""
    units, rows = Units.of(trials.provenance), np.searchsorted(trials.sessions, trials.session)
    betas = np.empty((len(trials.image_ids), len(voxels)), np.float32)
    starts = range(0, len(betas), _TRIALS_AT_ONCE)
    for start in progress(starts, desc="betas", total=len(starts)):
        block = slice(start, start + _TRIALS_AT_ONCE)
        stored = trials.betas[block][:, voxels]
        betas[block] = units.from_stored(stored, trials.valid[rows[block]][:, voxels])
    return betas


def _rows(ids: pd.Index, image_ids: np.ndarray, is_withheld: np.ndarray) -> np.ndarray:
    """Return the row of each trial's picture, shape (n_trials,); -1: for tests, or not known."""
    rows: np.ndarray = np.where(is_withheld, -1, ids.get_indexer(pd.Index(image_ids)))
    return rows


def _at(trials: TrialBetas, other: _Table, ids: pd.Index) -> np.ndarray:
    """Return the pictures that another subject's table names at the places of these trials."""
    places, of_other = (
        pd.MultiIndex.from_arrays([each.session, each.run, each.trial])
        for each in (trials, other.trials)
    )
    at_place = of_other.get_indexer(places)
    rows = _rows(ids, other.trials.image_ids, other.is_withheld)
    at: np.ndarray = np.where(at_place >= 0, rows[at_place], -1)
    return at


def _ceilings(table: _Table, betas: np.ndarray) -> np.ndarray:
    """Return each voxel's noise ceiling for single trials, in percent, from images that are not
    for tests; NaN if none was repeated.
    """
    kept = ~table.is_withheld
    image_ids = table.trials.image_ids[kept]
    ncsnr = estimate_ncsnr(
        betas[kept],
        table.trials.session[kept],
        image_ids,
        n_repetitions=common_repetitions(image_ids),
    )
    return noise_ceiling(ncsnr, 1)


def report(alignment: Alignment) -> list[str]:
    """Return what was found, in lines for the terminal."""
    finding, simulated = alignment.finding, alignment.data_source == "simulated"
    verdict = finding.fault or "trials, pictures and volumes belong together"
    lines = [f"{alignment.subject}: {verdict}{' (SIMULATED DATA)' if simulated else ''}"]
    width = max(len(match.name) for match in finding.matches) + 2
    lines.append(f"  {'pictures':{width}s} match  standard errors above 0")
    for match in finding.matches:
        measured = f"{match.mean:6.3f}  {match.standard_errors:.1f}"
        words = measured if match.n_trials else "  no such trials"
        lines.append(f"  {match.name:{width}s}{words}")
    return [*lines, *(f"  {line}" for line in _remarks(alignment))]


def _sides(alignment: Alignment) -> str:
    side = alignment.finding.side
    if not alignment.knows_sides:
        return "the file does not say which voxels they hold, so left and right are not told"
    if abs(side) < CLEAR:
        return "both halves of the picture predict them alike, so left and right are not told"
    half = "opposite half" if side > 0 else "half on its own side"
    return f"each follows the {half} of the picture ({abs(side):.0f} standard errors)"


def _remarks(alignment: Alignment) -> Iterator[str]:
    finding = alignment.finding
    if not finding.explained.any():
        return
    yield f"hemispheres: {_sides(alignment)}"
    could = (
        "no image was shown twice, so there is no noise ceiling"
        if np.isnan(alignment.ceiling)
        else f"{alignment.ceiling:.0f} % could be explained (noise ceiling)"
    )
    yield (
        f"best voxels: pictures explain {alignment.explained:.0f} % of the variance of single "
        f"trials; {could}"
    )

"""A subject's responses, regions and voxels from plain arrays, for datasets stored in this form."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fmri2img.containers.ncsnr import above_threshold, common_repetitions, estimate_ncsnr
from fmri2img.containers.stored import FORMAT
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.datasets.nsd.volumes import slab_centre_affine
from fmri2img.datasets.protocol import Facts, LabelVolume, Region
from fmri2img.datasets.session_faults import session_fault
from fmri2img.project.config import ExtractBetasParams, SessionLimits
from fmri2img.project.exceptions import FormatError
from fmri2img.provenance.receipts import RawFiles, Receipt

_LIMITS = SessionLimits()


@dataclass(frozen=True)
class Recording:
    """Measurements of one subject.

    Attributes
    ----------
    betas : ndarray, shape (n_trials, n_voxels), float32
        In the dataset's unit; NaN: missing.
    trials : DataFrame, n_trials rows
        ``session``, ``run``, ``trial`` (from 1, in time order), ``image_id`` and ``is_test``:
        whether the image is set apart for tests.
    voxel_ijk : ndarray, shape (n_voxels, 3), int64
        0-based position of each voxel, without duplicates.
    voxel_mm : float
    """

    betas: np.ndarray
    trials: pd.DataFrame
    voxel_ijk: np.ndarray
    voxel_mm: float

    def trial_betas(
        self,
        region: Region,
        params: ExtractBetasParams,
        facts: Facts,
        raw: RawFiles,
        shared: RawFiles,
        limits: SessionLimits = _LIMITS,
    ) -> TrialBetas:
        """Return the betas of a region's voxels, in C order over (i, j, k)."""
        kept = self._voxels_of(region)
        session = self.trials["session"].to_numpy(np.int16)
        image_ids = self.trials["image_id"].to_numpy(
            np.int64 if facts.ids == "numbers" else np.str_
        )
        is_test = self.trials["is_test"].to_numpy(bool)
        ncsnr = np.full(len(kept), np.nan, np.float32)
        if params.needs_training_ncsnr:
            ncsnr = estimate_ncsnr(
                self.betas[~is_test][:, kept],
                session[~is_test],
                image_ids[~is_test],
                n_repetitions=common_repetitions(image_ids[~is_test]),
            )
        chosen = above_threshold(ncsnr, params.min_ncsnr)
        kept, ncsnr = kept[chosen], ncsnr[chosen]
        betas, sessions = self.betas[:, kept], np.unique(session)
        self._check_sessions(betas, f"{facts.title}: {raw.name}", limits)
        return TrialBetas(
            voxel_ijk=self.voxel_ijk[kept].astype(np.int16),
            roi_labels=region.labels[tuple(self.voxel_ijk[kept].T)],
            ncsnr=np.full(len(kept), np.nan, np.float32),
            training_ncsnr=ncsnr,
            in_brain=np.ones(len(kept), bool),
            sessions=sessions,
            valid=np.stack([np.isfinite(betas[session == one]).any(axis=0) for one in sessions]),
            saturated=np.zeros((len(sessions), len(kept)), np.int16),
            affine=slab_centre_affine(region.labels.shape, self.voxel_mm),
            provenance=describe_voxels(
                region,
                params,
                facts,
                raw,
                shared,
                voxel_mm=self.voxel_mm,
                func_space="own grid",
                beta_version=facts.title,
            ),
            betas=betas,
            image_ids=image_ids,
            is_shared=is_test,
            session=session,
            run=self.trials["run"].to_numpy(np.int16),
            trial=self.trials["trial"].to_numpy(np.int16),
            repetition=count_repetitions(self.trials),
        )

    def _check_sessions(self, betas: np.ndarray, whose: str, limits: SessionLimits) -> None:
        for one, rows in self.trials.reset_index(drop=True).groupby("session").groups.items():
            if fault := session_fault(betas[rows], limits):
                raise FormatError(
                    f"{whose}: session {one}: {fault}; correct the betas, or leave the session out "
                    "(datasets.folder.sessions)"
                )

    def _voxels_of(self, region: Region) -> np.ndarray:
        rows = np.flatnonzero(region.mask[tuple(self.voxel_ijk.T)])
        return rows[np.lexsort(self.voxel_ijk[rows].T[::-1])]


def count_repetitions(trials: pd.DataFrame) -> np.ndarray:
    """Count how often each trial's image was shown before in time, whatever the rows' order, shape
    (n_trials,), int8.
    """
    in_time = trials.sort_values(["session", "run", "trial"], kind="stable")
    counts = in_time.groupby("image_id").cumcount()
    return counts.loc[trials.index].to_numpy(np.int8)


def describe_voxels(
    region: Region,
    params: ExtractBetasParams,
    facts: Facts,
    raw: RawFiles,
    shared: RawFiles,
    *,
    voxel_mm: float,
    func_space: str,
    beta_version: str,
) -> dict[str, Any]:
    """Return the provenance of a region's betas."""
    return {
        "subject": raw.name,
        "data_source": Receipt.common_source(raw.receipt, shared.receipt),
        "region": region.about,
        "roi_names": {str(label): name for label, name in region.names.items()},
        "func_space": func_space,
        "responses": "betas",
        "beta_version": beta_version,
        "timeseries": None,
        "voxel_mm": voxel_mm,
        "grid": list(region.mask.shape),
        "selection": {
            "labels": params.labels,
            "min_ncsnr": params.min_ncsnr,
            "recompute_ncsnr": params.recompute_ncsnr,
            "n_voxels_before_ncsnr": int(region.mask.sum()),
        },
        "units": facts.units.record(),
        "n_repetitions": facts.n_repetitions,
        "splits": list(facts.splits),
        "code_version": FORMAT,
        "receipts": {
            each.name: {"md5": each.receipt.md5(), "sha256_of_records": each.receipt.digest()}
            for each in (raw, shared)
        },
    }


def label_volume(voxel_ijk: np.ndarray, names: list[str], roi: str, voxel_mm: float) -> LabelVolume:
    """Return regions on the smallest grid that holds all voxels.

    Parameters
    ----------
    voxel_ijk : ndarray, shape (n_voxels, 3), int64
    names : list of str, n_voxels long
        Region of each voxel; empty: none.
    roi : str
        Name of the set of regions.
    voxel_mm : float
    """
    numbers = {name: label for label, name in enumerate(dict.fromkeys(filter(None, names)), 1)}
    labels = np.zeros(tuple(voxel_ijk.max(axis=0) + 1), np.int16)
    labels[tuple(voxel_ijk.T)] = [numbers.get(name, 0) for name in names]
    table = {label: name for name, label in numbers.items()}
    about = {"roi": roi, "drawn_in": "func", "mapping": None, "names": table}
    return LabelVolume(labels, voxel_mm, about)

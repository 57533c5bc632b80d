"""The betas of a region's voxels, all sessions, from raw files to one container."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from fmri2img.config import ExtractBetasParams, NsdParams
from fmri2img.containers import TrialBetas
from fmri2img.exceptions import ConfigError, MismatchError
from fmri2img.nsd.betas import read_session_betas
from fmri2img.nsd.design import (
    SESSIONS_HELD,
    TRIALS_PER_SESSION,
    ExperimentDesign,
    read_design,
    read_responses,
    repetitions,
)
from fmri2img.nsd.paths import EXPDESIGN, VOXEL_SIZES_MM, SubjectFiles, subject_number
from fmri2img.nsd.rois import read_labels
from fmri2img.nsd.volumes import check_same_grid, read_volume
from fmri2img.receipts import Receipt

Progress = Callable[[Iterable], Iterable]


def extract_betas(
    receipt: Receipt,
    shared_receipt: Receipt,
    root: Path,
    roi_path: Path,
    roi_names: dict[int, str],
    nsd: NsdParams,
    params: ExtractBetasParams,
    *,
    progress: Progress = iter,
) -> TrialBetas:
    """Read the betas of a region's voxels from all sessions.

    Parameters
    ----------
    receipt, shared_receipt : Receipt
        The subject's raw files and those shared by all subjects.
    root : Path
        NSD root.
    roi_path : Path
        Label volume in functional space.
    roi_names : dict of int to str
        Names of its labels.
    nsd, params
        Space, version, sessions; labels to keep.
    progress : callable
        Wraps the list of sessions.

    Returns
    -------
    TrialBetas
        Trials in time order; voxels in C order over (x, y, z).
    """
    files = SubjectFiles(receipt.name, nsd.func_space)
    remedy = f"dvc repro {receipt.stage}"
    sessions = nsd.sessions_of(receipt.name, SESSIONS_HELD[subject_number(receipt.name) - 1])
    labels, affine = read_labels(roi_path, remedy=f"dvc repro convert_roi@{receipt.name}")
    mask = _chosen_voxels(labels, roi_names, params.labels)
    trials = read_responses(receipt.locate(root, files.responses()), sessions, remedy=remedy)
    paths = [receipt.locate(root, files.betas(nsd.beta_version, session, nsd.beta_format)) for session in sessions]
    betas = np.empty((len(trials), int(mask.sum())), dtype=np.int16)
    for rows, path in zip(np.split(betas, len(sessions)), progress(paths), strict=True):
        rows[:] = read_session_betas(path, mask, remedy=remedy)
    # int16 cannot hold NaN: a voxel without data in a session is 0 in all its trials.
    valid = (betas.reshape(len(sessions), TRIALS_PER_SESSION, -1) != 0).any(axis=1)
    ncsnr_path = receipt.locate(root, files.ncsnr(nsd.beta_version))
    ncsnr = read_volume(ncsnr_path, remedy=remedy)
    check_same_grid(ncsnr_path, ncsnr, mask.shape, affine, str(roi_path))
    design = read_design(shared_receipt.locate(root, EXPDESIGN), remedy=f"dvc repro {shared_receipt.stage}")
    image_ids = trials["image_id"].to_numpy()
    _check_order(image_ids, design, sessions, receipt.name, str(files.responses()))
    return TrialBetas(
        voxel_ijk=np.argwhere(mask).astype(np.int16),
        roi_labels=labels[mask],
        ncsnr=np.asarray(ncsnr.dataobj)[mask].astype(np.float32),
        sessions=np.asarray(sessions, dtype=np.int16),
        valid=valid,
        affine=affine,
        provenance=_provenance(receipt, shared_receipt, mask, roi_names, nsd),
        betas=betas,
        image_ids=image_ids,
        is_shared=np.isin(image_ids, design.shared_image_ids),
        session=trials["session"].to_numpy(np.int16),
        run=trials["run"].to_numpy(np.int16),
        trial=trials["trial"].to_numpy(np.int16),
        repetition=repetitions(image_ids).astype(np.int8),
    )


def _chosen_voxels(labels: np.ndarray, names: dict[int, str], chosen: str | list[str]) -> np.ndarray:
    if chosen == "all":
        mask = labels > 0
    else:
        numbers = {name: label for label, name in names.items()}
        if unknown := [name for name in chosen if name not in numbers]:
            raise ConfigError(
                f"params.yaml: extract_betas.labels: there is no label {unknown[0]!r} in this ROI; choose from: {', '.join(numbers)}"
            )
        mask = np.isin(labels, [numbers[name] for name in chosen])
    if not mask.any():
        raise MismatchError(
            f"params.yaml: extract_betas.labels: {chosen} has no voxel in this subject, expected at least one; "
            f"choose from: {', '.join(names.values())}"
        )
    return mask


def _check_order(image_ids: np.ndarray, design: ExperimentDesign, sessions: list[int], subject: str, where: str) -> None:
    """Refuse responses of another subject or in another order: betas would be paired with wrong pictures."""
    expected = np.concatenate([design.trial_image_ids(subject_number(subject), session) for session in sessions])
    if len(wrong := np.flatnonzero(image_ids != expected)):
        session, trial = sessions[wrong[0] // TRIALS_PER_SESSION], wrong[0] % TRIALS_PER_SESSION + 1
        raise MismatchError(
            f"{where}: session {session}, trial {trial} showed 73KID {image_ids[wrong[0]] + 1}, expected {expected[wrong[0]] + 1} "
            f"by {EXPDESIGN} ({len(wrong)} trials differ); use the responses of {subject}, in the order of the experiment"
        )


def _provenance(receipt: Receipt, shared_receipt: Receipt, mask: np.ndarray, roi_names: dict[int, str], nsd: NsdParams) -> dict:
    return {
        "subject": receipt.name,
        "data_source": receipt.source,
        "roi_names": {str(label): name for label, name in roi_names.items()},
        "func_space": nsd.func_space,
        "beta_version": nsd.beta_version,
        "voxel_mm": VOXEL_SIZES_MM[nsd.func_space],
        "grid": list(mask.shape),
        "receipts": {each.name: each.digest() for each in (receipt, shared_receipt)},
    }

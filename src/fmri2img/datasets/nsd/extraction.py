"""Responses of a region's voxels in all sessions, from raw files to one container.

Sessions are read in parallel and leave one piece each (`datasets.pieces`), so memory does not grow
with their number and an interrupted run resumes where it stopped. The pieces are joined at the end
without being read into memory.
"""

from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from fmri2img.containers.ncsnr import above_threshold
from fmri2img.containers.stored import FORMAT
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.datasets.nsd.design import (
    N_REPETITIONS,
    SESSIONS_HELD,
    SPLITS,
    TRIALS_PER_SESSION,
    UNITS,
    ExperimentDesign,
    read_design,
    read_responses,
    repetitions,
)
from fmri2img.datasets.nsd.paths import EXPDESIGN, VOXEL_SIZES_MM, SubjectFiles, subject_number
from fmri2img.datasets.nsd.sessions import locate_sessions, read_sessions
from fmri2img.datasets.nsd.volumes import check_same_grid, read_array, read_volume
from fmri2img.datasets.protocol import Region, Resources
from fmri2img.project.config import ExtractBetasParams
from fmri2img.project.exceptions import MismatchError
from fmri2img.project.nsd_params import NsdParams
from fmri2img.provenance.receipts import RawFiles, Receipt

NcsnrEstimator = Callable[..., np.ndarray]


def extract_betas(
    raw: RawFiles,
    shared: RawFiles,
    region: Region,
    nsd: NsdParams,
    params: ExtractBetasParams,
    *,
    estimate_ncsnr: NcsnrEstimator,
    resources: Resources,
) -> TrialBetas:
    """Read the responses of a region's voxels from all sessions.

    Parameters
    ----------
    raw, shared : RawFiles
        The subject's raw files and those shared by all subjects.
    region : Region
        Voxels in functional space.
    nsd, params
        Space, version, sessions; labels, threshold, windows.
    estimate_ncsnr : callable
        `containers.ncsnr.estimate_ncsnr`: ncsnr from the trials' betas, sessions and image ids.
    resources : Resources

    Returns
    -------
    TrialBetas
        Trials in time order; voxels in C order over (x, y, z). ``betas`` is still on disk.
    """
    files = SubjectFiles(raw.name, nsd.func_space)
    sessions = nsd.sessions_of(raw.name, SESSIONS_HELD[subject_number(raw.name) - 1])
    trials = read_responses(raw.locate(files.responses()), sessions, remedy=raw.remedy)
    design = read_design(shared.locate(EXPDESIGN), remedy=shared.remedy)
    image_ids = trials["image_id"].to_numpy()
    _check_order(image_ids, design, sessions, raw.name, str(files.responses()))
    # Check everything that can be wrong before reading the sessions, which is slow.
    in_brain = _read_on_grid(raw, files.brainmask(), region) > 0
    ncsnr = _shipped_ncsnr(raw, files, region, nsd)
    machine, progress = resources.machine, resources.progress
    sources = locate_sessions(raw, sessions, trials, nsd, params.timeseries, watch=resources.watch)
    for path in (path for source in sources for path in source.volumes):
        image = read_volume(path, remedy=raw.remedy)
        check_same_grid(path, image, region.mask.shape, region.affine, "the region of interest")
    pieces = read_sessions(sources, region.mask, resources.workspace, machine, progress=progress)
    is_shared = np.isin(image_ids, design.shared_image_ids)
    ijk = np.argwhere(region.mask)
    training_ncsnr = np.full(len(ijk), np.nan, dtype=np.float32)
    if params.needs_training_ncsnr:
        training_ncsnr = pieces.ncsnr(
            trials["session"].to_numpy(),
            image_ids,
            ~is_shared,
            estimate=partial(estimate_ncsnr, n_repetitions=N_REPETITIONS),
            progress=progress,
        )
    kept = above_threshold(training_ncsnr, params.min_ncsnr)
    if not kept.all():
        pieces = pieces.narrow(kept, machine)
    at = tuple(ijk[kept].T)
    return TrialBetas(
        voxel_ijk=ijk[kept].astype(np.int16),
        roi_labels=region.labels[at],
        ncsnr=ncsnr[at],
        training_ncsnr=training_ncsnr[kept],
        in_brain=in_brain[at],
        sessions=np.asarray(sessions, dtype=np.int16),
        valid=pieces.stack("valid"),
        saturated=pieces.stack("saturated"),
        affine=region.affine,
        provenance=_provenance(raw, shared, region, nsd, params),
        betas=pieces.betas,
        image_ids=image_ids,
        is_shared=is_shared,
        session=trials["session"].to_numpy(np.int16),
        run=trials["run"].to_numpy(np.int16),
        trial=trials["trial"].to_numpy(np.int16),
        repetition=repetitions(image_ids).astype(np.int8),
    )


def _shipped_ncsnr(
    raw: RawFiles, files: SubjectFiles, region: Region, nsd: NsdParams
) -> np.ndarray:
    """Return NSD's ncsnr on the region's grid, shape (x, y, z), float32; NaN if NSD ships none, as
    for responses other than its betas.
    """
    path = files.ncsnr(nsd.beta_version)
    if nsd.responses == "betas" and raw.lists(path):
        return _read_on_grid(raw, path, region).astype(np.float32)
    return np.full(region.mask.shape, np.nan, dtype=np.float32)


def _read_on_grid(raw: RawFiles, name: PurePosixPath, region: Region) -> np.ndarray:
    path = raw.locate(name)
    image = read_volume(path, remedy=raw.remedy)
    check_same_grid(path, image, region.mask.shape, region.affine, "the region of interest")
    return read_array(path, image, remedy=raw.remedy)


def _check_order(
    image_ids: np.ndarray, design: ExperimentDesign, sessions: list[int], subject: str, where: str
) -> None:
    """Refuse responses of another subject or in another order: betas would be paired with wrong
    pictures.
    """
    expected = np.concatenate(
        [design.trial_image_ids(subject_number(subject), session) for session in sessions]
    )
    if len(wrong := np.flatnonzero(image_ids != expected)):
        session, trial = sessions[wrong[0] // TRIALS_PER_SESSION], wrong[0] % TRIALS_PER_SESSION + 1
        raise MismatchError(
            f"{where}: session {session}, trial {trial} showed 73KID {image_ids[wrong[0]] + 1}, "
            f"expected {expected[wrong[0]] + 1} "
            f"by {EXPDESIGN} ({len(wrong)} trials differ); use the responses of {subject}, in the "
            "order of the experiment"
        )


def _provenance(
    raw: RawFiles, shared: RawFiles, region: Region, nsd: NsdParams, params: ExtractBetasParams
) -> dict:
    from_betas = nsd.responses == "betas"
    return {
        "subject": raw.name,
        "data_source": Receipt.common_source(raw.receipt, shared.receipt),
        "region": region.about,
        "roi_names": {str(label): name for label, name in region.names.items()},
        "func_space": nsd.func_space,
        "responses": nsd.responses,
        "beta_version": nsd.beta_version if from_betas else "timeseries",
        "timeseries": None if from_betas else params.timeseries.model_dump(),
        "voxel_mm": VOXEL_SIZES_MM[nsd.func_space],
        "grid": list(region.mask.shape),
        "selection": {
            "labels": params.labels,
            "min_ncsnr": params.min_ncsnr,
            "recompute_ncsnr": params.recompute_ncsnr,
            "n_voxels_before_ncsnr": int(region.mask.sum()),
        },
        # the hash of every line is in dvc.lock: an edited comment must not change this file
        "code_version": FORMAT,
        "units": UNITS.record(),
        "n_repetitions": N_REPETITIONS,
        "splits": list(SPLITS),
        "receipts": {
            each.name: {"md5": each.receipt.md5(), "sha256_of_records": each.receipt.digest()}
            for each in (raw, shared)
        },
    }

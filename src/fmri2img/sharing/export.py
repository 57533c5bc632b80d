"""Voxel files in the forms that other code reads: one ``.npz``, or arrays as two public
repositories make them from NSD.

The folders hold exactly the responses that those repositories' own scripts would write for the same
sessions and region: stored units (300 per percent), 0 where a voxel has no data, images in the
order of their first showing, and each repository's own order of voxels. Pictures and captions,
which those scripts write too, are not in a voxel file and so not in these folders.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from fmri2img.containers.units import PERCENT, Units
from fmri2img.project.exceptions import ConfigError
from fmri2img.project.files import replacing, write_text
from fmri2img.sharing.voxel_file import VoxelFile

# Betas and image ids in an .npz: in percent signal change, and in other units.
NAMES_IN_NPZ = (("betas_percent", "image_ids_0based"), ("betas", "image_ids"))
ExportFormat = Literal["npz", "takagi", "brain-diffuser"]


def names_in_npz(units: Units) -> tuple[str, str]:
    """Return the names of betas and image ids in an ``.npz``; they contain the unit if it is
    percent signal change.
    """
    return NAMES_IN_NPZ[0] if units.name == PERCENT else NAMES_IN_NPZ[1]


def export_npz(voxels: VoxelFile, target: Path) -> list[Path]:
    """Write one compressed ``.npz``: betas in their unit (float32, NaN where a voxel has no data)
    with all ids, without pickle.
    """
    trials = voxels.trials
    betas, image_ids = names_in_npz(voxels.units)
    arrays = {
        betas: voxels.in_units(),
        image_ids: trials.image_ids,
        "is_shared": trials.is_shared,
        "session": trials.session,
        "run": trials.run,
        "trial": trials.trial,
        "repetition": trials.repetition,
        "voxel_ijk": voxels.voxel_ijk,
        "roi_names": voxels.roi_names,
        "ncsnr": voxels.ncsnr,
        "affine": trials.affine,
        "note": np.array(voxels.terms),
        "provenance_json": np.array(json.dumps(trials.provenance, sort_keys=True)),
    }
    with replacing(target) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return [target]


def export_takagi(voxels: VoxelFile, folder: Path) -> list[Path]:
    """Write a folder as ``make_subjmri.py`` of Takagi & Nishimoto's repository does
    (``mrifeat/<subject>``).

    For each region, ``<subject>_<region>_betas_tr.npy`` and ``_te`` hold single trials in time
    order (int16), ``_betas_ave_tr`` and ``_ave_te`` averages of each image (float64); ``te`` are
    the shared images. ``<subject>_stims.npy`` and ``_stims_ave.npy`` hold the 0-based 73k ids of
    all trials and images. Voxels run through the volume with x fastest, as in the HDF5 files.
    """
    trials, subject = voxels.trials, voxels.trials.provenance["subject"]
    _check_numbers(voxels, "takagi")
    images = _by_first_showing(trials.image_ids)
    is_shared = np.isin(images, voxels.shared_image_ids)
    written = [
        _save(folder / f"{subject}_stims.npy", trials.image_ids),
        _save(folder / f"{subject}_stims_ave.npy", images),
    ]
    order = np.lexsort(voxels.voxel_ijk.T)  # z, then y, then x
    stored, regions = voxels.stored()[:, order], voxels.roi_names[order]
    for name in sorted(set(regions)):
        betas = stored[:, regions == name]
        averages = _average_stored(betas, trials.image_ids, images)
        label = name.replace(":", "-").replace("/", "-")
        arrays = {
            "betas_tr": betas[~trials.is_shared],
            "betas_te": betas[trials.is_shared],
            "betas_ave_tr": averages[~is_shared],
            "betas_ave_te": averages[is_shared],
        }
        written += [
            _save(folder / f"{subject}_{label}_{kind}.npy", values)
            for kind, values in arrays.items()
        ]
    return [*written, _notice(voxels, folder)]


def export_brain_diffuser(voxels: VoxelFile, folder: Path) -> list[Path]:
    """Write a folder as ``prepare_nsddata.py`` of Brain-Diffuser does
    (``processed_data/<subject>``).

    ``nsd_train_fmriavg_nsdgeneral_sub<N>.npy`` and ``nsd_test_...`` hold averages of each image (in
    single precision, as there, stored as float64), the shared images as test set, whatever the
    region of the voxels: extract ``nsdgeneral`` for the published one.
    ``nsd_<part>_image_ids_sub<N>.npy`` adds the 0-based 73k id of each row.
    """
    _check_numbers(voxels, "brain-diffuser")
    number = int(voxels.trials.provenance["subject"].removeprefix("subj"))
    images = _by_first_showing(voxels.trials.image_ids)
    averages = _average_stored(
        voxels.stored(), voxels.trials.image_ids, images, precision=np.float32
    ).astype(np.float64)
    is_shared = np.isin(images, voxels.shared_image_ids)
    written = []
    for part, rows in (("train", ~is_shared), ("test", is_shared)):
        written.append(
            _save(folder / f"nsd_{part}_fmriavg_nsdgeneral_sub{number}.npy", averages[rows])
        )
        written.append(_save(folder / f"nsd_{part}_image_ids_sub{number}.npy", images[rows]))
    return [*written, _notice(voxels, folder)]


EXPORTERS: dict[str, Callable[[VoxelFile, Path], list[Path]]] = {
    "npz": export_npz,
    "takagi": export_takagi,
    "brain-diffuser": export_brain_diffuser,
}


def _check_numbers(voxels: VoxelFile, form: str) -> None:
    """Refuse data of any dataset but the one that those repositories use."""
    subject = voxels.trials.provenance["subject"]
    number = subject.removeprefix("subj")
    if not (number.isascii() and number.isdigit() and voxels.units.name == PERCENT):
        raise ConfigError(
            f"{form} is a form of NSD's data, and {subject} is of "
            f"{voxels.trials.provenance['title']}; export npz"
        )


def _by_first_showing(image_ids: np.ndarray) -> np.ndarray:
    unique_ids, first = np.unique(image_ids, return_index=True)
    return unique_ids[np.argsort(first)]


def _average_stored(
    betas: np.ndarray, trial_image_ids: np.ndarray, images: np.ndarray, precision: type = np.float64
) -> np.ndarray:
    """Average stored units over each image's trials, shape (n_images, n_voxels)."""
    order = np.argsort(trial_image_ids, kind="stable")
    ascending, starts, counts = np.unique(
        trial_image_ids[order], return_index=True, return_counts=True
    )
    # Whole numbers: exact in either precision.
    sums = np.add.reduceat(betas[order], starts, axis=0, dtype=precision)
    return (sums / counts[:, None].astype(precision))[np.searchsorted(ascending, images)]


def _save(path: Path, values: np.ndarray) -> Path:
    with replacing(path) as partial:
        np.save(partial, values, allow_pickle=False)
    return path


def _notice(voxels: VoxelFile, folder: Path) -> Path:
    path = folder / "README.txt"
    made_from = json.dumps(voxels.trials.provenance, indent=2, sort_keys=True)
    write_text(
        path,
        f"{voxels!r}\n\n{voxels.terms}\n\nMade from:\n{made_from}\n",
    )
    return path

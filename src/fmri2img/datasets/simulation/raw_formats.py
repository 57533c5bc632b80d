"""Write the simulated experiment as a tree of files with NSD's names, layouts and traps."""

import io
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import pandas as pd
import scipy.io
from isal import igzip, isal_zlib

from fmri2img.containers.ncsnr import estimate_ncsnr
from fmri2img.containers.storage import writing
from fmri2img.datasets.marks import MARK
from fmri2img.datasets.nsd.design import (
    N_IMAGES,
    N_REPETITIONS,
    RUNS_PER_SESSION,
    TR_SECONDS,
    TRIALS_PER_SESSION,
    VOLUMES_PER_SLOT,
    rest_runs_shift,
)
from fmri2img.datasets.nsd.paths import (
    EXPDESIGN,
    STIM_INFO,
    STIMULI,
    VOXEL_SIZES_MM,
    BetaVersion,
    SubjectFiles,
    on_disk,
    own_stimuli,
)
from fmri2img.datasets.nsd.rois import write_label_table
from fmri2img.datasets.nsd.volumes import nsd_header, write_volume
from fmri2img.datasets.simulation.trial_order import N_SLOTS, SimulatedDesign, stim_info_table
from fmri2img.project.files import replacing, write_bytes, write_text
from fmri2img.provenance.receipts import SIMULATED_NOTICE

IMAGE_SIDE = 425
_PICTURE = (IMAGE_SIDE, IMAGE_SIDE, 3)
BRICK = "imgBrick"
_COMPRESSED = 15  # miCOMPRESSED, the type of a compressed element of a MAT file


def write_notice(root: Path) -> PurePosixPath:
    """Write a text file that says what the tree is; return its path."""
    write_text(on_disk(root, SIMULATED_NOTICE), f"The files in this folder are {MARK}.\n")
    return SIMULATED_NOTICE


def write_design(root: Path, design: SimulatedDesign, seed: int) -> list[PurePosixPath]:
    """Write ``nsd_expdesign.mat`` and ``nsd_stim_info_merged.csv``; return their paths."""
    experiment = design.experiment
    shown = experiment.master_order.reshape(-1, TRIALS_PER_SESSION)
    counts = [np.bincount(np.unique(row, return_counts=True)[1], minlength=4)[1:4] for row in shown]
    variables: dict[str, np.ndarray] = {
        "masterordering": (experiment.master_order[None] + 1).astype(np.uint16),
        "basiccnt": np.stack(counts, axis=1).astype(np.uint16),
        "sharedix": (experiment.shared_image_ids[None] + 1).astype(np.int32),
        "subjectim": (experiment.subject_images + 1).astype(np.int32),
        "stimpattern": design.stimulus_slots.astype(np.uint8),
    }
    write_bytes(on_disk(root, EXPDESIGN), matlab_file(variables))
    table = io.StringIO()
    stim_info_table(experiment, seed).assign(**{MARK: True}).to_csv(table, lineterminator="\n")
    write_text(on_disk(root, STIM_INFO), table.getvalue())
    return [EXPDESIGN, STIM_INFO]


def matlab_file(variables: dict[str, np.ndarray]) -> bytes:
    """Return a MAT level 5 file as MATLAB writes it: class double, values stored as small
    integers, each variable compressed.
    """
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables)
    content = bytearray(buffer.getvalue())
    # scipy puts the time of day into the header text.
    content[:116] = f"MATLAB 5.0 MAT-file, {MARK}".encode().ljust(116)
    parts, position = [bytes(content[:128])], 128
    while position < len(content):
        _, size = struct.unpack_from("<II", content, position)
        content[position + 16] = 6  # the class byte of the array flags: mxDOUBLE_CLASS
        element = isal_zlib.compress(bytes(content[position : position + 8 + size]), 1)
        parts += [struct.pack("<II", _COMPRESSED, len(element)), element]
        position += 8 + size
    return b"".join(parts)


def write_own_stimuli(
    root: Path, name: str, pictures: Iterable[np.ndarray], n: int
) -> PurePosixPath:
    """Write the pictures that only one subject sees, or the ``shared`` ones; return their path.

    Parameters
    ----------
    root : Path
    name : str
    pictures : iterable of ndarray, shape (425, 425, 3), uint8
        In ascending order of their ids.
    n : int
        Number of pictures.
    """
    path = own_stimuli(name)
    with replacing(on_disk(root, path)) as partial, writing(partial) as file:
        file.attrs["source"] = MARK
        shape = (n, *_PICTURE)
        brick = file.create_dataset(BRICK, shape, np.uint8, chunks=(1, *_PICTURE) if n else None)
        for row, picture in enumerate(pictures):
            brick[row] = picture
    return path


def write_stimuli(root: Path, image_ids: dict[str, np.ndarray]) -> PurePosixPath:
    """Write ``nsd_stimuli.hdf5``: all 73 000 rows, which refer to the files of `own_stimuli`.

    The file does not depend on which of those files exist. Rows without a picture read as 0.

    Parameters
    ----------
    root : Path
    image_ids : dict of str to ndarray, shape (n,)
        0-based 73k ids, ascending, by the name of the file that holds them.
    """
    layout = h5py.VirtualLayout((N_IMAGES, *_PICTURE), np.uint8)
    layout.dcpl.set_obj_track_times(False)
    for name, ids in image_ids.items():
        if len(ids):
            source = own_stimuli(name).name
            layout[ids] = h5py.VirtualSource(source, BRICK, (len(ids), *_PICTURE))
    with replacing(on_disk(root, STIMULI)) as partial, writing(partial) as file:
        file.attrs["source"] = MARK
        file.create_virtual_dataset(BRICK, layout, fillvalue=0)
    return STIMULI


def write_responses(root: Path, files: SubjectFiles, table: pd.DataFrame) -> PurePosixPath:
    """Write ``responses.tsv``; missing values are written as NaN."""
    text = table.assign(**{MARK: 1}).to_csv(
        sep="\t", index=False, na_rep="NaN", float_format="%.15g", lineterminator="\n"
    )
    write_text(on_disk(root, files.responses()), text)
    return files.responses()


def write_design_runs(
    root: Path, files: SubjectFiles, design: SimulatedDesign, session: int, number: int
) -> list[PurePosixPath]:
    """Write a session's onset files, one per run; in sessions with rest runs the NSD runs are 02
    to 13, and the others are all zero.
    """
    image_ids = iter(design.experiment.trial_image_ids(number, session) + 1)
    per_slot = VOLUMES_PER_SLOT[files.func_space]
    shift = rest_runs_shift(number, session)
    written = []
    for file_run in range(1, RUNS_PER_SESSION + 2 * shift + 1):
        onsets = np.zeros(N_SLOTS * per_slot, dtype=np.int64)
        if shift < file_run <= RUNS_PER_SESSION + shift:
            for slot in np.flatnonzero(design.stimulus_slots[session - 1, file_run - shift - 1]):
                onsets[per_slot * slot] = next(image_ids)
        path = files.design(session, file_run)
        # Nothing is shown at first; readers of numbers skip the comment.
        lines = [f"{onsets[0]}\t# {MARK}\n", *(f"{onset}\n" for onset in onsets[1:])]
        write_text(on_disk(root, path), "".join(lines))
        written.append(path)
    return written


def write_roi(
    root: Path,
    path_of: Callable[[str], PurePosixPath],
    name: str,
    volumes: dict[str, np.ndarray],
    voxel_mm: float,
) -> list[PurePosixPath]:
    """Write an ROI and its hemispheres as float64 volumes, shape (x, y, z); ``volumes`` is keyed by
    prefix (``""``, ``"lh."``, ``"rh."``).
    """
    written = []
    for prefix, labels in volumes.items():
        path = path_of(prefix + name)
        write_volume(on_disk(root, path), labels.astype(np.float64), voxel_mm, description=MARK)
        written.append(path)
    return written


def write_label_tables(
    root: Path, tables: Iterable[PurePosixPath], names: dict[int, str]
) -> list[PurePosixPath]:
    """Write the same label table to several places."""
    written = list(tables)
    for table in written:
        write_label_table(on_disk(root, table), names, comment=MARK)
    return written


def write_betas_hdf5(
    path: Path,
    shape: tuple[int, int, int],
    slabs: Iterator[np.ndarray],
    n_trials: int = TRIALS_PER_SESSION,
) -> None:
    """Write one session's betas, a slab at a time.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        Grid (x, y, z).
    slabs : iterator of ndarray, shape (n_trials, y, x), int16
        One for each z, in order.
    n_trials : int
    """
    with replacing(path) as partial, writing(partial) as file:
        file.attrs["source"] = MARK
        stored = file.create_dataset(
            "betas",
            (n_trials, *shape[::-1]),
            np.int16,
            chunks=(n_trials, 1, 1, 1),
        )
        for z, slab in enumerate(slabs):
            stored[:, z] = slab


def write_betas_nifti(path: Path, hdf5_path: Path, voxel_mm: float, tr: float) -> None:
    """Write the same betas as NIfTI, volumes one after another, from the HDF5 file."""
    with h5py.File(hdf5_path, "r", locking=False) as file:
        betas = file["betas"][
            ()
        ]  # (n_trials, z, y, x): in C order exactly the byte order of a NIfTI file
    header = nsd_header(
        betas.shape[::-1],
        betas.dtype,
        voxel_mm,
        tr=tr,
        lowest=int(betas.min()),
        highest=int(betas.max()),
        description=MARK,
    )
    with (
        replacing(path) as partial,
        partial.open("wb") as raw,
        igzip.IGzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=1) as file,
    ):
        file.write(header)
        for volume in betas:
            file.write(np.ascontiguousarray(volume, dtype="<i2").tobytes())


def write_timeseries(
    path: Path, mask: np.ndarray, series: np.ndarray, voxel_mm: float, func_space: str
) -> None:
    """Write one run's volumes.

    Parameters
    ----------
    path : Path
    mask : ndarray, shape (x, y, z), bool
        Other voxels are 0.
    series : ndarray, shape (n_volumes, n_voxels), int16
        Voxels of the mask in C order.
    voxel_mm : float
    func_space : str
        Sets the time between volumes.
    """
    volumes = np.zeros((*mask.shape, len(series)), dtype=np.int16)
    volumes[mask] = series.T
    write_volume(path, volumes, voxel_mm, tr=TR_SECONDS[func_space], description=MARK)


def write_ncsnr(
    root: Path,
    files: SubjectFiles,
    version: BetaVersion,
    betas: list[PurePosixPath],
    mask: np.ndarray,
    image_ids: np.ndarray,
) -> list[PurePosixPath]:
    """Write ncsnr of all images, and of odd and even ones, computed from the betas files.

    Parameters
    ----------
    root : Path
    files : SubjectFiles
    version : str
    betas : list of PurePosixPath
        HDF5 files, one for each session.
    mask : ndarray, shape (x, y, z), bool
        Elsewhere ncsnr is NaN.
    image_ids : ndarray, shape (750 * n_sessions,)
        Images of all trials.
    """
    sessions = np.repeat(np.arange(len(betas)), TRIALS_PER_SESSION)
    shown = np.unique(image_ids)
    halves = {"": shown, "_split1": shown[::2], "_split2": shown[1::2]}
    volumes = {suffix: np.full(mask.shape, np.nan, dtype=np.float32) for suffix in halves}
    for z in range(mask.shape[2]):
        inside = mask[:, :, z]
        slabs = [_read_slab(on_disk(root, path), z)[:, inside] for path in betas]
        for suffix, chosen in halves.items():
            volumes[suffix][:, :, z][inside] = estimate_ncsnr(
                np.concatenate(slabs),
                sessions,
                image_ids,
                n_repetitions=N_REPETITIONS,
                chosen=chosen,
            )
    written = []
    for suffix, volume in volumes.items():
        written.append(files.ncsnr(version, suffix))
        write_volume(
            on_disk(root, written[-1]),
            volume,
            VOXEL_SIZES_MM[files.func_space],
            tr=TR_SECONDS[files.func_space],
            description=MARK,
        )
    return written


def _read_slab(path: Path, z: int) -> np.ndarray:
    """Read one plane of a session's betas, shape (750, x, y), int16."""
    with h5py.File(path, "r", locking=False) as file:
        return file["betas"][:, z].transpose(0, 2, 1)

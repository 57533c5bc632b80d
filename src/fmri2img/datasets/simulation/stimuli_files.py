"""The files that all simulated subjects share: design, tables and pictures."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from joblib import Parallel, delayed
from PIL import Image, ImageOps

from fmri2img.datasets.nsd.design import N_SUBJECTS, SESSIONS_HELD, ExperimentDesign
from fmri2img.datasets.nsd.paths import fsaverage_label_table, template_label_table
from fmri2img.datasets.nsd.rois import LABEL_NAMES
from fmri2img.datasets.simulation import raw_formats as writers
from fmri2img.datasets.simulation.label_volumes import ATLASES_ON_FSAVERAGE, THALAMUS_NAMES
from fmri2img.datasets.simulation.scenes import describe_scene, paint_scene
from fmri2img.datasets.simulation.trial_order import draw_design, sessions_of, shown_images
from fmri2img.project.exceptions import FormatError, MissingDataError
from fmri2img.project.nsd_params import NsdParams, SimulatedNsdParams, SimulationParams
from fmri2img.project.places import where_it_is

SHARED = "shared"


def simulate_shared(root: Path, nsd: SimulatedNsdParams) -> list[PurePosixPath]:
    """Write the files that do not depend on which subjects are simulated: design tables, the
    pictures that all subjects see, and the stimulus file that refers to every subject's pictures.

    Parameters
    ----------
    root : Path
        Becomes the NSD root.
    nsd : SimulatedNsdParams
        Only pictures that its sessions show are painted.

    Returns
    -------
    list of PurePosixPath
        The files, relative to ``root``.
    """
    seed = nsd.simulation.seed
    design = draw_design(seed)
    pictures = _divide_pictures(design.experiment, nsd)
    written = [
        writers.write_notice(root),
        *writers.write_design(root, design, seed),
        write_pictures(root, SHARED, nsd, pictures[SHARED], are_shared=True),
        writers.write_stimuli(root, pictures),
    ]
    for roi in ATLASES_ON_FSAVERAGE:
        written += writers.write_label_tables(root, [fsaverage_label_table(roi)], LABEL_NAMES[roi])
    for roi, names in (("MTL", LABEL_NAMES["MTL"]), ("thalamus", THALAMUS_NAMES)):
        written += writers.write_label_tables(root, [template_label_table(roi)], names)
    return written


def write_pictures(
    root: Path, name: str, nsd: SimulatedNsdParams, image_ids: np.ndarray, *, are_shared: bool
) -> PurePosixPath:
    """Paint pictures, or crop those of a folder, and write them; return the path of the file.

    Parameters
    ----------
    root : Path
    name : str
        A subject, or ``shared``.
    nsd : SimulatedNsdParams
    image_ids : ndarray, shape (n,)
        0-based 73k ids, ascending.
    are_shared : bool
        Whether all subjects see them; a folder's pictures are divided accordingly.
    """
    pictures = _pictures(nsd.simulation, image_ids, are_shared=are_shared)
    return writers.write_own_stimuli(root, name, pictures, len(image_ids))


def _divide_pictures(design: ExperimentDesign, nsd: SimulatedNsdParams) -> dict[str, np.ndarray]:
    """Return the ids of the pictures that only one subject sees, for each of NSD's subjects, and
    of the ``shared`` ones, each of shape (n,).
    """
    shown = {}
    for number in range(1, N_SUBJECTS + 1):
        sessions = _sessions_shown(number, nsd)
        shown[f"subj{number:02d}"] = np.unique(shown_images(design, number, sessions))
    everywhere = np.unique(np.concatenate(list(shown.values())))
    shared = np.intersect1d(everywhere, design.shared_image_ids)
    return {SHARED: shared} | {name: np.setdiff1d(ids, shared) for name, ids in shown.items()}


def _sessions_shown(number: int, nsd: NsdParams) -> list[int]:
    """Return the chosen sessions that a subject did; there may be none."""
    if isinstance(nsd.sessions, list):
        return sessions_of(number, nsd.sessions)
    return nsd.sessions_of(f"subj{number:02d}", SESSIONS_HELD[number - 1])


def _pictures(
    simulation: SimulationParams, image_ids: np.ndarray, *, are_shared: bool
) -> Iterator[np.ndarray]:
    """Paint scenes, or crop a folder's pictures, on all cores and in order.

    NumPy releases Python's lock for most of it: threads are as fast as processes, which would load
    all packages first.
    """
    if simulation.pictures == "scenes":
        jobs = (delayed(_paint)(simulation.seed, int(image_id)) for image_id in image_ids)
    else:
        shared, unique = _divide_folder(where_it_is(simulation.pictures))
        paths = shared if are_shared else unique
        jobs = (
            delayed(_crop)(paths[image_id % len(paths)], image_id // len(paths))
            for image_id in image_ids
        )
    return Parallel(n_jobs=-1, prefer="threads", batch_size=8, return_as="generator")(jobs)


def _divide_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """Keep every tenth picture for the shared images: a crop of a test picture must not be among
    the others.
    """
    paths = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    )
    if len(paths) < 2:
        raise MissingDataError(
            f"{folder}: got {len(paths)} .jpg or .png pictures, expected at least 2; "
            "set datasets.simulated.simulation.pictures to scenes or to a folder of pictures"
        )
    return paths[::10], [path for index, path in enumerate(paths) if index % 10]


def _paint(seed: int, image_id: int) -> np.ndarray:
    return paint_scene(describe_scene(seed, image_id), writers.IMAGE_SIDE)


def _crop(path: Path, turn: int) -> np.ndarray:
    """Cut a square; later uses of the same picture are cut elsewhere, and every second one is
    mirrored, so that no two are alike.
    """
    rng = np.random.default_rng([turn, 425])
    try:
        if not path.is_file():  # to open a pipe would wait for ever
            raise OSError("it is no file")
        with Image.open(path) as picture:
            whole = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FormatError(
            f"{path}: not a picture that can be read ({error}); remove it from the folder that "
            "datasets.simulated.simulation.pictures names, or replace it"
        ) from error
    side = round(min(whole.size) * (1.0 if turn == 0 else rng.uniform(0.6, 0.95)))
    left, top = (round((extent - side) * rng.random()) for extent in whole.size)
    square = whole.crop((left, top, left + side, top + side)).resize(
        (writers.IMAGE_SIDE,) * 2, Image.Resampling.BICUBIC
    )
    return np.asarray(ImageOps.mirror(square) if turn % 2 else square)

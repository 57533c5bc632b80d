"""The files that all simulated subjects share: design, tables and pictures."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from joblib import Parallel, delayed
from PIL import Image, ImageOps

from fmri2img.datasets.nsd.design import SESSIONS_HELD, ExperimentDesign
from fmri2img.datasets.nsd.paths import fsaverage_label_table, subject_number
from fmri2img.datasets.nsd.rois import LABEL_NAMES
from fmri2img.datasets.simulation import raw_formats as writers
from fmri2img.datasets.simulation.cortex import ATLASES_ON_FSAVERAGE
from fmri2img.datasets.simulation.scenes import describe_scene, paint_scene
from fmri2img.datasets.simulation.trial_order import draw_design, shown_images
from fmri2img.project.config import NsdParams, SimulatedNsdParams, SimulationParams
from fmri2img.project.exceptions import MissingDataError


def simulate_shared(
    root: Path, nsd: SimulatedNsdParams, subjects: list[str]
) -> list[PurePosixPath]:
    """Write design tables and the pictures that the named subjects see.

    Parameters
    ----------
    root : Path
        Becomes the NSD root.
    nsd : SimulatedNsdParams
        Sessions count: only what they show is painted.
    subjects : list of str

    Returns
    -------
    list of PurePosixPath
        The files, relative to ``root``.
    """
    simulation = nsd.simulation
    design = draw_design(simulation.seed)
    written = [writers.write_notice(root), *writers.write_design(root, design, simulation.seed)]
    shown = [shown_in(design.experiment, subject, nsd) for subject in subjects]
    image_ids = np.unique(np.concatenate(shown))
    written.append(
        writers.write_stimuli(
            root, image_ids, _pictures(simulation, image_ids, design.experiment.shared_image_ids)
        )
    )
    for roi in ATLASES_ON_FSAVERAGE:
        written += writers.write_label_tables(root, [fsaverage_label_table(roi)], LABEL_NAMES[roi])
    return written


def _pictures(
    simulation: SimulationParams, image_ids: np.ndarray, shared_ids: np.ndarray
) -> Iterator[np.ndarray]:
    """Paint scenes, or crop a folder's pictures, on all cores and in order."""
    if simulation.pictures == "scenes":
        jobs = (delayed(_paint)(simulation.seed, int(image_id)) for image_id in image_ids)
    else:
        shared, unique = _divide_folder(Path(simulation.pictures))
        sources = (
            (shared if is_shared else unique) for is_shared in np.isin(image_ids, shared_ids)
        )
        jobs = (
            delayed(_crop)(paths[image_id % len(paths)], image_id // len(paths))
            for image_id, paths in zip(image_ids, sources, strict=True)
        )
    return Parallel(n_jobs=-1, batch_size=8, return_as="generator")(jobs)


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
    """Cut a square; later uses of the same picture are mirrored and cut elsewhere, so that no
    two are alike.
    """
    rng = np.random.default_rng([turn, 425])
    with Image.open(path) as picture:
        whole = picture.convert("RGB")
    side = round(min(whole.size) * (1.0 if turn == 0 else rng.uniform(0.6, 0.95)))
    left, top = (round((extent - side) * rng.random()) for extent in whole.size)
    square = whole.crop((left, top, left + side, top + side)).resize(
        (writers.IMAGE_SIDE,) * 2, Image.Resampling.BICUBIC
    )
    return np.asarray(ImageOps.mirror(square) if turn % 2 else square)


def shown_in(design: ExperimentDesign, subject: str, nsd: NsdParams) -> np.ndarray:
    """Return the 0-based 73k ids of the images that a subject saw in the chosen sessions, shape
    (n,).
    """
    number = subject_number(subject)
    return shown_images(design, number, nsd.sessions_of(subject, SESSIONS_HELD[number - 1]))

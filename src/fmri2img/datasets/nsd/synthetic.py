"""NSD-synthetic: one more session of each of NSD's subjects, with pictures of other kinds: noise,
gratings, words, and scenes that were inverted, sketched or faded. A test of encoders outside of
what they were trained on.

What the files hold, and the public source of each fact:

- 744 trials in 8 runs of 93, 284 pictures, the same order for all subjects (NSD Data Manual,
  "Functional data (nsdsynthetic)"). ``masterordering`` of the design numbers the picture of each
  trial from 1 (github.com/gifale95/NSD-synthetic, 00_prepare_fmri/prepare_nsdsynthetic_fmri.py).
- Each picture was shown 2, 4, 8 or 10 times (the same repository, `test_encoding` of
  paper_figure_4: 236, 32, 8 and 8 pictures). Some repetitions follow at once, for a one-back task.
- Betas are stored as those of the main experiment, 300 to a percent, in the folder
  ``nsdsyntheticbetas_fithrf_GLMdenoise_RR`` or ``nsdsyntheticbetas_fithrf``; voxels with data are
  in ``valid_nsdsynthetic.nii.gz`` (neurodatasets, gifford2025.nsd_synthetic, loader of betas).
- Pictures 1 to 220 are the same for all subjects; 221 to 284 are coloured, and each subject's own
  (paper_figure_4/01_extract_nsdsynthetic_image_features.py reads both files, ``imgBrick``).
- They are 714 x 1360 pixels on a grey ground. The square of 714 in their middle is where NSD's own
  pictures appeared, and the authors cut it out. They also take the square root of the values: these
  files hold what is proportional to the light, those of the main experiment do not (the same file).
"""

import numpy as np
from PIL import Image

from fmri2img.containers.examples import Examples
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.datasets.nsd.betas import read_session_betas
from fmri2img.datasets.nsd.design import read_numbers
from fmri2img.datasets.nsd.paths import (
    SYNTHETIC,
    SYNTHETIC_DESIGN,
    SYNTHETIC_STIMULI,
    SubjectFiles,
    synthetic_colours,
)
from fmri2img.datasets.nsd.stimuli import STIMULUS_SIDE, iterate_images
from fmri2img.datasets.session_faults import session_fault
from fmri2img.project.config import SessionLimits
from fmri2img.project.exceptions import ConfigError, FormatError, MismatchError
from fmri2img.project.nsd_params import NsdParams
from fmri2img.provenance.receipts import RawFiles, Receipt

N_TRIALS, N_IMAGES, N_SHARED = 744, 284, 220
FRAME = (714, 1360, 3)
REPETITIONS = {2: 236, 4: 32, 8: 8, 10: 8}  # number of showings to number of pictures
_SATURATED = (-32_768, 32_767)
_SQUARE_ROOTS = (np.sqrt(np.arange(256) / 255) * 255).round().astype(np.uint8)
_SESSION = 1  # counted within NSD-synthetic
_VOXEL_FACTS = ("voxel_ijk", "roi_labels", "ncsnr", "training_ncsnr", "in_brain", "affine")


def read_synthetic(
    raw: RawFiles,
    voxels: TrialBetas,
    nsd: NsdParams,
    limits: SessionLimits,
    *,
    image_size: int,
) -> tuple[Examples, TruePictures]:
    """Read trials and pictures of NSD-synthetic.

    Parameters
    ----------
    raw : RawFiles
        A subject's files of NSD-synthetic.
    voxels : TrialBetas
        The main experiment, whose voxels are read, in their order; ``betas`` may be on disk.
    nsd : NsdParams
    limits : SessionLimits
        Shares from which the session is refused as damaged.
    image_size : int
        Side of the pictures among the examples.

    Returns
    -------
    examples : Examples
        Image ids count NSD-synthetic's pictures from 0. Pictures whose middle square shows nothing
        are left out: no decoder could be judged by them.
    pictures : TruePictures
        The middle squares at the size of NSD's own pictures.

    Raises
    ------
    ConfigError
        If the project reads responses from time series.
    MismatchError
        If the voxels lie on another grid.
    FormatError
        If the files are not as the docstring of this module says.
    """
    check_responses(nsd)
    files = SubjectFiles(str(voxels.provenance["subject"]), nsd.func_space)
    shown = read_order(raw)
    betas = _read_betas(raw, files, voxels, nsd, limits)
    pictures = _pictures(raw, files.subject)
    is_visible = np.array([bool((picture != picture[0, 0]).any()) for picture in pictures])
    image_ids = np.flatnonzero(is_visible)
    trials = np.flatnonzero(is_visible[shown])
    trials = trials[np.argsort(shown[trials], kind="stable")]  # by picture, then in time order
    provenance = voxels.provenance | {
        "data_source": Receipt.common_source(raw.receipt),
        "ood": SYNTHETIC,
        "n_repetitions": max(REPETITIONS),
        "left_out": int((~is_visible).sum()),
        "receipts": {
            raw.name: {"md5": raw.receipt.md5(), "sha256_of_records": raw.receipt.digest()}
        },
    }
    examples = Examples(
        **{name: getattr(voxels, name) for name in _VOXEL_FACTS},
        sessions=np.array([_SESSION], np.int16),
        valid=(betas != 0).any(axis=0, keepdims=True),
        saturated=np.isin(betas, _SATURATED).sum(axis=0, keepdims=True).astype(np.int16),
        provenance=provenance,
        image_ids=image_ids,
        images=np.stack([_resized(pictures[image_id], image_size) for image_id in image_ids]),
        is_shared=image_ids < N_SHARED,
        betas=betas[trials],
        trial_image_ids=shown[trials],
        trial_session=np.full(len(trials), _SESSION, np.int16),
    )
    facts = {name: provenance[name] for name in ("data_source", "receipts")}
    large = TruePictures(
        image_ids,
        np.stack([pictures[image_id] for image_id in image_ids]),
        facts | {"picture_side": STIMULUS_SIDE},
    )
    return examples, large


def check_responses(nsd: NsdParams) -> None:
    """Refuse a project whose responses NSD-synthetic does not have.

    Raises
    ------
    ConfigError
        If they are read from time series, or are of the version b1.
    """
    if nsd.responses != "betas":
        raise ConfigError(
            f"params.yaml: ood: {SYNTHETIC} is read from betas, and the project's responses are "
            f"{nsd.responses}; set responses to betas, or empty ood"
        )
    if nsd.beta_version == "b1":
        raise ConfigError(
            f"params.yaml: ood: {SYNTHETIC} has the beta versions b2 and b3, and the project reads "
            "b1; set beta_version to one of them, or empty ood"
        )


def read_order(raw: RawFiles) -> np.ndarray:
    """Return the picture of each trial, counted from 0, shape (744,), int64.

    Raises
    ------
    FormatError
        If the design is not that of NSD-synthetic.
    """
    path = raw.locate(SYNTHETIC_DESIGN)
    name = "masterordering"
    [[order]] = read_numbers(path, {name: (1, N_TRIALS)}, {name: N_IMAGES}, remedy=raw.remedy)
    times = np.bincount(order, minlength=N_IMAGES)
    numbers, counts = np.unique(times, return_counts=True)
    if (got := dict(zip(numbers.tolist(), counts.tolist(), strict=True))) != REPETITIONS:
        raise FormatError(
            f"{path}: variable {name}: pictures by number of showings are {got}, expected "
            f"{REPETITIONS}; run: {raw.remedy}"
        )
    return np.asarray(order)


def _read_betas(
    raw: RawFiles,
    files: SubjectFiles,
    voxels: TrialBetas,
    nsd: NsdParams,
    limits: SessionLimits,
) -> np.ndarray:
    """Return the session's betas in stored units, shape (744, n_voxels), int16."""
    path = raw.locate(files.synthetic_betas(nsd.beta_version, nsd.beta_format))
    mask = np.zeros(voxels.provenance["grid"], bool)
    mask[tuple(voxels.voxel_ijk.T)] = True
    order = np.ravel_multi_index(tuple(voxels.voxel_ijk.T), mask.shape)
    if (np.diff(order) <= 0).any():
        raise MismatchError(
            "voxel_ijk: the voxels of the main experiment are not in the order of the volume; run: "
            f"dvc repro --force --single-item extract_betas@{files.subject}"
        )
    betas = read_session_betas(path, mask, remedy=raw.remedy, n_trials=N_TRIALS)
    if fault := session_fault(betas, limits):
        raise FormatError(f"{path}: {fault}; it is empty, cut or damaged; run: {raw.remedy}")
    return betas


def _pictures(raw: RawFiles, subject: str) -> list[np.ndarray]:
    """Return all pictures as those of the main experiment are stored, each of shape (425, 425, 3),
    uint8.
    """
    pictures = []
    of_files = {SYNTHETIC_STIMULI: N_SHARED, synthetic_colours(subject): N_IMAGES - N_SHARED}
    for name, n_pictures in of_files.items():
        path = raw.locate(name)
        for picture in iterate_images(path, np.arange(n_pictures), remedy=raw.remedy):
            if picture.shape != FRAME:
                raise FormatError(
                    f"{path}: a picture has shape {picture.shape}, expected {FRAME}; run: "
                    f"{raw.remedy}"
                )
            pictures.append(as_in_main_experiment(picture))
    return pictures


def as_in_main_experiment(picture: np.ndarray) -> np.ndarray:
    """Bring a picture of NSD-synthetic, shape (714, 1360, 3), uint8, to the form of NSD's own: the
    square in its middle, the square root of its values, 425 pixels wide.
    """
    side = FRAME[0]
    first = (FRAME[1] - side) // 2
    return _resized(_SQUARE_ROOTS[picture[:, first : first + side]], STIMULUS_SIDE)


def _resized(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))

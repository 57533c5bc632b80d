"""Where LAION-fMRI's files lie, relative to the folder of raw files."""

import re
from pathlib import PurePosixPath

# Subjects as this project names them; BIDS puts a hyphen into the name.
SUBJECTS = ("sub01", "sub03", "sub05", "sub06", "sub07")
SESSIONS = tuple(range(1, 31))
STIMULI = PurePosixPath("stimuli/task-images_stimuli.h5")
METADATA = PurePosixPath("stimuli/task-images_metadata.csv")
CAPTIONS = PurePosixPath("stimuli/task-images_desc-captions.csv")
FOLD_SPLITS = tuple(f"{kind}_{number}" for kind in ("random", "cluster_k5") for number in range(5))
SPLITS = ("tau", "ood", *FOLD_SPLITS)
_BETAS = PurePosixPath("derivatives/glmsingle-tedana")
_MASK = re.compile(
    r"derivatives/rois/(?P<subject>sub-\w+)/(?P<category>[^/]+)/(?P=subject)_space-T1w_res-1pt8_"
    r"label-(?P<label>[^/]+)_mask\.nii\.gz"
)


def bids_name(subject: str) -> str:
    """Return ``sub-01`` for ``sub01``."""
    return f"sub-{subject.removeprefix('sub')}"


def subject_folder(subject: str) -> PurePosixPath:
    """Return the folder of a subject's betas and maps."""
    return _BETAS / bids_name(subject)


def session_folder(subject: str, session: int) -> PurePosixPath:
    """Return the folder of a session's files."""
    return subject_folder(subject) / f"ses-{session:02d}" / "func"


def betas(subject: str, session: int) -> PurePosixPath:
    """Return the 4-D volume of a session's betas, one volume a trial."""
    name = f"{bids_name(subject)}_ses-{session:02d}_task-images_space-T1w_stat-effect"
    return session_folder(subject, session) / f"{name}_desc-SingletrialBetas_statmap.nii.gz"


def trials(subject: str, session: int) -> PurePosixPath:
    """Return the table that names the picture of each volume."""
    name = f"{bids_name(subject)}_ses-{session:02d}_task-images_desc-SingletrialBetas_trials.tsv"
    return session_folder(subject, session) / name


def explained(subject: str) -> PurePosixPath:
    """Return the volume of the mean R2 of the GLM over sessions; 0 where nothing was fitted."""
    name = f"{bids_name(subject)}_task-images_space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz"
    return subject_folder(subject) / name


def noise_ceiling(subject: str) -> PurePosixPath:
    """Return the volume of noise ceilings, in percent, for averages of four repetitions."""
    name = f"{bids_name(subject)}_task-images_space-T1w_desc-Noiseceiling4rep_statmap.nii.gz"
    return subject_folder(subject) / name


def split(name: str, subject: str) -> PurePosixPath:
    """Return a split that their package ships: of a subject's images, or of the ``shared`` ones."""
    pool = subject if subject == "shared" else bids_name(subject)
    return PurePosixPath("splits") / pool / f"{name}.json"


def mask_folder(subject: str) -> PurePosixPath:
    """Return the folder of the region masks, a folder for each category."""
    return PurePosixPath("derivatives/rois") / bids_name(subject)


def region_of(path: str) -> tuple[str, str] | None:
    """Return category and label of a region's mask; None if the path is none.

    The bucket writes FFA-1, their package FFA1 when it downloads: here, labels have no hyphens.
    """
    match = _MASK.fullmatch(path)
    return (match["category"], match["label"].replace("-", "")) if match else None

"""Where the project keeps its files, relative to its root folder; reads and writes nothing."""

from pathlib import Path

CHECKPOINTS, LOGS = Path(".checkpoints"), Path("logs")
JOURNALS = CHECKPOINTS / "journals"
FINGERPRINTS = Path("data/fingerprints")
ANATOMY = "-anatomy"
OOD_SCORES = Path("reports/ood")


def live_run_path(subject: str, model: str) -> Path:
    """Id of the MLflow run that an unfinished training logs to."""
    return CHECKPOINTS / subject / f"{model}.run"


def ledger_path(name: str) -> Path:
    """Record of the raw files hashed on this machine (`receipts.Ledger`)."""
    return Path(".verified") / f"{name}.json"


def fingerprint_path(stage: str, model: str = "") -> Path:
    """Fingerprint of a stage's code (`provenance.stage_fingerprints`), with the code of the model
    or dataset if the stage loads it by its name.
    """
    return FINGERPRINTS / stage / f"{model}.txt" if model else FINGERPRINTS / f"{stage}.txt"


def receipt_path(name: str) -> Path:
    """Receipt of a subject's raw files, of the ``shared`` ones, or of a further test set
    (`ood_name`).
    """
    return Path("data/receipts") / f"{name}.json"


def roi_path(subject: str) -> Path:
    """Label volume in functional space."""
    return Path("data/rois") / f"{subject}.nii.gz"


def roi_table_path(subject: str) -> Path:
    """Names of the labels of `roi_path`."""
    return Path("data/rois") / f"{subject}.json"


def pieces_path(subject: str) -> Path:
    """Sessions that an extraction has finished, until their voxels are joined."""
    return CHECKPOINTS / "voxels" / subject


def voxels_path(subject: str) -> Path:
    """`containers.TrialBetas`."""
    return Path("data/voxels") / f"{subject}.h5"


def examples_path(subject: str) -> Path:
    """`containers.Examples`."""
    return Path("data/examples") / f"{subject}.h5"


def anatomy_path(subject: str) -> Path:
    """`containers.Anatomy`."""
    return Path("data/anatomy") / f"{subject}.h5"


def maps_folder(subject: str) -> Path:
    """NIfTI volumes of the subject's voxels, and GIFTI files on fsaverage5."""
    return Path("data/maps") / subject


def brain_path(subject: str) -> Path:
    """Page with the maps of a subject's voxels."""
    return Path("reports/brains") / f"{subject}.html"


def split_path(subject: str) -> Path:
    """`containers.splits.Split`."""
    return Path("data/splits") / f"{subject}.json"


def alignment_path(subject: str) -> Path:
    """Whether trials, pictures and volumes belong together."""
    return Path("reports/alignment") / f"{subject}.json"


def truth_path(subject: str) -> Path:
    """`containers.TruePictures` of a subject's test images."""
    return Path("data/truth") / f"{subject}.h5"


def latents_path(subject: str) -> Path:
    """`containers.Latents`."""
    return Path("data/latents") / f"{subject}.h5"


def coco_folder() -> Path:
    """COCO's caption files, fetched or simulated; never among the user's own raw files."""
    return Path("data/raw/coco/annotations")


def captions_path(subject: str, model: str) -> Path:
    """Captions of a subject's pictures, by image id, for a model that learns from text."""
    return Path("data/captions") / subject / f"{model}.json"


def targets_path(subject: str, model: str) -> Path:
    """`containers.DiffusionTargets` of a model that steers Stable Diffusion."""
    return Path("data/targets") / subject / f"{model}.h5"


def generated_folder(subject: str, model: str) -> Path:
    """Pictures that an unfinished generation has made."""
    return CHECKPOINTS / "generated" / subject / model


def target_blocks_folder(subject: str, model: str) -> Path:
    """Blocks of targets that an unfinished stage has computed."""
    return CHECKPOINTS / "targets" / subject / model


def anatomy_name(subject: str) -> str:
    """Name of a subject's raw files that maps of voxels are drawn with."""
    return f"{subject}{ANATOMY}"


def ood_name(subject: str, test: str) -> str:
    """Name of a subject's raw files of a further test set."""
    return f"{subject}-{test}"


def ood_path(subject: str, test: str) -> Path:
    """`containers.Examples` of a further test set."""
    return Path("data/ood") / subject / f"{test}.h5"


def ood_pictures_path(subject: str, test: str) -> Path:
    """`containers.TruePictures` of a further test set."""
    return Path("data/ood") / subject / f"{test}_pictures.h5"


def prior_folder() -> Path:
    """Folder of the files of `prior_path`, one for each subject of the population."""
    return Path("data/prior")


def prior_path(subject: str) -> Path:
    """`containers.Latents` of the pictures of a subject of the population, without test images."""
    return prior_folder() / f"{subject}.h5"


def population_folder(model: str) -> Path:
    """Folder of the files of `voxel_priors_path`, one for each subject of the population."""
    return Path("data/population") / model


def voxel_priors_path(subject: str, model: str) -> Path:
    """`containers.VoxelPriors` of a subject of the population, for a model that learns from it."""
    return population_folder(model) / f"{subject}.h5"


def encoder_folder(subject: str, model: str) -> Path:
    """Weights and config of an encoder."""
    return Path("models") / subject / model


def encoding_model_path(subject: str) -> Path:
    """`containers.encoding_model.EncodingModel`, from latents to voxels."""
    return Path("models") / subject / "encoding_model.h5"


def encoding_scores_path(subject: str) -> Path:
    """Regions with their noise ceilings, and what the encoding model explains."""
    return Path("reports/encoding") / f"{subject}.json"


def references_path(subject: str) -> Path:
    """Scores of the rows that all encoders of a subject share: floors, ceilings, ridge."""
    return Path("reports/references") / f"{subject}.json"


def repetitions_path(subject: str, model: str) -> Path:
    """Scores by number of averaged repetitions."""
    return Path("reports/repetitions") / subject / f"{model}.csv"


def latent_map_path(subject: str, model: str) -> Path:
    """Correlation over test images of each latent number."""
    return Path("reports/latent_maps") / subject / f"{model}.csv"


def training_path(subject: str, model: str) -> Path:
    """Scores on validation images and facts about the training."""
    return Path("reports/training") / subject / f"{model}.json"


def curve_path(subject: str, model: str) -> Path:
    """Learning curve, one row an epoch."""
    return Path("reports/training") / subject / f"{model}.csv"


def validation_path(subject: str, model: str) -> Path:
    """Score of each validation image, on which encoders are compared before anybody looks at
    test images.
    """
    return Path("reports/validation") / subject / f"{model}.csv"


def reconstructions_path(subject: str, model: str) -> Path:
    """`containers.Reconstructions`."""
    return Path("data/reconstructions") / subject / f"{model}.h5"


def gallery_path(subject: str, model: str) -> Path:
    """Page of truth beside reconstruction."""
    return Path("reports/gallery") / subject / f"{model}.html"


def metrics_path(subject: str, model: str) -> Path:
    """Scores on test images with floors, ceiling, intervals and p-values."""
    return Path("reports/metrics") / subject / f"{model}.json"


def ood_metrics_path(subject: str, model: str, test: str) -> Path:
    """Scores on a further test set, with floors, ceiling and intervals."""
    return OOD_SCORES / subject / model / f"{test}.json"


def scores_path(subject: str, model: str) -> Path:
    """Scores of each test image."""
    return Path("reports/scores") / subject / f"{model}.csv"


def report_path(subject: str, model: str) -> Path:
    """Page with everything that is known about one encoder."""
    return Path("reports/runs") / subject / f"{model}.html"


def side_by_side_path() -> Path:
    """Page of every encoder's reconstruction of the same test images."""
    return Path("reports/pictures.html")


def pictures_folder() -> Path:
    """Pictures of `side_by_side_path`, loaded as they come into view."""
    return Path("reports/pictures")


def overview_path() -> Path:
    """First page: what the numbers say, headline scores and pictures of all encoders."""
    return Path("reports/index.html")


def comparison_path(ending: str) -> Path:
    """Table (``md``, ``json``), figure (``png``) or page (``html``) of all subjects and models."""
    return Path("reports") / f"comparison.{ending}"


def headlines_path() -> Path:
    """Headline scores of all subjects and models, for ``dvc metrics diff``."""
    return Path("reports/headlines.json")

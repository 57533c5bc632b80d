"""``params.yaml`` as typed settings, one class a section; a fault is an error with its line."""

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from fmri2img.project.exceptions import ConfigError
from fmri2img.project.param_types import BatchSize, Folder, Penalty, Seed, WebAddress
from fmri2img.project.places import original_of, where_it_is, with_home

PARAMS_PATH = Path("params.yaml")
RAW_ROOT_VARIABLE, _EARLIER_VARIABLE = "FMRI2IMG_RAW_ROOT", "FMRI2IMG_NSD_ROOT"
# No hyphen: DVC joins names with it.
Subject = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
DatasetName = ModelName
# shared: test images are those that the dataset sets apart.
SplitKind = Literal["shared", "random"]
Section = TypeVar("Section", bound=BaseModel)


class Params(BaseModel):
    """Base of all sections: frozen, strict, no unknown keys, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SessionLimits(Params):
    """Shares from which a session's betas are refused as damaged; they change no result."""

    empty_trials: Annotated[float, Field(ge=0, le=1)] = 0.02
    saturated: Annotated[float, Field(ge=0, le=1)] = 0.05


class MachineParams(Params):
    """Where raw files lie and how the machine is used; no result depends on it."""

    raw_root: Folder
    n_threads: Annotated[int, Field(ge=1, le=4096)] = 1  # as in projects of version 0.2.0
    n_jobs: Annotated[int, Field(ge=-1, le=4096)]
    dask_scheduler: str | None
    n_connections: Annotated[int, Field(ge=1, le=256)]
    network_weights: str | None
    launch: list[str]
    champion_webhook: WebAddress | None = None  # as in projects of version 0.3.0
    generation_batch: Literal["auto"] | BatchSize
    session_limits: SessionLimits = SessionLimits()  # as in projects of version 0.2.0

    @property
    def weights_folder(self) -> Path | None:
        """Folder that holds the weights of scoring networks, if one is named."""
        return where_it_is(self.network_weights) if self.network_weights else None

    @property
    def raw_folder(self) -> Path:
        """Where raw files lie: ``FMRI2IMG_RAW_ROOT`` of the environment, or else ``raw_root``."""
        here = self.own_raw_folder
        # Only the simulator writes raw files in a copy, with its notice.
        return here if (here / "SIMULATED.txt").exists() else original_of(here)

    @property
    def own_raw_folder(self) -> Path:
        """`raw_folder`, in a copy in which DVC runs an experiment that of the copy."""
        named = os.environ.get(RAW_ROOT_VARIABLE)
        if not named and os.environ.get(_EARLIER_VARIABLE):
            raise ConfigError(
                f"{_EARLIER_VARIABLE}: this environment variable is called {RAW_ROOT_VARIABLE} "
                "since version 0.2; set that one"
            )
        return with_home(named or self.raw_root)

    @model_validator(mode="after")
    def _some_process(self) -> Self:
        if self.n_jobs == 0:
            raise ValueError("n_jobs is a number of processes from 1, or -1 for all cores")
        return self


class ConvertRoiParams(Params):
    """Which regions, where they are drawn, and how they are brought to functional space."""

    roi: str | Annotated[list[str], Field(min_length=1)]
    drawn_in: Literal["anat", "func"]
    mapping: Literal["nearest", "winner_take_all"]

    @property
    def rois(self) -> list[str]:
        """The regions as a list."""
        return [self.roi] if isinstance(self.roi, str) else self.roi


class TimeseriesParams(Params):
    """A trial's response in a time series: seconds from onset, first included, last not."""

    window_seconds: Annotated[list[float], Field(min_length=2, max_length=2)]
    baseline_seconds: Annotated[list[float], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for name in ("window_seconds", "baseline_seconds"):
            first, last = getattr(self, name)
            if first >= last:
                raise ValueError(f"{name} must be [first, last] with first < last")
        return self


class ExtractBetasParams(Params):
    """Which of the region's voxels are kept, and how responses are read from time series."""

    labels: Literal["all"] | Annotated[list[str], Field(min_length=1)]
    recompute_ncsnr: bool
    min_ncsnr: Annotated[float, Field(ge=0)]
    timeseries: TimeseriesParams

    @property
    def needs_training_ncsnr(self) -> bool:
        """Whether ncsnr has to be estimated from training images."""
        return self.recompute_ncsnr or self.min_ncsnr > 0


class CollectAnatomyParams(Params):
    """What lies below maps of voxels: a volume, and the way to the template's surface."""

    underlay: Literal["mean", "T1", "none"]
    surface: bool


class CreateExamplesParams(Params):
    """Size of the pictures."""

    image_size: Annotated[int, Field(ge=16, le=1024, multiple_of=8)]


class SplitExamplesParams(Params):
    """How images are divided."""

    kind: SplitKind
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)]
    n_train_random: Annotated[int, Field(ge=1)]
    seed: Seed


class AutoencoderParams(Params):
    """The frozen autoencoder: a Hugging Face id or a folder."""

    source: str
    revision: str


class EncodeLatentsParams(Params):
    """How latents are computed."""

    batch_size: BatchSize


class FetchCaptionsParams(Params):
    """A folder of COCO's caption files, or a download; simulated data has captions of its own."""

    folder: str | None
    url: WebAddress


class DiffusionParams(Params):
    """The frozen Stable Diffusion of models that need one: a Hugging Face id or a folder."""

    source: str
    revision: str


class MakeTargetsParams(Params):
    """How the targets that a model learns besides latents are computed."""

    batch_size: BatchSize


class GenerateParams(Params):
    """How Stable Diffusion makes pictures from what was decoded.

    Attributes
    ----------
    n_steps : int
        Steps of DDIM from noise to picture.
    strength : float
        Share of the steps that a picture decoded from z goes through.
    guidance : float
        Weight of the decoded condition against the empty prompt.
    n_samples : int
        Pictures for each test image.
    precision : str
        ``float32``, ``float16``; ``auto`` is float16 on a GPU.
    seed : int
    """

    n_steps: Annotated[int, Field(ge=1, le=500)]
    strength: Annotated[float, Field(gt=0, le=1)]
    guidance: Annotated[float, Field(ge=0)]
    n_samples: Annotated[int, Field(ge=1, le=100)]
    precision: Literal["auto", "float32", "float16"]
    seed: Seed

    @property
    def n_denoised(self) -> int:
        """Steps that a picture decoded from z goes through, cut to a whole number."""
        return int(round(self.strength * self.n_steps, 6))

    @model_validator(mode="after")
    def _some_step(self) -> Self:
        if self.n_denoised < 1:
            raise ValueError(
                f"strength {self.strength} of {self.n_steps} steps is less than one step; raise "
                "either"
            )
        return self


class FitEncodingModelParams(Params):
    """How the encoding model from latents to voxels is fitted; which voxels its medians count."""

    penalties: Annotated[list[Penalty], Field(min_length=1)]
    n_folds: Annotated[int, Field(ge=2)]
    min_noise_ceiling: Annotated[float, Field(ge=0, lt=100)]
    seed: Seed


class PredictParams(Params):
    """What is reconstructed besides the test images.

    Attributes
    ----------
    n_train_images : int
        Training images, drawn at random.
    n_posterior_images, n_posterior_samples : int
        Test images of which the page of scores shows samples from the encoder's posterior, and how
        many of each; 0: none, as in projects of version 0.3.0. Of 32 draws each image takes the
        next ones, so that with more in all some images share them.
    """

    n_train_images: Annotated[int, Field(ge=0)]
    n_posterior_images: Annotated[int, Field(ge=0)] = 0
    n_posterior_samples: Annotated[int, Field(ge=0, le=32)] = 0
    batch_size: BatchSize
    seed: Seed


class EvaluateParams(Params):
    """How scores are computed."""

    networks: list[Literal["effnet_lite0", "alexnet", "inception", "clip", "effnet_b", "swav"]]
    n_permutations: Annotated[int, Field(ge=99, le=10_000_000)]
    n_bootstrap: Annotated[int, Field(ge=100, le=1_000_000)]
    seed: Seed


class CompareParams(Params):
    """How many test images the first page shows, and how many the page of all encoders."""

    n_pictures: Annotated[int, Field(ge=1)]
    n_gallery: Annotated[int, Field(ge=1)] = 100  # as in projects of version 0.3.0


class ModelLists(Params):
    """Which encoders are trained, by kind.

    Attributes
    ----------
    latents, population, pixels, diffusion : list of str
        Encoders that predict latents, which the frozen decoder turns into pictures; that predict
        them, and learn from other subjects' voxels too; that predict pictures; that steer Stable
        Diffusion, and also learn from captions.
    """

    latents: Annotated[list[ModelName], Field(min_length=1)]
    population: list[ModelName]
    pixels: list[ModelName]
    diffusion: list[ModelName]

    def by_kind(self) -> dict[str, list[str]]:
        """Return the names by kind."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        """Iterate over all names."""
        return chain.from_iterable(self.by_kind().values())

    def __len__(self) -> int:
        return sum(map(len, self.by_kind().values()))


class ProjectParams(Params):
    """The whole of ``params.yaml``.

    The settings of a model, ``train.<model>``, are checked by the model itself
    (``models.registry``), and so are those of a dataset, ``datasets.<dataset>``
    (``datasets.named_datasets``).
    """

    dataset: DatasetName
    subjects: Annotated[list[Subject], Field(min_length=1)]
    population: Annotated[list[Subject], Field(min_length=1)]
    ood: list[DatasetName]
    models: ModelLists
    machine: MachineParams
    datasets: dict[DatasetName, dict[str, Any]]
    convert_roi: ConvertRoiParams
    extract_betas: ExtractBetasParams
    collect_anatomy: CollectAnatomyParams
    create_examples: CreateExamplesParams
    split_examples: SplitExamplesParams
    autoencoder: AutoencoderParams
    encode_latents: EncodeLatentsParams
    fetch_captions: FetchCaptionsParams
    diffusion: DiffusionParams
    make_targets: MakeTargetsParams
    generate: GenerateParams
    train: dict[ModelName, dict[str, Any]]
    fit_encoding_model: FitEncodingModelParams
    predict: PredictParams
    evaluate: EvaluateParams
    compare: CompareParams

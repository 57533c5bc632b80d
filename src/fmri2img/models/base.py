"""The contract of all encoders: raw betas in, latents out, voxel normalisation inside."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from fmri2img.models._averages import average_trials
from fmri2img.models._normalizer import VoxelNormalizer
from fmri2img.models._stored import Betas
from fmri2img.project.config import Params
from fmri2img.project.param_types import BatchSize, Seed

LATENT_SHAPE = (4, 16, 16)
# The list in params.yaml that holds a model: what it needs on disk before it is trained.
Kind = Literal["latents", "population", "pixels", "diffusion"]
_Weight = Annotated[float, Field(ge=0)]


class EncoderSettings(Params):
    """Settings that every encoder may have; part of its section of ``params.yaml``.

    Attributes
    ----------
    clip_mads : float
        Betas are clipped to a voxel's median over training trials, plus or minus so many median
        absolute deviations; 0 leaves them as they are.
    """

    clip_mads: _Weight = 0.0


class GradientSettings(EncoderSettings):
    """What every encoder trained by gradient descent has in its section of ``params.yaml``.

    Attributes
    ----------
    loss : str
        ``latents``, ``pixels`` (of pictures from the frozen decoder) or ``both``.
    norm : str
        ``l2`` or ``l1``, for both errors.
    pixel_weight : float
        Weight of the pixel term if ``loss`` is ``both``.
    pixel_window : int
        Side, in cells of the latent grid, of the random window that the decoder sees in training;
        validation sees whole pictures.
    contrastive_weight : float
        Weight of a term that pulls a prediction towards its own image and away from the others in
        the batch.
    temperature : float
        Temperature of the contrastive term's softmax.
    epochs, patience : int
        Training ends after ``epochs``, or ``patience`` epochs without a better validation loss.
    batch_size : int
        Samples per step, over all processes.
    decoder_batch : int or "auto"
        Pictures decoded at a time; the step is the same. ``auto`` takes what fits on a GPU, and
        what is fastest on a CPU.
    learning_rate, weight_decay : float
    schedule : str
        ``constant``, ``cosine`` (to 0) or ``one_cycle`` (up for a third, then to 0).
    warmup_steps : int
        The rate grows linearly over them; ``one_cycle`` has a warm-up of its own.
    max_gradient_norm : float
        Larger gradients are clipped to it; 0: no clipping.
    ema_decay : float
        Decay of the running average of weights that is validated and kept; 0 keeps the weights
        themselves.
    repetitions : str
        What a training sample is: ``single`` trials, the ``mean`` of an image's trials, or
        ``mixup``: at random a weighted mean (50 %), the mean (30 %) or a single trial (20 %), as
        in MindEye's low-level model.
    blur, zoom : float
        Augmentation of pictures in a pixel loss: largest SD of a Gaussian blur, in pixels, and
        largest enlargement; 0 and 1: none.
    precision : str
        ``float32``, ``bf16``, ``fp16``; ``auto`` is bf16 on a GPU that supports it, and for the
        decoder on a CPU with bf16 instructions.
    compile : bool
        Whether torch compiles the decoder; takes minutes once.
    seed, n_seeds : int
        ``n_seeds`` trainings from ``seed`` on; the first counts, the others show the spread.
    """

    loss: Literal["latents", "pixels", "both"]
    norm: Literal["l1", "l2"]
    pixel_weight: Annotated[float, Field(gt=0)]
    pixel_window: Annotated[int, Field(ge=2)]
    contrastive_weight: _Weight
    temperature: Annotated[float, Field(gt=0)]
    epochs: Annotated[int, Field(ge=1)]
    patience: Annotated[int, Field(ge=1)]
    batch_size: BatchSize
    decoder_batch: Literal["auto"] | Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["constant", "cosine", "one_cycle"]
    warmup_steps: Annotated[int, Field(ge=0)]
    weight_decay: _Weight
    max_gradient_norm: _Weight
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    repetitions: Literal["single", "mean", "mixup"]
    blur: _Weight
    zoom: Annotated[float, Field(ge=1)]
    precision: Literal["auto", "float32", "bf16", "fp16"]
    compile: bool
    seed: Seed
    n_seeds: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _augmentation_has_pictures(self) -> Self:
        if self.loss == "latents" and (self.blur > 0 or self.zoom > 1):
            raise ValueError(
                "blur and zoom change the pictures of a pixel loss; set loss to pixels or both, or "
                "blur to 0 and zoom to 1"
            )
        return self


@dataclass(frozen=True)
class VoxelPrior:
    """What is known of a voxel before its responses: the distribution over voxels of a region.

    Attributes
    ----------
    mean : Tensor, shape (n_channels,)
        Of the weights of a description's channels.
    covariance : Tensor, shape (n_channels, n_channels)
    sizes : Tensor, shape (n_sizes,)
        Probability of each window size.
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    sizes: torch.Tensor


@dataclass(frozen=True)
class TrainingTensors:
    """Data that an encoder may learn from, without test images and test trials.

    Attributes
    ----------
    betas : Tensor or StoredBetas, shape (n_trials, n_voxels)
        In the dataset's unit, NaN where invalid.
    trial_images : Tensor, shape (n_trials,), int64
        Row of each trial's image.
    image_betas : Tensor, shape (n_images, n_voxels)
        Averages of each image's trials, computed anew at each access.
    latents : Tensor, shape (n_images, 4, h, w)
    roi_labels : Tensor, shape (n_voxels,), int64
        Number of each voxel's region.
    energies : Tensor, shape (n_images, channels, rows, columns)
        Local contrast energies of the images (`features.energies`); no channels if they were not
        computed.
    prior_latents : Tensor, shape (n_pictures, 4, h, w)
        Latents of pictures without brain data of this subject, for a prior. None of them is a test
        image of any subject, or a validation image.
    prior_energies : Tensor, shape (n_pictures, channels, rows, columns)
    roi_names : dict of int to str
        Number of a region to its name.
    population : dict of str to VoxelPrior
        What voxels of other people respond to, by the name of the region; under ``""`` in all
        regions together. Empty for encoders that learn from the subject alone.
    n_repetitions : int or None
        Most repetitions of an image in the experiment; None: the most among these images.
    text_embeddings : Tensor, shape (n_images, 77, 768), float16
        Text embeddings of the images, for encoders that use Stable Diffusion; their ``latents`` are
        Stable Diffusion's, (4, 40, 40), and they have no prior. No rows for other encoders.
    """

    betas: Betas
    trial_images: torch.Tensor
    latents: torch.Tensor
    roi_labels: torch.Tensor
    energies: torch.Tensor
    prior_latents: torch.Tensor
    prior_energies: torch.Tensor
    roi_names: dict[int, str] = field(default_factory=dict)
    population: dict[str, VoxelPrior] = field(default_factory=dict)
    n_repetitions: int | None = None
    text_embeddings: torch.Tensor = field(
        default_factory=lambda: torch.zeros(0, 77, 768, dtype=torch.float16)
    )

    @property
    def image_betas(self) -> torch.Tensor:
        """Averages of each image's trials."""
        return average_trials(self.betas, self.trial_images, len(self.latents))

    @property
    def most_repetitions(self) -> int:
        """Most repetitions of an image."""
        return self.n_repetitions or int(self.repetitions.max())

    @property
    def repetitions(self) -> torch.Tensor:
        """Number of trials of each image, shape (n_images,), int64."""
        return torch.bincount(self.trial_images, minlength=len(self.latents))


class Encoder(nn.Module):
    """Base of all encoders.

    A subclass, in its own file, names a ``Settings`` class (its section of ``params.yaml``), is
    built from ``(n_voxels, latent_shape, settings)`` and maps z-scored voxels to latents in
    `decode_voxels`. It is trained by gradient descent, or overrides `solve` and sets
    ``trained_by_gradient = False``.

    Parameters
    ----------
    n_voxels : int
    latent_shape : tuple of int
        (4, h, w).
    settings : Params
        The encoder's own settings.

    Attributes
    ----------
    kind : str
        ``latents``, ``population``, ``pixels`` or ``diffusion``: the list under ``models`` in
        ``params.yaml`` that names it.
    targets : str
        What it learns: a module of `training.targets`.
    renderer : str
        How its predictions become pictures: a module of `generation.renderers`.
    latent_sd : Tensor, shape (4, h, w)
        SD of the error of each predicted latent number: from `solve` if ``states_its_spread``, else
        the RMS error on validation images.
    """

    Settings: ClassVar[type[Params]]
    trained_by_gradient: ClassVar[bool] = True
    states_its_spread: ClassVar[bool] = False  # whether `solve` sets ``latent_sd``
    kind: ClassVar[Kind] = "latents"
    targets: ClassVar[str] = "latent_targets"
    renderer: ClassVar[str] = "latent_decoder"
    latent_sd: torch.Tensor

    def __init__(self, n_voxels: int, latent_shape: tuple[int, int, int], settings: Any) -> None:
        super().__init__()
        self.n_voxels, self.latent_shape, self.settings = n_voxels, tuple(latent_shape), settings
        # Settings of a model of one's own need not offer it.
        self.normalizer = VoxelNormalizer(n_voxels, getattr(settings, "clip_mads", 0.0))
        self.register_buffer("latent_sd", torch.ones(self.latent_shape))

    def _load_from_state_dict(
        self, state_dict: dict[str, torch.Tensor], prefix: str, *args: Any
    ) -> None:
        # `solve` may have found other shapes than the encoder was built with.
        for name, buffer in self.named_buffers(recurse=False):
            stored = state_dict.get(f"{prefix}{name}")
            if stored is not None and stored.shape != buffer.shape:
                self.register_buffer(name, torch.empty_like(stored))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def not_finite(self) -> str:
        """Return the name of a weight that holds NaN or infinity; empty if there is none. The SD
        of errors does not count: without enough validation images it is unknown.
        """
        for name, value in self.state_dict().items():
            if not (name.endswith("latent_sd") or torch.isfinite(value).all()):
                return name
        return ""

    def decode_voxels(self, voxels: torch.Tensor) -> torch.Tensor:  # noqa: ARG002  (for subclasses)
        """Map z-scored voxels (n, n_voxels) to latents (n, 4, h, w)."""
        raise TypeError(f"{type(self).__name__} must define decode_voxels")

    def forward(
        self,
        betas: torch.Tensor,
        repetitions: torch.Tensor | None = None,  # noqa: ARG002  (for subclasses)
    ) -> torch.Tensor:
        """Predict latents.

        Parameters
        ----------
        betas : Tensor, shape (n, n_voxels), float32
            In the dataset's unit; NaN where missing.
        repetitions : Tensor, shape (n,), int64, optional
            Number of trials averaged in each row; the maximum if not given. Most encoders ignore
            it.

        Returns
        -------
        Tensor, shape (n, 4, h, w), float32
            Predicted latents in scaled units.
        """
        return self.decode_voxels(self.normalizer(betas))

    def voxel_weights(self) -> torch.Tensor | None:
        """Return the length of each z-scored voxel's weights on the latent, shape (n_voxels,); None
        unless the encoder is linear.
        """
        return None

    def condition(self, betas: torch.Tensor) -> torch.Tensor:  # noqa: ARG002  (for subclasses)
        """Predict text embeddings (n, 77, 768) from betas (n, n_voxels); only for encoders of
        the kind ``diffusion``.
        """
        raise TypeError(f"{type(self).__name__} has no text condition")

    def spread(
        self,
        n: int,
        repetitions: torch.Tensor | None = None,  # noqa: ARG002  (for subclasses)
    ) -> torch.Tensor:
        """Return the SD of each predicted latent number's error, shape (n, 4, h, w), for
        averages of ``repetitions`` trials.
        """
        return self.latent_sd.expand(n, *self.latent_shape)

    def deviations(
        self,
        n: int,  # noqa: ARG002  (for subclasses)
        n_draws: int,  # noqa: ARG002
        repetitions: torch.Tensor | None = None,  # noqa: ARG002
    ) -> torch.Tensor | None:
        """Return draws from the posterior of the latent, minus predictions of `forward` from
        averages of ``repetitions`` trials, shape (n, n_draws, 4, h, w); None for an encoder without
        a posterior.
        """
        return None

    def training_outputs(self, voxels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return predicted latents (n, 4, h, w), and embeddings (n, d) that a contrastive loss
        compares with `embed_latents`.

        Without embeddings (None), the loss compares centred latents.
        """
        return self.decode_voxels(voxels), None

    def embed_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Embed centred true latents for the contrastive loss, shape (n, d); for encoders with
        their own embeddings.
        """
        return latents.flatten(1)

    def solve(self, data: TrainingTensors) -> dict[str, float]:  # noqa: ARG002  (for subclasses)
        """Find the weights in closed form; only for encoders with ``trained_by_gradient = False``.

        Returns
        -------
        dict of str to float
            Facts about the solution.
        """
        raise TypeError(f"{type(self).__name__} is trained by gradient descent")

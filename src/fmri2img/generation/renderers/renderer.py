"""The interface of all renderers, and their inputs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Literal

import numpy as np

from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.splits import Split
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.generation import renderers
from fmri2img.generation.decode import decode_latents
from fmri2img.models.base import Encoder
from fmri2img.pretrained.autoencoder import FrozenAutoencoder
from fmri2img.project.config import GenerateParams
from fmri2img.project.exceptions import ConfigError
from fmri2img.project.params_file import near

_NOT_RENDERERS = ("renderer",)
Progress = Callable[..., Any]


@dataclass(frozen=True)
class Inputs:
    """Inputs for the reconstructions of one encoder.

    Attributes
    ----------
    encoder : Encoder
    examples, split, latents
        Data of the subject.
    autoencoder : FrozenAutoencoder
        The one that made ``latents``.
    encode_pictures : callable
        Encodes pictures, uint8, to latents (`features.vae_latents.encode_pictures`).
    n_train_images : int
        Number of training images that are reconstructed in addition to the test images.
    batch_size : int
        Pictures decoded at a time.
    seed : int
        Seed of the choice of training images.
    n_posterior_images, n_posterior_samples : int
        Test images of which pictures are drawn from the encoder's posterior, and how many of each.
    progress : callable
        Wraps the iterable of batches that are decoded.
    """

    encoder: Encoder
    examples: Examples
    split: Split
    latents: Latents
    autoencoder: FrozenAutoencoder
    encode_pictures: Callable[[np.ndarray], np.ndarray]
    n_train_images: int
    batch_size: int
    seed: int
    n_posterior_images: int = 0
    n_posterior_samples: int = 0
    progress: Progress = iter

    @cached_property
    def train_ids(self) -> np.ndarray:
        """Ids of the training images that are reconstructed, ascending, shape (n,)."""
        rng, ids = np.random.default_rng(self.seed), self.split.ids("train")
        return np.sort(rng.choice(ids, size=min(self.n_train_images, len(ids)), replace=False))

    @property
    def image_ids(self) -> np.ndarray:
        """Ids of all images that are reconstructed: test images first, shape (n,)."""
        return np.concatenate([self.split.ids("test"), self.train_ids])

    @property
    def parts(self) -> np.ndarray:
        """Split of each image of `image_ids`, ``test`` or ``train``, shape (n,), bytes."""
        return np.array([b"test"] * len(self.split.test) + [b"train"] * len(self.train_ids))

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Decode latents (n, 4, h, w) to pictures (n, side, side, 3), uint8."""
        return decode_latents(
            latents, self.autoencoder, batch_size=self.batch_size, progress=self.progress
        )


@dataclass(frozen=True)
class Task:
    """What a renderer needs for one encoder in addition to `Inputs`.

    Attributes
    ----------
    about : dict
        The ``about`` of the encoder's config.
    load_other_seeds : callable
        Loads the same encoder trained from other seeds.
    open_targets : callable
        Opens the subject's z latents and text embeddings from Stable Diffusion.
    settings : GenerateParams
        Settings of Stable Diffusion.
    batch : int or "auto"
        Pictures that Stable Diffusion makes at a time.
    folder : Path
        Keeps finished pictures of an interrupted call.
    progress : callable
        Wraps an iterable to show progress.
    """

    about: dict[str, Any]
    load_other_seeds: Callable[[], Sequence[Encoder]]
    open_targets: Callable[[], DiffusionTargets]
    settings: GenerateParams
    batch: int | Literal["auto"]
    folder: Path
    progress: Progress


@dataclass(frozen=True)
class Rendered:
    """Reconstructions, and the clean-up once everything made from them is saved.

    Attributes
    ----------
    reconstructions : Reconstructions
    forget : callable
        Deletes intermediate files.
    """

    reconstructions: Reconstructions
    forget: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True)
class NewBetas:
    """Betas that ``fmri2img decode`` turns into pictures.

    Attributes
    ----------
    names : list of str
        Name of each picture.
    betas : ndarray, shape (n, n_voxels), float32
        Percent signal change.
    repetitions : ndarray, shape (n,), int64
        Number of trials averaged in each row.
    about : dict
        The ``about`` of the encoder's config.
    source : str
        Where the networks are now, if they have moved; else empty.
    folder : Path
        Where the pictures are written.
    progress : callable
    """

    names: list[str]
    betas: np.ndarray
    repetitions: np.ndarray
    about: dict[str, Any]
    source: str
    folder: Path
    progress: Callable[[str], Progress]


class Renderer(ABC):
    """One way from predictions to pictures."""

    # Whether an encoder's stated error refers to the project's latents.
    states_errors_of_latents = False
    # Whether predictions have to be the project's latents.
    needs_latents = False

    @abstractmethod
    def reconstruct(self, inputs: Inputs, task: Task) -> Rendered:
        """Reconstruct all test images and some training images."""

    def preview(
        self,
        predicted: np.ndarray,  # noqa: ARG002  (for subclasses)
        about: dict[str, Any],  # noqa: ARG002
        side: int,  # noqa: ARG002
    ) -> np.ndarray:
        """Return pictures (n, side, side, 3), uint8, of predictions, to judge an encoder on
        validation images; not called if predictions are the project's latents.
        """
        raise TypeError(f"{type(self).__name__} must define preview")

    @abstractmethod
    def render_new(self, encoder: Encoder, new: NewBetas) -> None:
        """Write one picture for each row of new betas."""

    def facts(self, about: dict[str, Any]) -> dict[str, str]:  # noqa: ARG002  (for subclasses)
        """Return facts about the renderer for the gallery."""
        return {}


def renderer_of(model: type[Encoder]) -> Renderer:
    """Return the renderer that a model names.

    Raises
    ------
    ConfigError
        If there is no such renderer.
    """
    names = [module.name for module in iter_modules(renderers.__path__)]
    known = [name for name in names if name not in _NOT_RENDERERS]
    if model.renderer not in known:
        raise ConfigError(
            f"{model.__module__}: renderer: there is no {model.renderer!r}"
            f"{near(model.renderer, known)}; choose from: {', '.join(known)}, or add "
            f"src/fmri2img/generation/renderers/{model.renderer}.py"
        )
    module = import_module(f"fmri2img.generation.renderers.{model.renderer}")
    declared: Renderer = module.RENDERER
    return declared

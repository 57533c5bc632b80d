"""The interface of all kinds of targets: their sources, and the training set made from them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.splits import Split
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.containers.voxel_priors import VoxelPriors
from fmri2img.models.base import Encoder
from fmri2img.project.config import Params
from fmri2img.project.exceptions import ConfigError
from fmri2img.project.params_file import near
from fmri2img.training import targets
from fmri2img.training.data import TrainingSet

_NOT_TARGETS = ("kinds",)


@dataclass(frozen=True)
class Sources:
    """Data that targets may be made from.

    Attributes
    ----------
    examples, split, latents
        Data of the subject.
    settings : Params
        Settings of the model.
    open_prior : callable
        Opens the latents of pictures that only other subjects saw.
    open_diffusion_targets : callable
        Opens the Stable Diffusion targets of the subject's pictures and captions.
    open_population : callable
        Opens what was learnt from the voxels of the population's other subjects.
    """

    examples: Examples
    split: Split
    latents: Latents
    settings: Params
    open_prior: Callable[[], Latents]
    open_diffusion_targets: Callable[[], DiffusionTargets]
    open_population: Callable[[], list[VoxelPriors]] = list


@dataclass(frozen=True)
class CollectedTargets:
    """The training set of one model.

    Attributes
    ----------
    data : TrainingSet
        Its ``latents`` hold whatever the model predicts.
    about : dict of str to str
        Facts about the targets, recorded in the encoder's config.
    """

    data: TrainingSet
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Targets:
    """One kind of targets.

    Attributes
    ----------
    collect : callable
        Turns `Sources` into `CollectedTargets`; sees only training and validation images.
    are_latents : bool
        Whether predictions are latents of the project's autoencoder. If not, the encoder is judged
        by the latents that the autoencoder encodes from its pictures.
    files : callable
        Takes subject and model; returns the files read besides examples, split and latents.
    """

    collect: Callable[[Sources], CollectedTargets]
    are_latents: bool
    files: Callable[[str, str], list[Path]] = lambda _subject, _model: []


def targets_of(model: type[Encoder]) -> Targets:
    """Return the kind of targets that a model learns.

    Raises
    ------
    ConfigError
        If there is no such kind of targets.
    """
    names = [module.name for module in iter_modules(targets.__path__)]
    known = [name for name in names if name not in _NOT_TARGETS]
    if model.targets not in known:
        raise ConfigError(
            f"{model.__module__}: targets: there is no {model.targets!r}"
            f"{near(model.targets, known)}; choose from: {', '.join(known)}, or add "
            f"src/fmri2img/training/targets/{model.targets}.py"
        )
    declared: Targets = import_module(f"fmri2img.training.targets.{model.targets}").TARGETS
    return declared

"""Encoders by name: every file of this folder that defines ``Model`` is one."""

import importlib
import pkgutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

import fmri2img.models
from fmri2img.models.base import Encoder
from fmri2img.project.config import PARAMS_PATH, Params
from fmri2img.project.exceptions import (
    ConfigError,
    FormatError,
    MismatchError,
)
from fmri2img.project.files import (
    check_file,
    hash_file,
    json_bytes,
    read_json,
    replacing,
    write_bytes,
)
from fmri2img.project.files_0_1 import with_facts
from fmri2img.project.params_file import check_section

WEIGHTS_NAME, CONFIG_NAME = "model.safetensors", "config.json"
# Weights from other seeds, to tell how much results depend on the seed.
SEEDS_NAME = "seeds.safetensors"
_LARGEST_SIDE = 4096
_ANEW = "train it again (fmri2img repro), or bring it back: fmri2img restore ENCODER"
_LARGEST_VOXELS = 10**7
_NOT_MODELS = ("base", "registry")
# Names in version 0.1; weights and configs from then still open.
EARLIER_NAMES = {"default": "bayes_independent"}


def model_names() -> list[str]:
    """Return the names of all encoders in this folder."""
    names = (module.name for module in pkgutil.iter_modules(fmri2img.models.__path__))
    return [name for name in names if name not in _NOT_MODELS and not name.startswith("_")]


def current_name(name: str, settings: Collection[str] = ()) -> str:
    """Return the current name of a model.

    Parameters
    ----------
    name : str
    settings : collection of str
        Names of its settings, where they are known: until version 0.2.0, `bayes` was the encoder
        that is `bayes_independent` now.
    """
    if name == "bayes" and "penalties" in settings:
        return "bayes_independent"
    return EARLIER_NAMES.get(name, name)


def model_class(name: str) -> type[Encoder]:
    """Return an encoder's class.

    Raises
    ------
    ConfigError
        If there is no such encoder.
    """
    name = current_name(name)
    if name not in model_names():
        raise ConfigError(
            f"{PARAMS_PATH}: models: there is no model {name!r}; choose from: "
            f"{', '.join(model_names())}"
        )
    model: type[Encoder] = importlib.import_module(f"fmri2img.models.{name}").Model
    return model


def stage_of(script: str, subject: str, model: str) -> str:
    """Return the name in ``dvc.yaml`` of the stage that runs a script for one encoder."""
    kind = model_class(model).kind
    return f"{script}{'' if kind == 'latents' else f'_{kind}'}@{subject}-{model}"


def check_settings(name: str, values: dict[str, Any]) -> Params:
    """Check a model's section of ``params.yaml`` against its own ``Settings``.

    Raises
    ------
    ConfigError
        If a key is unknown, missing or of the wrong type.
    """
    text = PARAMS_PATH.read_text(encoding="utf-8") if PARAMS_PATH.exists() else ""
    return check_section(model_class(name).Settings, values, text=text, prefix=("train", name))


def save_encoder(encoder: Encoder, name: str, folder: Path, about: dict[str, Any]) -> None:
    """Write weights and config; together they rebuild the encoder.

    Parameters
    ----------
    encoder : Encoder
    name : str
        The encoder's name.
    folder : Path
        Where ``model.safetensors`` and ``config.json`` are written.
    about : dict
        Further facts to record: subject, region, autoencoder, data source.
    """
    for file, content in _encoder_files(encoder, name, about).items():
        write_bytes(folder / file, content)


def _encoder_files(encoder: Encoder, name: str, about: dict[str, Any]) -> dict[str, bytes]:
    config = {
        "model": name,
        "n_voxels": encoder.n_voxels,
        "latent_shape": list(encoder.latent_shape),
        "settings": _recorded(encoder.settings),
        "about": about,
    }
    return {WEIGHTS_NAME: save(_weights(encoder)), CONFIG_NAME: json_bytes(config)}


def _recorded(settings: Any) -> dict[str, Any]:
    """Return settings without later ones at the value that changes nothing: then the config has
    the bytes that earlier versions gave it.
    """
    later = {"clip_mads": 0, "solver": "auto"}
    unused = {name for name, before in later.items() if getattr(settings, name, None) == before}
    values: dict[str, Any] = settings.model_dump(exclude=unused)
    return values


@torch.no_grad()
def save_verified(
    encoder: Encoder,
    name: str,
    folder: Path,
    about: dict[str, Any],
    betas: torch.Tensor,
) -> None:
    """Save an encoder if it gives the same output when loaded again; otherwise replace nothing.

    Parameters
    ----------
    encoder, name, folder, about
        As for `save_encoder`.
    betas : Tensor, shape (n, n_voxels)
        Percent signal change, to test the encoder with.

    Raises
    ------
    MismatchError
        If it cannot be rebuilt, or gives other output.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as temporary:
        for file, content in _encoder_files(encoder, name, about).items():
            (Path(temporary) / file).write_bytes(content)  # at once: it is read again here
        try:
            rebuilt, _ = load_encoder(Path(temporary))
        except (RuntimeError, TypeError, ValueError) as error:
            raise MismatchError(
                f"{name}: its saved weights do not rebuild it ({' '.join(str(error).split())}), "
                "and nothing was replaced; build every parameter in __init__ from n_voxels, "
                "latent_shape and settings"
            ) from error
        if not torch.equal(rebuilt(betas), encoder.cpu().eval()(betas)):
            raise MismatchError(
                f"{name}: its output differs after saving and loading, and nothing was replaced; "
                "everything that the output depends on must be a parameter or a registered buffer"
            )
        for file in (WEIGHTS_NAME, CONFIG_NAME):
            with replacing(folder / file) as partial:
                (Path(temporary) / file).replace(partial)


def save_seeds(encoders: list[Encoder], folder: Path) -> None:
    """Write the weights of encoders trained from other seeds next to those of the main one; an
    empty file if there are none.
    """
    tensors = {
        f"{number}/{key}": value
        for number, encoder in enumerate(encoders)
        for key, value in _weights(encoder).items()
    }
    write_bytes(folder / SEEDS_NAME, save(tensors))


def load_seeds(folder: Path) -> list[Encoder]:
    """Rebuild the encoders saved by `save_seeds`, in evaluation mode.

    Raises
    ------
    MissingDataError
        If the file is not there.
    """
    path = folder / SEEDS_NAME
    parts: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _read_weights(path).items():
        seed, _, key = name.partition("/")
        parts.setdefault(int(seed) if seed.isdecimal() else -1, {})[key] = value
    encoders = []
    for number in sorted(parts):
        encoder, _ = load_encoder(folder)
        _load_into(encoder, parts[number], path)
        encoders.append(encoder)
    return encoders


def _weights(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in encoder.state_dict().items()}


def check_files(folder: Path, md5s: dict[str, str], owner: str) -> None:
    """Refuse a folder that does not hold exactly the given files, with the given MD5s.

    Raises
    ------
    MismatchError
        Naming the file, if one is missing, unexpected or changed.
    """
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if wrong := sorted(names ^ set(md5s)):
        raise MismatchError(
            f"{owner}: {wrong[0]} "
            f"{'does not belong to' if wrong[0] in names else 'is missing from'} an encoder; not "
            "loaded"
        )
    for name, md5 in md5s.items():
        if (actual := hash_file(folder / name, "md5")) != md5:
            raise MismatchError(
                f"{owner}: {name} has MD5 {actual}, expected {md5} as registered; it has changed "
                "since, and is not loaded"
            )


def read_config(folder: Path, *, subject: str = "", model: str = "") -> dict[str, Any]:
    """Read an encoder's config, with today's name and what version 0.1 did not record.

    Parameters
    ----------
    folder : Path
    subject, model : str
        Whose encoder it must be; empty: anybody's.

    Raises
    ------
    MissingDataError
        If it is not there.
    FormatError
        If it is not an encoder's config.
    MismatchError
        If it is that of another encoder.
    """
    path = folder / CONFIG_NAME
    config: dict[str, Any] = read_json(path, remedy="dvc repro train")
    if fault := _config_fault(config):
        raise FormatError(f"{path}: {fault}; {_ANEW}")
    name = current_name(config["model"], config["settings"])
    owner = config["about"].get("subject", subject)
    for fact, value, expected in (("subject", owner, subject), ("model", name, model)):
        if expected and value != expected:
            raise MismatchError(
                f"{folder} holds an encoder of {fact} {value}, expected {expected}; {_ANEW}"
            )
    return config | {"model": name, "about": with_facts(config["about"], ["n_repetitions"])}


def _config_fault(config: dict[str, Any]) -> str:
    """Return what keeps a config from being an encoder's; empty if nothing does."""
    kinds = {"model": str, "n_voxels": int, "latent_shape": list, "settings": dict, "about": dict}
    for name, kind in kinds.items():
        if not isinstance(config.get(name), kind):
            return f"{name}: {config.get(name)!r:.60}, expected a {kind.__name__}"
    if current_name(config["model"], config["settings"]) not in model_names():
        return f"model: {config['model']!r:.60}, expected one of {', '.join(model_names())}"
    shape = config["latent_shape"]
    if (
        not 1 <= config["n_voxels"] <= _LARGEST_VOXELS
        or len(shape) != 3
        or not all(isinstance(side, int) and 1 <= side <= _LARGEST_SIDE for side in shape)
    ):
        return (
            f"{config['n_voxels']} voxels and latents of shape {shape!r:.60}, expected at least "
            "one voxel and three sides"
        )
    return ""


def load_encoder(
    folder: Path, device: torch.device | str = "cpu", *, subject: str = "", model: str = ""
) -> tuple[Encoder, dict[str, Any]]:
    """Rebuild an encoder from its folder.

    Parameters
    ----------
    folder : Path
        Holds ``model.safetensors`` and ``config.json``.
    device : device, optional
        Where the weights go.
    subject, model : str
        Whose encoder it must be; empty: anybody's.

    Returns
    -------
    encoder : Encoder
        The encoder, in evaluation mode.
    config : dict
        The config as saved, with ``about``.

    Raises
    ------
    MissingDataError
        If weights or config are not there.
    FormatError
        If they are not an encoder of this version.
    MismatchError
        If it is another encoder than expected.
    """
    config = read_config(folder, subject=subject, model=model)
    kind = model_class(config["model"])
    try:
        settings = kind.Settings.model_validate(config["settings"])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("settings", *first["loc"])))
        raise FormatError(
            f"{folder / CONFIG_NAME}: {place}: {first['msg']}; it is of another version of "
            f"{config['model']}; {_ANEW}"
        ) from error
    try:
        encoder = kind(config["n_voxels"], tuple(config["latent_shape"]), settings)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FormatError(
            f"{folder / CONFIG_NAME}: {config['n_voxels']} voxels and latents of shape "
            f"{config['latent_shape']} are none of {config['model']} ({reason}); {_ANEW}"
        ) from error
    _load_into(encoder, _read_weights(folder / WEIGHTS_NAME), folder / WEIGHTS_NAME)
    return encoder.eval().to(device), config


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    check_file(path, "dvc repro train")
    try:
        weights: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise FormatError(f"{path}: not readable weights ({reason}); {_ANEW}") from error
    return weights


def _load_into(encoder: Encoder, weights: dict[str, torch.Tensor], path: Path) -> None:
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(" ".join(str(error).split("\n")[1:]).split())[:200]
        raise FormatError(f"{path}: does not fit the encoder ({reason}); {_ANEW}") from error
    if name := encoder.not_finite():
        raise FormatError(f"{path}: {name} holds NaN or infinity, expected finite numbers; {_ANEW}")
    if not (encoder.normalizer.std > 0).all():
        raise FormatError(
            f"{path}: normalizer.std: SDs from {float(encoder.normalizer.std.min())}, expected "
            f"numbers above 0; {_ANEW}"
        )

"""Check ``params.yaml`` before anything runs: every section, every listed model, and what they
need on this machine.
"""

import hashlib
import importlib.util
import json
from pathlib import Path, PurePosixPath

from fmri2img.project.config import PARAMS_PATH, ProjectParams
from fmri2img.project.exceptions import ConfigError, MissingDataError
from fmri2img.project.files import write_json
from fmri2img.project.layout import ledger_path
from fmri2img.project.params_file import load_params, near
from fmri2img.project.places import where_it_is
from fmri2img.provenance.source import parse_module

_MODELS, _DATASETS = (Path(__file__).parents[1] / room for room in ("models", "datasets"))
# Networks of `evaluate.networks` that torchvision provides.
_OF_TORCHVISION = ("alexnet", "inception", "effnet_b")


def check_project() -> ProjectParams:
    """Check the whole of ``params.yaml``.

    Raises
    ------
    MissingDataError
        If there is no such file here.
    ConfigError
        Naming the first fault: a key that is unknown, missing or wrong, also in the section of a
        listed model, or something that the settings need and that is missing.
    """
    params = load_params()
    _check_dataset(params)
    from fmri2img.models.registry import model_names  # imports torch

    for kind, models in params.models.by_kind().items():
        for model in models:
            _check_model(model, kind, params)
    if stray := [name for name in params.train if name not in model_names()]:
        raise ConfigError(
            f"{PARAMS_PATH}: train.{stray[0]}: there is no such model"
            f"{near(stray[0], model_names())}; remove the section, or add "
            f"src/fmri2img/models/{stray[0]}.py"
        )
    if params.models.population and len(params.population) < 2:
        raise ConfigError(
            f"{PARAMS_PATH}: models.population: {params.models.population[0]} learns from other "
            f"subjects, and the population is {', '.join(params.population)} alone; name another "
            "subject in population, or empty the list"
        )
    _check_folder("autoencoder.source", params.autoencoder.source, "config.json")
    if params.models.diffusion:
        _check_folder("diffusion.source", params.diffusion.source, "unet")
        if params.fetch_captions.folder is not None:
            _check_folder(
                "fetch_captions.folder",
                str(where_it_is(params.fetch_captions.folder).absolute()),
                "",
            )
    _check_machine(params)
    return params


def _check_dataset(params: ProjectParams) -> None:
    """Refuse a dataset that does not exist, settings that are not its own, and subjects that it
    does not have.
    """
    from fmri2img.datasets.protocol import check_ood, check_subjects, dataset_names, open_dataset

    names = dataset_names()
    if stray := [name for name in params.datasets if name not in names]:
        raise ConfigError(
            f"{PARAMS_PATH}: datasets.{stray[0]}: there is no such dataset{near(stray[0], names)}; "
            f"remove the section, or add src/fmri2img/datasets/{stray[0]}_dataset.py"
        )
    dataset = open_dataset(params)
    try:
        facts = dataset.facts
    except MissingDataError:  # raw files are absent: not needed where voxels were pulled
        return
    check_subjects(params.subjects, facts)
    check_ood(params.ood, facts)


def _check_model(name: str, kind: str, params: ProjectParams) -> None:
    """Refuse a model that does not exist, is in the wrong list, or names unknown or unsuitable
    targets or renderers.
    """
    # These import torch.
    from fmri2img.generation.renderers.renderer import renderer_of
    from fmri2img.models.registry import check_settings, model_class, model_names
    from fmri2img.training.targets.kinds import targets_of

    if name not in (names := model_names()):
        raise ConfigError(
            f"{PARAMS_PATH}: models.{kind}: there is no model {name!r}{near(name, names)}; choose "
            f"from: {', '.join(names)}"
        )
    model = model_class(name)
    if model.kind != kind:
        raise ConfigError(
            f"{PARAMS_PATH}: models.{kind}: {name} is of the kind {model.kind}; move it to "
            f"models.{model.kind}"
        )
    check_settings(name, params.train[name])
    targets, renderer = targets_of(model), renderer_of(model)
    if renderer.needs_latents and not targets.are_latents:
        raise ConfigError(
            f"{model.__module__}: renderer: {model.renderer} decodes latents of the project's "
            f"autoencoder, and {model.targets} are none; name a renderer that takes them, or "
            "targets that are latents"
        )


def _check_folder(key: str, source: str, needed: str) -> None:
    """Refuse a missing folder; a name that looks like a hub repository is looked up when it is
    needed.
    """
    folder = where_it_is(source)
    if folder.is_dir():
        if needed and not any((folder / place / needed).exists() for place in ("", "vae")):
            raise ConfigError(
                f"{PARAMS_PATH}: {key}: {source} holds no {needed}; name the folder that does"
            )
        return
    is_hub_id = (
        source.count("/") == 1
        and not source.startswith(("/", ".", "~"))
        and not folder.parent.is_dir()
    )
    if not is_hub_id:
        raise ConfigError(
            f"{PARAMS_PATH}: {key}: there is no folder {source}; name one, or a repository of the "
            "Hugging Face hub"
        )


def _check_machine(params: ProjectParams) -> None:
    missing = [
        name
        for name in params.evaluate.networks
        if name in _OF_TORCHVISION and importlib.util.find_spec("torchvision") is None
    ]
    if missing:
        raise ConfigError(
            f"{PARAMS_PATH}: evaluate.networks: {missing[0]} needs torchvision; run: pip install "
            "-c constraints.txt '.[networks]'"
        )
    weights = params.machine.weights_folder
    if weights is not None and not weights.is_dir():
        raise ConfigError(
            f"{PARAMS_PATH}: machine.network_weights: there is no folder {weights}; name one, or "
            "null"
        )


def check_once() -> None:
    """Check ``params.yaml``, unless the same file has already passed with the same models and
    datasets, so that stages wait for it only once.
    """
    params = PARAMS_PATH.read_bytes() if PARAMS_PATH.exists() else b""
    code = sorted([*_MODELS.glob("*.py"), *_DATASETS.glob("*_dataset.py")])
    texts = {path.name: path.read_text(encoding="utf-8") for path in code}
    spelling = hashlib.sha256(params + repr(texts).encode()).hexdigest()
    known = _passed()
    if known.get("spelling") == spelling:  # parsing takes a quarter of a second
        return
    meaning = hashlib.sha256(params)
    for name, text in texts.items():
        path = PurePosixPath(name)
        definitions = parse_module(path.stem, path, text).definitions.values()
        meaning.update(repr(sorted((item.dotted, item.digest) for item in definitions)).encode())
    if known.get("meaning") != meaning.hexdigest():
        check_project()
    write_json(ledger_path("params"), {"spelling": spelling, "meaning": meaning.hexdigest()})


def _passed() -> dict[str, str]:
    """Return digests of what passed last; none if there is no record, or a damaged one."""
    try:
        known = json.loads(ledger_path("params").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}

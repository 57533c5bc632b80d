"""Datasets by name: every file ``<name>_dataset.py`` of this folder is one."""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

import fmri2img.datasets
from fmri2img.config import PARAMS_PATH, Params, ProjectParams
from fmri2img.datasets.protocol import Dataset, Setting
from fmri2img.exceptions import ConfigError
from fmri2img.layout import OWN_ROIS
from fmri2img.params_file import check_section, near

_END = "_dataset"


def dataset_names() -> list[str]:
    """Return the names of all datasets."""
    names = (module.name for module in pkgutil.iter_modules(fmri2img.datasets.__path__))
    return sorted(name.removesuffix(_END) for name in names if name.endswith(_END))


def open_dataset(params: ProjectParams) -> Dataset:
    """Return the project's dataset.

    Raises
    ------
    ConfigError
        If there is none of that name, or its settings are wrong.
    """
    name = params.dataset
    settings = check_dataset_settings(name, params.datasets)
    dataset: Dataset = _module(name).Reader(
        settings, Setting(params.machine, tuple(params.subjects), OWN_ROIS)
    )
    return dataset


def check_dataset_settings(name: str, sections: dict[str, dict[str, Any]]) -> Params:
    """Check a dataset's section of ``params.yaml`` against its own ``Settings``.

    Raises
    ------
    ConfigError
        If there is no such dataset or section, or a key is unknown, missing or of the wrong type.
    """
    if name not in (names := dataset_names()):
        raise ConfigError(
            f"{PARAMS_PATH}: dataset: there is no dataset {name!r}{near(name, names)}; choose "
            f"from: {', '.join(names)}"
        )
    if name not in sections:
        raise ConfigError(
            f"{PARAMS_PATH}: dataset: there is no section datasets.{name}; add it, or choose from: "
            f"{', '.join(sections)}"
        )
    text = PARAMS_PATH.read_text() if PARAMS_PATH.exists() else ""
    settings: type[Params] = _module(name).Settings
    return check_section(settings, sections[name], text=text, prefix=("datasets", name))


def terms_of(name: str) -> str:
    """Return who may have a dataset's data, by the name that receipts keep; empty: anybody."""
    if name not in dataset_names():
        return "whose data these are, and so who may have them, is not known"
    terms: str = _module(name).TERMS
    return terms


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"fmri2img.datasets.{name}{_END}")

"""Migrate the settings of version 0.1, which had one dataset: ``nsd`` and ``fetch_nsd`` become
``dataset`` and ``datasets``.
"""

from typing import Any

import yaml

from fmri2img.project.config import PARAMS_PATH
from fmri2img.project.exceptions import ConfigError

_OLD = ("nsd", "fetch_nsd")
# Settings of the simulation that version 0.2.0 did not have, with their defaults.
_WORLD = {"world": "standard", "deep_share": 0.4}


def name_of(fetch: dict[str, Any]) -> str:
    """Return today's name of the dataset that a section ``fetch_nsd`` describes."""
    return "simulated" if fetch["source"] == "simulated" else "nsd"


def sections_of(nsd: dict[str, Any], fetch: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return today's sections of ``datasets``, from those of version 0.1."""
    common = {**nsd, "rois": fetch["rois"]}
    source = fetch["source"] if fetch["source"] != "simulated" else "s3"
    real = {"source": source, "accept_nsd_terms": fetch["accept_nsd_terms"], "s3": fetch["s3"]}
    return {
        "simulated": common | {"simulation": fetch["simulation"] | _WORLD},
        "nsd": common | real,
        "folder": {"sessions": "all"},
    }


def migrate_datasets(text: str) -> str:
    """Return ``params.yaml`` with today's sections; comments elsewhere stay.

    Parameters
    ----------
    text : str
        The whole file.

    Raises
    ------
    ConfigError
        If a section lacks a key.
    """
    values = yaml.safe_load(text)
    if not all(name in values for name in _OLD):
        return text
    nsd, fetch = (values[name] for name in _OLD)
    try:
        name, sections = name_of(fetch), sections_of(nsd, fetch)
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"{PARAMS_PATH}: nsd, fetch_nsd: not as version 0.1 had them ({error}); bring the file "
            f"back: git checkout {PARAMS_PATH}"
        ) from error
    lines = text.splitlines(keepends=True)
    for start, end in sorted((_lines_of(text, old) for old in _OLD), reverse=True):
        lines[start:end] = []
    kept = _with_raw_root("".join(lines))
    written = yaml.safe_dump({"datasets": sections}, sort_keys=False, width=100)
    return f"dataset: {name}\n{kept.rstrip()}\n\n{written}"


def add_worlds(text: str) -> str:
    """Return ``params.yaml`` with the settings of the simulation that version 0.2.0 did not have.

    Parameters
    ----------
    text : str
        The whole file.
    """
    keys = _keys_of_simulation(text)
    if "pictures" not in keys or set(_WORLD) <= set(keys):
        return text
    mark = keys["pictures"].start_mark
    indent = " " * mark.column
    lines = text.splitlines(keepends=True)
    lines[mark.line + 1 : mark.line + 1] = [
        f"{indent}{name}: {value}\n" for name, value in _WORLD.items() if name not in keys
    ]
    return "".join(lines)


def add_anatomy(text: str) -> str:
    """Return ``params.yaml`` with the section of the stage that version 0.3.0 did not have.

    Parameters
    ----------
    text : str
        The whole file.
    """
    keys = {key.value: key for key, _ in _sections(text)}
    if "collect_anatomy" in keys or "split_examples" not in keys:
        return text
    start = keys["split_examples"].start_mark.index
    return f"{text[:start]}collect_anatomy:\n  underlay: mean\n  surface: true\n\n{text[start:]}"


def add_ood(text: str) -> str:
    """Return ``params.yaml`` with the list of further test sets, which version 0.2.0 did not have:
    empty.

    Parameters
    ----------
    text : str
        The whole file.
    """
    keys = {key.value: key for key, _ in _sections(text)}
    if "ood" in keys or "models" not in keys:
        return text
    start = keys["models"].start_mark.index
    return f"{text[:start]}ood: []\n{text[start:]}"


def _keys_of_simulation(text: str) -> dict[str, yaml.Node]:
    """Return the keys of ``datasets.simulated.simulation``; none unless in block style."""
    pairs = _sections(text)
    for name in ("datasets", "simulated", "simulation"):
        section = next((value for key, value in pairs if key.value == name), None)
        if not isinstance(section, yaml.MappingNode) or section.flow_style:
            return {}
        pairs = section.value
    return {key.value: key for key, _ in pairs}


def _lines_of(text: str, section: str) -> tuple[int, int]:
    """Return the first line of a section and the line after its last; comments just above a
    section belong to it.
    """
    keys = [key for key, _ in _sections(text)]
    starts = [key.start_mark.line for key in keys]
    number = [key.value for key in keys].index(section)
    lines = text.splitlines()

    def first_remark(start: int) -> int:
        while start > 0 and lines[start - 1].startswith("#"):
            start -= 1
        return start

    end = first_remark(starts[number + 1]) if number + 1 < len(starts) else len(lines)
    return first_remark(starts[number]), end


def _sections(text: str) -> list[tuple[yaml.Node, yaml.Node]]:
    document = yaml.compose(text)
    return document.value if isinstance(document, yaml.MappingNode) else []


def _with_raw_root(text: str) -> str:
    for section, value in _sections(text):
        if section.value == "machine" and isinstance(value, yaml.MappingNode):
            for key, _ in value.value:
                if key.value == "nsd_root":
                    return text[: key.start_mark.index] + "raw_root" + text[key.end_mark.index :]
    return text

"""Models that have another name than in the version that a project was made with."""

from collections.abc import Iterator
from typing import Any

import yaml

from fmri2img.models.registry import EARLIER_NAMES, current_name

# Settings of models that came after version 0.2.0; until then, `bayes` was another encoder.
_BAYES = """
  bayes:
    energies: true
    prior_pictures: true
    window_sizes: [1.0, 2.0]
    shared_voxels: 30
    isotropic_voxels: 100
    n_rounds: 4
    pooled_shares: [0, 0.5, 1]
    prior_shrinkages: [0.05, 0.2, 0.4]
    noise_shrinkages: [0.6, 0.75, 0.9]
    noise_scales: [0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 10.0]
    n_folds: 3
    clip_mads: 5
    seed: 0
"""
_AFTER_0_2_0 = {
    "bayes": _BAYES,
    "bayes_population": _BAYES.replace("bayes:", "bayes_population:").replace(
        "    n_rounds", "    population_voxels: 300\n    n_rounds"
    ),
}


def earlier_models(params: dict[str, Any]) -> dict[str, str]:
    """Return today's name of each model that the project knows by another.

    Parameters
    ----------
    params : dict
        ``params.yaml`` as it is.
    """
    train = params.get("train")
    sections = train.items() if isinstance(train, dict) else ()
    names = {
        name: current_name(name, settings if isinstance(settings, dict) else ())
        for name, settings in sections
    }
    return EARLIER_NAMES | {old: new for old, new in names.items() if old != new}


def add_models(text: str) -> str:
    """Return ``params.yaml`` with the settings of models that came later, and with the list of
    those that learn from a population, where it has only those of `bayes_independent`.

    Parameters
    ----------
    text : str
        The whole file, with today's names.
    """
    for name, settings in _AFTER_0_2_0.items():
        text = _add_section(text, name, settings)
    flow = dict(_entries(text, "models", in_flow=True))
    if "pixels" in flow and "population" not in flow:
        place = flow["pixels"].start_mark.index
        return text[:place] + "population: [], " + text[place:]
    lists = dict(_entries(text, "models"))
    if "pixels" in lists and "population" not in lists:
        mark = lists["pixels"].start_mark
        lines = text.splitlines(keepends=True)
        lines.insert(mark.line, " " * mark.column + "population: []\n")
        text = "".join(lines)
    return text


def _add_section(text: str, name: str, settings: str) -> str:
    names = dict(_entries(text, "train"))
    if "bayes_independent" not in names or name in names:
        return text
    mark = names["bayes_independent"].start_mark
    lines = text.splitlines(keepends=True)
    indent = " " * (mark.column - 2)
    new = [indent + line for line in settings.strip("\n").splitlines(keepends=True)]
    lines[mark.line : mark.line] = [*new, "\n\n"]
    return "".join(lines)


def _entries(text: str, section: str, *, in_flow: bool = False) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the keys of a section in block or flow style, and where each begins."""
    document = yaml.compose(text)
    for key, value in document.value if isinstance(document, yaml.MappingNode) else ():
        is_section = key.value == section and isinstance(value, yaml.MappingNode)
        if is_section and bool(value.flow_style) == in_flow:
            yield from ((name.value, name) for name, _ in value.value)

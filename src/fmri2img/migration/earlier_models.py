"""Models that have another name than in the version that a project was made with."""

from typing import Any

import yaml

from fmri2img.models.registry import EARLIER_NAMES, current_name

# Settings of `bayes`, which was another encoder until version 0.2.0.
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


def add_bayes(text: str) -> str:
    """Return ``params.yaml`` with the settings of today's `bayes`, where it has only those of
    `bayes_independent`.

    Parameters
    ----------
    text : str
        The whole file, with today's names.
    """
    document = yaml.compose(text)
    sections = dict(document.value) if isinstance(document, yaml.MappingNode) else {}
    for key, value in sections.items():
        if key.value != "train" or not isinstance(value, yaml.MappingNode) or value.flow_style:
            continue
        names = {name.value: name for name, _ in value.value}
        if "bayes_independent" in names and "bayes" not in names:
            mark = names["bayes_independent"].start_mark
            lines = text.splitlines(keepends=True)
            indent = " " * (mark.column - 2)
            new = [indent + line for line in _BAYES.strip("\n").splitlines(keepends=True)]
            lines[mark.line : mark.line] = [*new, "\n\n"]
            return "".join(lines)
    return text

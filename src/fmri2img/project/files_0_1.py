"""Facts that files of version 0.1 do not state: NSD was the only dataset."""

from collections.abc import Sequence
from typing import Any

_FACTS = {
    "units": {"name": "percent signal change", "per_unit": 300.0},
    "n_repetitions": 3,
    "splits": ["shared", "random"],
    "title": "Natural Scenes Dataset",
    "terms": "voxels are components of the Natural Scenes Dataset and may not leave the group that "
    "accepted its agreement (https://naturalscenesdataset.org)",
}


def with_facts(provenance: dict[str, Any], wanted: Sequence[str] = tuple(_FACTS)) -> dict[str, Any]:
    """Return a file's provenance with all or some facts of the dataset: as the file states them, or
    else those of version 0.1.
    """
    return {name: _FACTS[name] for name in wanted} | provenance

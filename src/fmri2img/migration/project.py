"""``fmri2img migrate-project``: everything of versions 0.1 and 0.2.0 that has another name or
layout now.

Only the comparison is computed again. Weights, configs and arrays keep their bytes and their
hashes: pulled voxels need not be extracted, and champions stay champions. Each step can be
repeated, so the same call completes one that was interrupted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from fmri2img.migration.dataset_sections import add_anatomy, add_ood, add_worlds, migrate_datasets
from fmri2img.migration.earlier_models import add_models, earlier_models
from fmri2img.migration.lock import migrate_lock
from fmri2img.migration.renamed_files import changes_of_files
from fmri2img.migration.subject_files import add_population, changes_of_subject_files
from fmri2img.models.registry import model_class, model_names
from fmri2img.project.config import PARAMS_PATH, ModelLists
from fmri2img.project.exceptions import ConfigError, MissingDataError
from fmri2img.project.files import write_text
from fmri2img.provenance.lineage import LOCK_PATH


@dataclass(frozen=True)
class Step:
    """One step of the migration.

    Attributes
    ----------
    words : str
        What the step does, for the user.
    do : callable
    """

    words: str
    do: Callable[[], None]


def plan(root: Path = Path()) -> list[Step]:
    """Return the steps that a project needs, in order; none if it is up to date.

    Parameters
    ----------
    root : Path
        The project.

    Raises
    ------
    MissingDataError
        If there is no ``params.yaml``.
    ConfigError
        If it cannot be read, or lists an unknown model.
    """
    path = root / PARAMS_PATH
    if not path.exists():
        raise MissingDataError(f"{path} not found; run the command in the project's root folder")
    text = path.read_text(encoding="utf-8")
    names = _names_in(text)
    renamed = migrate_params(text, names)
    renewed = add_worlds(add_population(migrate_datasets(add_models(renamed))))
    renewed = add_anatomy(add_ood(renewed))
    params = yaml.safe_load(renewed)
    models = ModelLists.model_validate(params["models"])
    changes = [
        *changes_of_files(root, models, names),
        *changes_of_subject_files(root, params["subjects"], models),
    ]
    steps = []
    if lock := migrate_lock(root, params, changes, names):
        # The lock comes first: otherwise an interruption after the files would leave results that
        # no lock records.
        words = f"{LOCK_PATH}: {lock.words}"
        steps.append(Step(words, lambda: write_text(root / LOCK_PATH, lock.text)))
    steps += [Step(change.words, change.do) for change in changes]
    if renewed != text:
        words = f"{PARAMS_PATH}: today's sections and names"
        steps.append(Step(words, lambda: write_text(path, renewed)))
    return steps


def _names_in(text: str) -> dict[str, str]:
    """Return today's names of the models that a text of ``params.yaml`` knows by others."""
    values = yaml.safe_load(text)
    return earlier_models(values if isinstance(values, dict) else {})


def migrate_params(text: str, names: dict[str, str]) -> str:
    """Return ``params.yaml`` with today's names; comments and everything else stay.

    Parameters
    ----------
    text : str
        The whole file.
    names : dict of str to str
        Earlier names of models, and today's.
    """
    document = yaml.compose(text)
    if not isinstance(document, yaml.MappingNode):
        raise ConfigError(f"{PARAMS_PATH}: expected sections with keys; bring the file back")
    edits: list[tuple[int, int, str]] = []
    for key, value in document.value:
        if key.value == "models" and isinstance(value, yaml.SequenceNode):
            models = [names.get(item.value, item.value) for item in value.value]
            edits.append((key.start_mark.index, value.end_mark.index, _by_kind(models)))
        if key.value == "models" and isinstance(value, yaml.MappingNode):
            edits += [
                (item.start_mark.index, item.end_mark.index, names[item.value])
                for _, kind in value.value
                for item in kind.value
                if item.value in names
            ]
        if key.value == "train" and isinstance(value, yaml.MappingNode):
            edits += [
                (name.start_mark.index, name.end_mark.index, names[name.value])
                for name, _ in value.value
                if name.value in names
            ]
    for start, end, new in sorted(edits, reverse=True):
        kept = text[end:]
        # A block list ends at the next key; its line break belongs to what follows.
        text = text[:start] + new + ("" if not text[start:end].endswith("\n") else "\n") + kept
    return text


def _by_kind(names: list[str]) -> str:
    """Return the section ``models`` as text."""
    lists: dict[str, list[str]] = {kind: [] for kind in ModelLists.model_fields}
    for name in names:
        if name not in model_names():
            raise ConfigError(
                f"{PARAMS_PATH}: models: there is no model {name!r}; choose from: "
                f"{', '.join(model_names())}"
            )
        lists[model_class(name).kind].append(name)
    return "models:" + "".join(f"\n  {kind}: [{', '.join(has)}]" for kind, has in lists.items())

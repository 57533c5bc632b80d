"""Read and check ``params.yaml``: an unknown key or a wrong type gives one line with its place."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from fmri2img.project.config import PARAMS_PATH, ProjectParams, Section
from fmri2img.project.exceptions import ConfigError, MissingDataError
from fmri2img.project.files import check_file


class _Loader(yaml.SafeLoader):
    """Plain YAML, in which a key that is there twice is a fault: the last one would win."""

    def get_single_node(self) -> yaml.Node | None:
        """Return the file's tree, in which no mapping has a key twice."""
        tree = super().get_single_node()
        waiting, visited = [tree], set()
        while waiting:
            node = waiting.pop()
            if id(node) in visited or not isinstance(node, yaml.CollectionNode):
                continue
            visited.add(id(node))  # aliases lead to the same node again
            if isinstance(node, yaml.SequenceNode):
                waiting += node.value
                continue
            waiting += [value for _, value in node.value]
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for place, key in enumerate(keys):
                if key.value in (earlier.value for earlier in keys[:place]):
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value} is there twice", key.start_mark
                    )
        return tree


def load_params(path: Path = PARAMS_PATH) -> ProjectParams:
    """Read and check ``params.yaml``.

    Raises
    ------
    MissingDataError
        If there is no such file in the working folder.
    FormatError
        If it is no file.
    ConfigError
        If it is not YAML, or a key is unknown, missing or of the wrong type, or two keys contradict
        each other.
    """
    if not path.exists():
        raise MissingDataError(
            f"{path} not found in {Path.cwd()}; run the command in the project's root folder"
        )
    check_file(path, f"git checkout {path}")
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.load(text, _Loader)  # noqa: S506 (a safe loader)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{path}: YAML of too many levels; correct the file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        words = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{path}{where}: not valid YAML ({words}); correct the file") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: got {type(values).__name__}, expected sections with keys; bring it back: git "
            f"checkout {path}"
        )
    _refuse_old_names(values, text, path)
    params = check_section(ProjectParams, values, text=text, path=path)
    check_params(params, text=text, path=path)
    return params


def _source(values: dict[str, Any]) -> Any:
    """Return the source of raw files in a section of version 0.1."""
    fetch = values.get("fetch_nsd")
    return fetch.get("source") if isinstance(fetch, dict) else None


def _refuse_old_names(values: dict[str, Any], text: str, path: Path) -> None:
    """Refuse keys of version 0.1, and say what they are called now."""
    models, train, machine = (values.get(key) for key in ("models", "train", "machine"))
    dataset = "simulated" if _source(values) == "simulated" else "nsd"
    moved = f"part of datasets.{dataset} since 0.2"
    renamed = {
        "nsd": ("nsd" in values, moved),
        "fetch_nsd": ("fetch_nsd" in values, moved),
        "machine.nsd_root": (
            isinstance(machine, dict) and "nsd_root" in machine,
            "called machine.raw_root since version 0.2",
        ),
        "models": (isinstance(models, list), "a list in version 0.1, lists by kind since 0.2"),
        "models.pixels": (
            isinstance(models, dict) and "pixels" in models and "population" not in models,
            "stands after models.population, the list of models that learn from other subjects",
        ),
        "train.default": (
            isinstance(train, dict) and "default" in train,
            "called train.bayes_independent now",
        ),
    }
    bayes = train.get("bayes") if isinstance(train, dict) else None
    renamed["train.bayes"] = (
        isinstance(bayes, dict) and "penalties" in bayes,
        "called train.bayes_independent now, because bayes is another encoder",
    )
    if "ood" not in values and isinstance(models, dict):
        renamed["models"] = (
            True,
            "beside it, the list ood (further test sets, or none), new since 0.2.0, is missing",
        )
    if "collect_anatomy" not in values and "split_examples" in values:
        renamed["split_examples"] = (
            True,
            "before it, the section collect_anatomy (for maps of voxels), new since 0.3.0, is "
            "missing",
        )
    if "population" not in values and "subjects" in values:
        renamed["subjects"] = (
            True,
            "population, whose pictures bayes learns from, is missing (all subjects until 0.2.0)",
        )
    for keys, (is_old, words) in renamed.items():
        if is_old:
            line = _line_of(text, keys.split("."))
            raise ConfigError(
                f"{path}{f', line {line}' if line else ''}: {keys}: {words}; run: fmri2img "
                "migrate-project"
            )


def check_params(params: ProjectParams, *, text: str = "", path: Path = PARAMS_PATH) -> None:
    """Refuse keys that are valid one by one but contradict each other.

    Parameters
    ----------
    params : ProjectParams
    text : str
        The whole file, to find lines in.
    path : Path
        Named in the message.

    Raises
    ------
    ConfigError
        With the first fault in one line.
    """

    def at(keys: str) -> str:
        line = _line_of(text, keys.split("."))
        return f"{path}{f', line {line}' if line else ''}: {keys}"

    for keys, names in (
        ("subjects", params.subjects),
        ("population", params.population),
        ("models", list(params.models)),
    ):
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(
                f"{at(keys)}: {twice[0]} is listed {names.count(twice[0])} times; list it once"
            )
    if others := [name for name in params.population if name not in params.subjects]:
        raise ConfigError(
            f"{at('population')}: {others[0]} is not among subjects"
            f"{near(others[0], params.subjects)}; add it there, or remove it from population (then "
            "encoders that learn from its pictures are trained again)"
        )
    if unknown := [model for model in params.models if model not in params.train]:
        raise ConfigError(
            f"{at('models')}: there is no section train.{unknown[0]}"
            f"{near(unknown[0], params.train)}; add one, or choose from: {', '.join(params.train)}"
        )
    if "ridge" not in params.models.latents:
        raise ConfigError(
            f"{at('models.latents')}: ridge is missing; every table shows it as the linear "
            "reference: add it to the list"
        )


def near(name: str, known: Iterable[str]) -> str:
    """Return a question with the known names that resemble a name; empty if none does."""
    alike = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(alike)}?)" if alike else ""


def check_section(
    section: type[Section],
    values: Any,
    *,
    text: str = "",
    path: Path = PARAMS_PATH,
    prefix: tuple[str, ...] = (),
) -> Section:
    """Check one section's values.

    Parameters
    ----------
    section : subclass of BaseModel
    values : object
        The section's values, as YAML gives them.
    text : str
        The whole file, to find lines in.
    path : Path
        Named in the message.
    prefix : tuple of str
        Keys that lead to the section.

    Raises
    ------
    ConfigError
        With the first fault in one line.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise _fault(error, section, text, path, prefix) from error


def _fault(
    error: ValidationError, section: type[BaseModel], text: str, path: Path, prefix: tuple[str, ...]
) -> ConfigError:
    # A misspelled key is reported as an unknown key and as a missing one: the unknown key is what
    # has to be corrected.
    errors = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    # Of the alternatives of a union, the one that got furthest is the one that was meant.
    alike = [item for item in errors if item["loc"][:1] == errors[0]["loc"][:1]]
    fault = max(alike, key=lambda item: (len(item["loc"]), item["type"] != "literal_error"))
    location = [str(part) for part in _real_keys(section, fault["loc"])]
    keys = [*prefix, *location]
    line = _line_of(text, keys)
    where = f"{path}{f', line {line}' if line else ''}: {'.'.join(keys)}"
    if fault["type"] == "extra_forbidden":
        valid = _valid_keys(section, location[:-1])
        return ConfigError(
            f"{where}: unknown key{near(location[-1], valid)}; valid keys here: {', '.join(valid)}"
        )
    if fault["type"] == "missing":
        return ConfigError(f"{where}: key is missing; add it to {path}")
    if (
        fault["type"] == "value_error"
    ):  # of several keys together: here the input is the whole section
        return ConfigError(f"{where}: {fault['ctx']['error']}")
    hint = (
        " (YAML reads 1e-4 as text: write 1.0e-4)"
        if fault["type"] == "float_type" and isinstance(fault["input"], str)
        else ""
    )
    words = f"{fault['msg'][0].lower()}{fault['msg'][1:]}{hint}"
    return ConfigError(f"{where}: got {fault['input']!r}; {words}; correct it in {path}")


def _real_keys(section: type[BaseModel], location: tuple[int | str, ...]) -> list[int | str]:
    """Drop what pydantic adds to a location for the alternatives of a union: it is neither a key
    nor an index.
    """
    real: list[int | str] = []
    fields: dict | None = section.model_fields
    for part in location:
        if isinstance(part, int) or fields is not None:
            real.append(part)
        if isinstance(part, int):
            continue
        annotation = fields[part].annotation if fields and part in fields else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields = annotation.model_fields
        else:
            fields = {} if getattr(annotation, "__origin__", None) is dict else None
    return real


def _valid_keys(section: type[BaseModel], location: list[str]) -> list[str]:
    for key in location:
        annotation = section.model_fields[key].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)


def _line_of(text: str, keys: list[str]) -> int | None:
    """Return the line, from 1, of the deepest of nested keys that the YAML text holds."""
    node = yaml.compose(text) if text else None
    line = None
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            pairs = [(name, value) for name, value in node.value if name.value == key]
            if not pairs:
                return line
            line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
    return line

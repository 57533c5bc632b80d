"""What all stage scripts share: their options, and errors reported in one line."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from fmri2img.pipeline.checks import check_once
from fmri2img.project.allocator import keep_memory
from fmri2img.project.arguments import Parser
from fmri2img.project.config import PARAMS_PATH
from fmri2img.project.error_lines import tell_errors
from fmri2img.project.exceptions import ConfigError, MissingDataError
from fmri2img.project.files import finish_replacing
from fmri2img.project.params_file import load_params
from fmri2img.provenance.lineage import changed_since_last_run, code_has_changed
from fmri2img.provenance.notes import forget_acceptance

# Scripts with one stage in dvc.yaml for each kind of encoder.
_OF_EACH_KIND = ("train", "predict", "evaluate", "evaluate_ood")
_FLAGS = {
    "check": "read every raw byte again and compare it with the receipt",
    "dry_run": "show what would be fetched and how large it is, then stop",
}


def run_stage(main: Callable[..., None], arguments: list[str] | None = None) -> None:
    """Run a stage's ``main``, taking its parameters from options of the same names; ``arguments``
    default to those of the process.

    A known error ends the process with one line on standard error and exit code 1; ``--debug``
    shows the traceback.
    """
    keep_memory()
    stage = inspect.getmodule(main)
    parser = Parser(description=stage.__doc__ if stage else None)
    for name, parameter in inspect.signature(main).parameters.items():
        if parameter.annotation is bool:
            parser.add_argument(
                f"--{name.replace('_', '-')}", action="store_true", help=_FLAGS.get(name)
            )
        else:
            parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = sys.argv[1:] if arguments is None else arguments
    with tell_errors(debug="--debug" in arguments):
        options = vars(parser.parse_args(arguments))
        del options["debug"]
        finish_replacing()
        check_once()
        _check_names(options)
        name = _stage_name(stage, options)
        try:
            main(**options)
        except MissingDataError as error:
            if hint := _changed_since_last_run(name):
                raise MissingDataError(f"{error}; {hint}") from error
            raise
        forget_acceptance(name)


def _stage_name(stage: ModuleType | None, options: dict[str, Any]) -> str:
    """Return a stage's name in ``dvc.yaml``."""
    script = Path(stage.__file__).stem if stage and stage.__file__ else ""
    if model := options.get("model") if script in _OF_EACH_KIND else None:
        kinds = load_params().models.by_kind()
        kind = next((kind for kind, names in kinds.items() if model in names), "latents")
        script += "" if kind == "latents" else f"_{kind}"
    item = "-".join(value for value in options.values() if isinstance(value, str))
    return script if not item else f"{script}_shared" if item == "shared" else f"{script}@{item}"


def _changed_since_last_run(name: str) -> str:
    """Say what changed since the outputs that are here were made: whoever pulled them has no raw
    files to make them again.
    """
    outs, changes = changed_since_last_run(name)
    if not outs or not all(Path(out).exists() for out in outs):
        return ""
    if changes:
        return (
            f"{', '.join(outs)} is kept, but params.yaml has changed since "
            f"({'; '.join(changes)}): to use it, undo the change"
        )
    if code_has_changed(name):
        return (
            f"{', '.join(outs)} is kept, but its code has changed since (fmri2img why {name}): "
            "to keep using it, run fmri2img accept"
        )
    return ""


def _check_names(options: dict[str, str]) -> None:
    """Refuse a subject, model or further test set that ``params.yaml`` does not list; ``shared``
    stands for all subjects.
    """
    params = load_params()
    for option, section, known in (
        ("subject", "subjects", ["shared", *params.subjects]),
        ("model", "models", list(params.models)),
        ("test", "ood", params.ood),
    ):
        if (name := options.get(option)) is not None and name not in known:
            listed = ", ".join(item for item in known if item != "shared")
            raise ConfigError(
                f"{PARAMS_PATH}: {section}: {name!r} is not among {listed}; add it there or "
                "choose one of these"
            )

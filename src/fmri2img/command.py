"""What every stage script shares: its options, the progress bar, and errors told in one line."""

import argparse
import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from fmri2img.config import PARAMS_PATH, load_params
from fmri2img.exceptions import ConfigError, Fmri2imgError

Item = TypeVar("Item")


def run_stage(main: Callable[..., None]) -> None:
    """Run a stage's ``main``, taking its parameters from options of the same names.

    A known error ends the process with one line on standard error and exit code 1; ``--debug`` shows the traceback.
    """
    stage = inspect.getmodule(main)
    parser = argparse.ArgumentParser(description=stage.__doc__ if stage else None)
    for name, parameter in inspect.signature(main).parameters.items():
        if parameter.annotation is bool:
            parser.add_argument(f"--{name}", action="store_true")
        else:
            parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = vars(parser.parse_args())
    debug = options.pop("debug")
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("h5py", "matplotlib", "PIL", "alembic", "urllib3", "mlflow", "httpx", "filelock", "git"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        _check_names(options)
        main(**options)
    except Fmri2imgError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def _check_names(options: dict[str, str]) -> None:
    """Refuse a subject or model that ``params.yaml`` does not list; ``shared`` stands for all subjects."""
    params = load_params()
    for option, section, known in (("subject", "subjects", ["shared", *params.subjects]), ("model", "models", params.models)):
        if (name := options.get(option)) is not None and name not in known:
            listed = ", ".join(item for item in known if item != "shared")
            raise ConfigError(f"{PARAMS_PATH}: {section}: there is no {name!r} among {listed}; add it there or name one of these")


def progress(label: str) -> Callable[[Iterable[Item]], Iterator[Item]]:
    """Return a wrapper that shows how far an iterable is, silent where nobody watches."""

    def wrap(items: Iterable[Item]) -> Iterator[Item]:
        return iter(tqdm(items, desc=label, disable=None, leave=False))

    return wrap

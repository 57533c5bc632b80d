"""How many threads libraries compute with: set in params.yaml, the same in every run."""

import os

import yaml

from fmri2img.project.config import PARAMS_PATH

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def pin_threads() -> None:
    """Set ``machine.n_threads`` for libraries that are imported later; environment variables that
    are already set stay.
    """
    try:
        machine = yaml.safe_load(PARAMS_PATH.read_text(encoding="utf-8"))["machine"]
        number = int(machine.get("n_threads", 1))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        return  # the check of params.yaml reports what is wrong
    for variable in _VARIABLES:
        os.environ.setdefault(variable, str(number))

"""One training in several processes: on one machine with ``machine.launch`` in ``params.yaml``,
on several with ``accelerate launch``.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from fmri2img.project.exceptions import UnavailableError

_LAUNCHED = "FMRI2IMG_LAUNCHED"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def process_state() -> PartialState:
    """Return device, number and count of processes.

    Raises
    ------
    UnavailableError
        If a launcher started several processes and they do not see each other: each would write the
        same results.
    """
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    wanted = int(os.environ.get("WORLD_SIZE", "1"))
    if wanted != state.num_processes:
        raise UnavailableError(
            f"the launcher started {wanted} processes, and this one sees {state.num_processes}; "
            "start them with accelerate launch --multi_gpu, on CPUs with the environment variable "
            "ACCELERATE_USE_CPU=true"
        )
    return state


def is_main_process() -> bool:
    """Whether this process writes results; the others only compute."""
    main: bool = process_state().is_main_process
    return main


def launch_again(options: Sequence[str]) -> None:
    """Replace this process with ``accelerate launch`` of its stage, once and only with options.

    Parameters
    ----------
    options : sequence of str
        Options of ``accelerate launch``, such as ``--multi_gpu --num_processes 4``.
    """
    if "WORLD_SIZE" in os.environ:
        _die_with_parent()
    if not options or "WORLD_SIZE" in os.environ or _LAUNCHED in os.environ:
        return
    script = sys.modules["__main__"].__spec__
    module = script.name if script else "stages.train"
    os.environ[_LAUNCHED] = "1"
    # Replaces this process, not a child: whoever kills the stage kills the launcher.
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *options]
    os.execv(sys.executable, [*launcher, "-m", module, *sys.argv[1:]])  # noqa: S606


def _die_with_parent() -> None:
    """Ask the kernel to end this process with the launcher: a killed training must not go on
    while the next one runs.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

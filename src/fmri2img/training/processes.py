"""One training in several processes: on one machine with ``machine.launch`` in ``params.yaml``, on several with ``accelerate launch``."""

import os
import subprocess
import sys

from accelerate import PartialState


def is_main_process() -> bool:
    """Whether this process writes results; the others only compute."""
    main: bool = PartialState().is_main_process
    return main


def launch_again(options: list[str]) -> bool:
    """Run this stage anew under ``accelerate launch``, unless it already is, or ``options`` is empty.

    Parameters
    ----------
    options : list of str
        Of ``accelerate launch``, such as ``--multi_gpu --num_processes 4``.

    Returns
    -------
    bool
        Whether it ran; then all is done.

    Raises
    ------
    SystemExit
        With the exit code of processes that failed; they have told why.
    """
    if not options or "WORLD_SIZE" in os.environ:
        return False
    script = sys.modules["__main__"].__spec__
    module = script.name if script else "stages.train"
    command = [sys.executable, "-m", "accelerate.commands.launch", *options, "-m", module, *sys.argv[1:]]
    if code := subprocess.run(command, check=False).returncode:
        raise SystemExit(code)
    return True

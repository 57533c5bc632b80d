"""Commands of the project called in this process, with what they print and how they end, as a shell would see them."""

import contextlib
import io
import logging
import os
import sys
import warnings
from importlib import import_module
from pathlib import Path
from subprocess import CalledProcessError, CompletedProcess


def fmri2img(folder, *arguments, check=True, **environment):
    """Run ``fmri2img`` in a folder."""
    from fmri2img.cli import main

    words = [str(word) for word in arguments]
    return _call(lambda: main(words), folder, ["fmri2img", *words], check, environment)


def stage(folder, name, *arguments, check=True, **environment):
    """Run ``python -m stages.<name>`` in a folder."""
    from fmri2img.command import run_stage

    words = [str(word) for word in arguments]
    main = import_module(f"stages.{name}").main
    return _call(lambda: run_stage(main, words), folder, ["python", "-m", f"stages.{name}", *words], check, environment)


def call(work, folder, *, check=True, **environment):
    """Run any function in a folder."""
    return _call(work, folder, ["python"], check, environment)


def _call(work, folder, command, check, environment):
    out, err, code = io.StringIO(), io.StringIO(), 0
    with _place(folder, environment), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as a process that no test watches
        try:
            work()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                err.write(f"{end.code}\n")
    result = CompletedProcess(command, code, out.getvalue(), err.getvalue())
    if check and code:
        raise CalledProcessError(code, command, result.stdout, result.stderr)
    return result


@contextlib.contextmanager
def _place(folder, environment):
    """Stand in a folder, with other variables and without anybody's logging, and leave no trace."""
    before, variables, root = Path.cwd(), dict(os.environ), logging.getLogger()
    handlers, level, path = root.handlers[:], root.level, list(sys.path)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ.update(environment)
    root.handlers[:] = []
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(variables)
        root.handlers[:] = handlers
        root.setLevel(level)
        sys.path[:] = path

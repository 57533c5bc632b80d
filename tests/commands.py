"""Commands of the project called in this process, with what they print and how they end, as a
shell would see them.
"""

import contextlib
import io
import logging
import os
import re
import runpy
import shlex
import sys
import warnings
from importlib import import_module
from pathlib import Path
from subprocess import CalledProcessError, CompletedProcess
from unittest import mock


def fmri2img(folder, *arguments, check=True, **environment):
    """Run ``fmri2img`` in a folder."""
    from fmri2img.cli.main import main

    words = [str(word) for word in arguments]
    return _call(lambda: main(words), folder, ["fmri2img", *words], check, environment)


def stage(folder, name, *arguments, check=True, **environment):
    """Run ``python -m stages.<name>`` in a folder."""
    from fmri2img.pipeline.stage import run_stage

    words = [str(word) for word in arguments]
    main = import_module(f"stages.{name}").main
    return _call(
        lambda: run_stage(main, words),
        folder,
        ["python", "-m", f"stages.{name}", *words],
        check,
        environment,
    )


def dvc(folder, *arguments, check=True, **environment):
    """Run ``dvc`` in a folder; the stages that it runs are called in this process too, and need
    not import torch and MLflow anew.
    """
    from dvc.cli import main

    words = [str(word) for word in arguments]
    # A command of ours that ran here before has silenced it.
    logging.getLogger("dvc").setLevel(logging.INFO)
    with mock.patch("dvc.stage.run._run", _run_stage_here):
        # Without DVC_TEST it would write JSON to the stream that the process began with.
        return _call(
            lambda: sys.exit(main(words)),
            folder,
            ["dvc", *words],
            check,
            {"DVC_TEST": "1", **environment},
        )


def _run_stage_here(_shell, command, *, cwd, env, **_):
    """Stand in for DVC's start of a process: ``python -m stages.x --subject subj02`` called
    here, with what it prints.
    """
    from dvc.stage.exceptions import StageCmdFailedError

    _, _, name, *options = shlex.split(command)
    result = stage(cwd, name.removeprefix("stages."), *options, check=False, **env)
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    if result.returncode:
        raise StageCmdFailedError(command, result.returncode)


def call(work, folder, *, check=True, **environment):
    """Run any function in a folder."""
    return _call(work, folder, ["python"], check, environment)


def _call(work, folder, command, check, environment):
    out, err, code = io.StringIO(), io.StringIO(), 0
    with _place(folder, environment), _written_to(out, err), warnings.catch_warnings():
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
def _written_to(out, err):
    """Have what is printed, and what DVC logs, written to two places; its handlers keep the
    streams of the process's start.
    """
    handlers = logging.getLogger("dvc").handlers
    before = [(handler, handler.stream) for handler in handlers]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for handler in handlers:
            handler.setStream(err if handler.level >= logging.WARNING else out)
        try:
            yield
        finally:
            for handler, stream in before:
                handler.setStream(stream)


@contextlib.contextmanager
def _place(folder, environment):
    """Stand in a folder, with other variables and without anybody's logging, and leave no trace."""
    before, variables, root = Path.cwd(), dict(os.environ), logging.getLogger()
    handlers, level, path = root.handlers[:], root.level, list(sys.path)
    # Which verbs silence.
    noisy = {name: logging.getLogger(name).level for name in ("dvc", "dvc_objects", "dvc_data")}
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
        for name, own in noisy.items():
            logging.getLogger(name).setLevel(own)
        sys.path[:] = path


def without_code(text):
    """Return what was printed without the code at the end of an error line, which goes with its
    words.
    """
    return re.sub(r" \[[A-Z][0-9a-f]{4}\]$", "", text, flags=re.MULTILINE)


def run_script(path, monkeypatch, *arguments):
    """Run a script that belongs to no package, as ``python path ...`` does."""
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
    runpy.run_path(str(path), run_name="__main__")

"""Where stages run: processes of this machine, or a Dask cluster.

A stage is a command of ``dvc.yaml``. On this machine it is forked from a process that has already
imported what stages need, so that none of them waits for imports. On a cluster, and until that
process is ready, the command runs as written.
"""

import atexit
import contextlib
import multiprocessing
import os
import re
import resource
import runpy
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from joblib.externals.loky import get_reusable_executor

from fmri2img.project.parallel import ON_WORKER, connect

_STAGE = re.compile(r"python -m stages\.(?P<script>\w+)(?P<arguments>( [\w.-]+)*)")
# Modules that stages import late, and that each of them would import again.
_AUTOENCODERS, _MLFLOW = "diffusers.models.autoencoders.autoencoder_kl", "fmri2img.tracking.runs"
_LATE_IMPORTS = {
    "encode_latents": _AUTOENCODERS,
    "predict": _AUTOENCODERS,
    "train": _MLFLOW,
    "evaluate": _MLFLOW,
    "compare": _MLFLOW,
}
_MAXRSS_A_MIB = 1024**2 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Command:
    """A command to run.

    Attributes
    ----------
    text : str
        The command as written in ``dvc.yaml``.
    log : Path
        File for its output.
    environment : mapping of str to str
        Variables in addition to the environment of this process.
    """

    text: str
    log: Path
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Ended:
    """How a command has ended.

    Attributes
    ----------
    code : int
        Exit status; if negative, the signal that ended it.
    peak_mib : float
        Peak memory, in MiB; 0 if unknown.
    """

    code: int
    peak_mib: float


class Workers(Protocol):
    """What runs commands."""

    n_cores: int

    def submit(self, command: Command) -> "Future[Ended]":
        """Start a command."""

    def interrupt(self) -> None:
        """Ask all running commands to stop, as Ctrl-C does."""

    def close(self) -> None:
        """Wait for all running commands."""


class LocalProcesses:
    """Processes of this machine.

    Parameters
    ----------
    n_cores : int
        Maximum number of commands at a time.
    commands : iterable of str
        Commands of stages that may run; what they import is imported once, for all of them.
    """

    def __init__(self, n_cores: int, commands: Iterable[str]) -> None:
        self.n_cores = n_cores
        self._threads = ThreadPoolExecutor(n_cores)
        self._context = multiprocessing.get_context("forkserver")
        stages = filter(None, map(_STAGE.fullmatch, commands))
        names = sorted({stage["script"] for stage in stages})
        late = dict.fromkeys(_LATE_IMPORTS[name] for name in names if name in _LATE_IMPORTS)
        self._context.set_forkserver_preload([*(f"stages.{name}" for name in names), *late])
        self._running: set[int] = set()
        self._lock, self._is_warm = threading.Lock(), threading.Event()
        # Starting a process asks after all others of this machine, and so does join. Two threads
        # that read the same exit status at once would leave one of them without it, as code 255.
        self._asking = threading.Lock()
        # Runs in the background, and starts with the first stage: there may be none to run.
        self._warming = threading.Thread(target=self._warm_up, name="imports", daemon=True)

    def submit(self, command: Command) -> "Future[Ended]":
        """Start a command."""
        if self._warming.ident is None:
            self._warming.start()
        return self._threads.submit(self._run, command)

    def interrupt(self) -> None:
        """Ask all running commands to stop, as Ctrl-C does."""
        with self._lock:
            for pid in self._running:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(pid, signal.SIGINT)

    def close(self) -> None:
        """Wait for all running commands."""
        self._threads.shutdown(wait=True)

    def _warm_up(self) -> None:
        first = self._context.Process(target=_do_nothing)
        with self._started(first):
            wait([first.sentinel])
        self._is_warm.set()

    @contextlib.contextmanager
    def _started(self, process: BaseProcess) -> Iterator[None]:
        """Start a process; the block has to wait for its end (its sentinel)."""
        with self._asking:
            process.start()
        yield
        with self._asking:
            process.join()

    def _run(self, command: Command) -> Ended:
        stage = _STAGE.fullmatch(command.text)
        if stage is None or not self._is_warm.is_set():
            return run_as_written(command, self._known)
        report = command.log.with_suffix(".peak")
        report.unlink(missing_ok=True)
        process = self._context.Process(
            target=_run_forked,
            args=(stage["script"], shlex.split(stage["arguments"]), command, report),
        )
        with self._started(process), self._known(process.pid or 0):
            wait([process.sentinel])
        peak = float(report.read_text(encoding="utf-8")) if report.exists() else 0.0
        report.unlink(missing_ok=True)
        return Ended(process.exitcode if process.exitcode is not None else 1, peak)

    @contextlib.contextmanager
    def _known(self, pid: int) -> Iterator[None]:
        """Keep the id of a process while it runs."""
        with self._lock:
            self._running.add(pid)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(pid)


class DaskCluster:
    """The workers of a Dask cluster, which see the project's folder under the same path.

    DVC runs only on this machine: its locks cover processes of one machine.

    Parameters
    ----------
    scheduler : str
        Address, such as ``tcp://host:8786``.

    Raises
    ------
    UnavailableError
        If it does not answer, or has no worker.
    """

    def __init__(self, scheduler: str) -> None:
        self._client = connect(scheduler)
        self.n_cores = sum(self._client.nthreads().values())
        self._executor = self._client.get_executor(pure=False)

    def submit(self, command: Command) -> "Future[Ended]":
        """Start a command."""
        environment = {**command.environment, ON_WORKER: "1"}
        remote = Command(command.text, command.log.absolute(), environment)
        future: Future[Ended] = self._executor.submit(_run_remotely, remote, str(Path.cwd()))
        return future

    def interrupt(self) -> None:
        """Cancel commands that have not started; those on a worker run to their end."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Leave the cluster."""
        self._client.close()


def run_as_written(
    command: Command,
    watch: Callable[[int], contextlib.AbstractContextManager] = lambda _: contextlib.nullcontext(),
    folder: str | None = None,
) -> Ended:
    """Run a command in its own process.

    Parameters
    ----------
    command : Command
    watch : callable
        Takes the process id; returns a context that is entered while the process runs.
    folder : str, optional
        Working directory, by default the current one.
    """
    with command.log.open("wb") as log:
        process = subprocess.Popen(
            shlex.split(command.text),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | command.environment,
            cwd=folder,
        )
        with watch(process.pid):
            _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # already waited for
    return Ended(process.returncode, used.ru_maxrss / _MAXRSS_A_MIB)


def _run_remotely(command: Command, folder: str) -> Ended:
    return run_as_written(command, folder=folder)


def _do_nothing() -> None:
    """Show that processes can be forked now."""


def _run_forked(script: str, arguments: list[str], command: Command, report: Path) -> None:
    """Run a stage in this process, which was forked for it."""
    with command.log.open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ |= command.environment
    name = f"stages.{script}"
    sys.modules.pop(name, None)  # or runpy would warn that it is already imported
    sys.argv[1:] = arguments
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    finally:
        # A forked process skips exit handlers: joblib's idle processes would keep it alive for
        # five minutes, and its temporary folders would stay.
        get_reusable_executor().shutdown(wait=True)
        atexit._run_exitfuncs()
        peaks = (resource.getrusage(who).ru_maxrss for who in (0, resource.RUSAGE_CHILDREN))
        report.write_text(str(max(peaks) / _MAXRSS_A_MIB), encoding="utf-8")

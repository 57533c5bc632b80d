"""Independent jobs on all cores of this machine or, by a setting, on a Dask cluster."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from joblib import Parallel, delayed, parallel_config

from fmri2img.project.config import MachineParams
from fmri2img.project.exceptions import ConfigError, UnavailableError
from fmri2img.project.files import read_json

Result = TypeVar("Result")
_CONNECT_SECONDS = 15
# Set where a stage runs as a task of the cluster: its own tasks would wait for its slot.
ON_WORKER = "FMRI2IMG_ON_WORKER"


def run_jobs(
    function: Callable[..., Result], jobs: Iterable[tuple], machine: MachineParams
) -> Iterator[Result]:
    """Call a function once for each tuple of arguments; yield results as they come, in any order.

    Parameters
    ----------
    function : callable
        Function of a module, so that another process can import it.
    jobs : iterable of tuple
    machine : MachineParams
        Number of processes, or the Dask scheduler. Files that a job names must be visible on the
        machine that runs it.

    Raises
    ------
    UnavailableError
        If the Dask scheduler does not answer, or a process is killed.
    ConfigError
        If Dask is requested but not installed.
    """
    with ExitStack() as stack:
        n_jobs = machine.n_jobs
        if machine.dask_scheduler is not None and ON_WORKER not in os.environ:
            stack.enter_context(connect(machine.dask_scheduler))
            stack.enter_context(parallel_config(backend="dask"))
            n_jobs = -1
        try:
            yield from Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)(
                delayed(function)(*job) for job in jobs
            )
        except BrokenProcessPool as error:
            raise UnavailableError(
                "a worker process was killed, probably because memory ran out; lower "
                "machine.n_jobs in params.yaml and run the same command: finished sessions are kept"
            ) from error


def connect(scheduler: str) -> Any:
    """Return a client of a Dask cluster, to use as a context manager.

    Raises
    ------
    UnavailableError
        If its scheduler does not answer.
    MissingDataError
        If the scheduler's JSON file is not there.
    FormatError
        If that file names no address.
    ConfigError
        If Dask is not installed.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            f"params.yaml: machine.dask_scheduler: got {scheduler!r}, but Dask is not installed; "
            "run: pip install -c constraints.txt '.[dask]'"
        ) from error
    if scheduler.endswith(".json"):  # Dask itself would wait for the file for ever
        remedy = f"dask scheduler --scheduler-file {scheduler}"
        scheduler = read_json(Path(scheduler), remedy=remedy, fields={"address": str})["address"]
    try:
        return Client(scheduler, timeout=_CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise UnavailableError(
            f"params.yaml: machine.dask_scheduler: no Dask scheduler answers at {scheduler} "
            f"({error}); start one, or set it to null"
        ) from error

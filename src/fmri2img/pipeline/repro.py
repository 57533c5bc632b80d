"""Run stages of the pipeline in parallel. DVC decides what is stale and stores results; this module
decides when each stage starts, within the available cores, memory and GPUs.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fmri2img.pipeline.room import Room, need_of
from fmri2img.pipeline.run_display import Display
from fmri2img.pipeline.stage_times import StageTimes
from fmri2img.pipeline.workers import Command, DaskCluster, Ended, LocalProcesses, Workers
from fmri2img.project.config import ProjectParams
from fmri2img.project.exceptions import StageError, UnavailableError
from fmri2img.project.files import finish_replacing
from fmri2img.project.layout import LOGS
from fmri2img.project.locks import locked
from fmri2img.provenance.dvc_project import parsing_params_once, reading_project, record_in_lock
from fmri2img.provenance.lineage import check_lock
from fmri2img.provenance.why import matching

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

_LOCK = Path(".dvc/tmp/fmri2img-repro.lock")
_LOG_FOLDER = LOGS / "stages"
_SECONDS_BETWEEN = 0.5  # polls of running stages
_SECONDS_TO_STOP = 30
_SECONDS_FOR_ANOTHER_RUN = 72 * 3600
_SECONDS_FOR_DVC = 120  # longest wait for another DVC command


@dataclass(frozen=True)
class Summary:
    """Outcome of a run.

    Attributes
    ----------
    n_stages : int
    ran : tuple of str
        Stages that ran, in the order in which they ended.
    """

    n_stages: int
    ran: tuple[str, ...]


def repro(targets: Sequence[str], params: ProjectParams, *, n_jobs: int | None = None) -> Summary:
    """Bring stages, and all that they depend on, up to date.

    Parameters
    ----------
    targets : sequence of str
        Stages, or stages with all their items; all if empty.
    params : ProjectParams
    n_jobs : int, optional
        Maximum number of stages at a time; by default as many as cores allow.

    Raises
    ------
    ConfigError
        If there is no such stage.
    FormatError
        If DVC cannot read the pipeline.
    StageError
        If a stage fails; those that were running are finished and kept.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import get_active_graph, get_subgraph

    logging.getLogger("dvc").setLevel(logging.WARNING)
    check_lock()
    finish_replacing()
    with one_at_a_time(), Repo() as repo, parsing_params_once():
        with reading_project(repo):
            graph = get_active_graph(repo.index.graph)
            known = {stage.addressing: stage for stage in graph}
            named = [name for target in targets for name in matching(list(known), target)]
            graph = get_subgraph(graph, [known[name] for name in named] or list(known.values()))
        upstream = {
            stage.addressing: {other.addressing for other in graph.successors(stage)}
            for stage in graph
        }
        stages = {stage.addressing: stage for stage in graph}
        try:
            return _Run(repo, stages, upstream, params, n_jobs).finish()
        except DvcException as error:
            words = " ".join(str(error).split())
            raise UnavailableError(f"DVC: {words}; run the same command again") from error


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other call runs in this folder, and say which process does."""
    purpose = "running this folder's stages"
    with locked(_LOCK, purpose, seconds=_SECONDS_FOR_ANOTHER_RUN):
        yield


class _Run:
    """One call, with its waiting, running and ended stages.

    Parameters
    ----------
    repo : Repo
    stages : dict of str to Stage
    upstream : dict of str to set of str
        Stages whose outputs each stage needs.
    params : ProjectParams
    n_jobs : int or None
    """

    def __init__(
        self,
        repo: "Repo",
        stages: dict[str, "Stage"],
        upstream: dict[str, set[str]],
        params: ProjectParams,
        n_jobs: int | None,
    ) -> None:
        self.repo, self.stages, self.params = repo, stages, params
        self.waiting = {name: set(others) for name, others in upstream.items()}
        self.times = StageTimes.open(_LOG_FOLDER / "times.json")
        self.order = self.times.by_urgency(upstream)
        self.running: dict[Future[Ended], str] = {}
        self.started: dict[str, float] = {}
        self.ran: list[str] = []
        self.failures: list[str] = []
        self.display = Display(len(stages), self.times)
        self.workers = self._workers(n_jobs)
        n_cores = self.workers.n_cores // params.machine.n_threads
        self.room = Room(max(1, n_jobs or n_cores), params.machine)

    def _workers(self, n_jobs: int | None) -> Workers:
        if scheduler := self.params.machine.dask_scheduler:
            return DaskCluster(scheduler)
        commands = [stage.cmd for stage in self.stages.values()]
        return LocalProcesses(n_jobs or os.cpu_count() or 1, commands)

    def finish(self) -> Summary:
        """Run all stale stages."""
        _LOG_FOLDER.mkdir(parents=True, exist_ok=True)
        try:
            self._go_on()
        except KeyboardInterrupt:
            self._stop()
            raise
        finally:
            self.workers.close()
            self.times.save()
            self.display.close()
        if self.failures:
            for failure in self.failures[1:]:
                Display.say(f"also failed: {failure}")
            raise StageError(self.failures[0])
        return Summary(len(self.stages), tuple(self.ran))

    def _go_on(self) -> None:
        while True:
            if not self.failures:
                self._start()
            if not self.running:
                return
            done, _ = wait(self.running, _SECONDS_BETWEEN, FIRST_COMPLETED)
            for future in done:
                self._end(future)
            self.display.show(self._n_done(), self.running.values(), self.waiting)

    def _n_done(self) -> int:
        return len(self.stages) - len(self.waiting) - len(self.running)

    def _start(self) -> None:
        """Start the stages that may start, and skip those that are up to date."""
        passed = True
        while passed:
            passed = False
            for name in [item for item in self.order if self.waiting.get(item) == set()]:
                need = need_of(name, self.stages[name], self.times)
                if not self.room.holds(need):
                    continue
                with self._dvc_alone():
                    is_stale = self.stages[name].changed()
                    if is_stale:
                        self.stages[name].remove_outs(ignore_remove=False, force=False)
                del self.waiting[name]
                if is_stale:
                    environment = self.room.take(name, need)
                    command = Command(
                        self.stages[name].cmd, _LOG_FOLDER / f"{name}.log", environment
                    )
                    self.started[name] = time.monotonic()
                    self.running[self.workers.submit(command)] = name
                else:
                    self._release(name)
                    passed = True

    def _release(self, name: str) -> None:
        for others in self.waiting.values():
            others.discard(name)

    def _end(self, future: "Future[Ended]") -> None:
        """Keep the results of a stage that has ended, or note why there are none."""
        name = self.running.pop(future)
        seconds = time.monotonic() - self.started[name]
        self.room.give_back(name)
        log = _LOG_FOLDER / f"{name}.log"
        lines = (
            log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        )
        if failure := _failure(name, future, lines) or self._keep(name):
            self.failures.append(failure)
            return
        self._release(name)
        self.times.note(name, seconds, future.result().peak_mib)
        self.ran.append(name)
        self.display.ended(name, self._n_done(), seconds, lines)

    def _keep(self, name: str) -> str:
        """Have DVC record a stage's results; returns why it failed, or an empty string."""
        from dvc.exceptions import DvcException

        stage = self.stages[name]
        try:
            with self._dvc_alone():
                stage.save()
                stage.commit()
                record_in_lock(stage)
        except DvcException as error:
            return f"{name}: DVC: {' '.join(str(error).split())}; run the same command again"
        return ""

    @contextmanager
    def _dvc_alone(self) -> Iterator[None]:
        """Hold DVC's lock; another DVC command, such as ``dvc status``, may hold it for a while."""
        from dvc.lock import LockError

        given_up = time.monotonic() + _SECONDS_FOR_DVC
        while True:
            try:
                self.repo.lock.lock()  # waits for seconds itself
                break
            except LockError:
                if time.monotonic() > given_up:
                    raise
        try:
            yield
        finally:
            self.repo.lock.unlock()

    def _stop(self) -> None:
        """Let running stages end, and keep complete results."""
        done, others = wait(self.running, 2)  # the terminal has interrupted them, too
        if others:
            self.workers.interrupt()
            done |= wait(others, _SECONDS_TO_STOP).done
        for future in done:
            self._end(future)


def _failure(name: str, future: "Future[Ended]", lines: list[str]) -> str:
    """Return why a stage has failed, in one line; empty if it has not."""
    if (error := future.exception()) is not None:
        words = " ".join(str(error).split())
        return (
            f"{name}: was lost with its worker ({type(error).__name__}: {words}); run the same "
            "command again: finished stages are kept"
        )
    code, log = future.result().code, _LOG_FOLDER / f"{name}.log"
    if code == 0:
        return ""
    if code < 0:
        return (
            f"{name}: was ended by signal {-code}, as happens when memory runs out; run "
            "the same command with --jobs 1: finished stages are kept"
        )
    told = [line for line in lines if line.startswith("error: ")]
    if told:
        return f"{name}: {told[-1].removeprefix('error: ')}"
    return f"{name}: ended with code {code}; what it wrote is in {log}"

"""Where stages run: what threads that start processes must not do at once."""

import os
import threading
import time

from fmri2img.pipeline.workers import Command, LocalProcesses

TEXT = "python -m stages.fingerprint"


class Statuses:
    """Stands in for `multiprocessing`, in which starting a process and waiting for one both read
    the exit statuses of all: a status that two threads read at once is lost.
    """

    def __init__(self):
        self.readers, self.met, self.started = 0, 0, 0

    def read(self):
        self.readers += 1
        self.met += self.readers > 1
        time.sleep(0.002)
        self.readers -= 1

    def Process(self, **_):  # noqa: N802 (its name there)
        return Process(self)


class Process:
    exitcode, pid = 0, 1

    def __init__(self, statuses):
        self.statuses = statuses
        self.sentinel, self.end = os.pipe()

    def start(self):
        self.statuses.read()
        self.statuses.started += 1
        threading.Timer(0.003, os.close, [self.end]).start()

    def join(self):
        self.statuses.read()


def test_exit_statuses_are_read_by_one_thread_at_a_time(tmp_path):
    workers, statuses = LocalProcesses(4, []), Statuses()
    workers._context = statuses
    workers._warm_up()
    commands = [Command(TEXT, tmp_path / f"{number}.log", {}) for number in range(40)]
    ended = [workers._threads.submit(workers._run, command) for command in commands]
    assert {future.result().code for future in ended} == {0}
    workers.close()
    assert statuses.started == 41
    assert statuses.met == 0

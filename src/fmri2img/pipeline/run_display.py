"""What is shown while stages run: a line for each that has ended, and one for the whole run."""

import shutil
import sys
import time
from collections.abc import Collection, Iterable

from fmri2img.pipeline.stage_times import StageTimes

_CLEAR = "\r\x1b[K"


class Display:
    """Progress on standard error.

    Parameters
    ----------
    n_stages : int
    times : StageTimes
        Times of earlier runs, to estimate the time left.
    """

    def __init__(self, n_stages: int, times: StageTimes) -> None:
        self.n_stages, self.times = n_stages, times
        self.began = time.monotonic()
        self.since: dict[str, float] = {}
        self.left = 0.0
        self.is_watched = sys.stderr.isatty()

    @staticmethod
    def say(line: str) -> None:
        """Print a line that stays."""
        print(f"{_CLEAR if sys.stderr.isatty() else ''}{line}", file=sys.stderr, flush=True)

    def ended(self, name: str, n_done: int, seconds: float, lines: Iterable[str]) -> None:
        """Report a stage that has ended, with its output."""
        width = len(str(self.n_stages))
        elapsed = clock(time.monotonic() - self.began)
        left = f", about {clock(self.left)} left" if self.left else ""
        self.say(f"[{n_done:{width}d}/{self.n_stages}] {elapsed}{left}  {name}: {seconds:.0f} s")
        for line in lines:
            if line.strip():
                self.say(f"    {line}")

    def show(self, n_done: int, running: Collection[str], waiting: Collection[str]) -> None:
        """Update the line for the whole run, on a terminal."""
        now = time.monotonic()
        self.since = {name: self.since.get(name, now) for name in running}
        ages = {name: now - start for name, start in self.since.items()}
        self.left = self.times.left(ages, waiting, max(len(running), 1))
        if not self.is_watched or not running:
            return
        line = (
            f"{n_done} of {self.n_stages} stages, {clock(now - self.began)}, about "
            f"{clock(self.left)} left: {', '.join(running)}"
        )
        columns = shutil.get_terminal_size().columns - 1
        print(f"{_CLEAR}{line[:columns]}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Remove the line for the whole run."""
        if self.is_watched:
            print(_CLEAR, end="", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds, or hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

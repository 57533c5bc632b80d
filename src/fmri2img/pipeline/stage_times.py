"""How long stages took on this machine, and how much memory they used."""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fmri2img.project.files import write_json


@dataclass
class StageTimes:
    """Times of earlier runs, and of this one.

    Attributes
    ----------
    path : Path
    seconds, peak_mib : dict of str to float
        Time and peak memory of the last run, by stage.
    """

    path: Path
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mib: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> "StageTimes":
        """Read the times; empty if the file is missing or damaged."""
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, dict(known["seconds"]), dict(known["peak_mib"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls(path)

    def save(self) -> None:
        """Keep them for the next run."""
        write_json(self.path, {"seconds": self.seconds, "peak_mib": self.peak_mib})

    def note(self, name: str, seconds: float, peak_mib: float) -> None:
        """Record time and peak memory of a stage."""
        self.seconds[name] = round(seconds, 2)
        if peak_mib:
            self.peak_mib[name] = round(peak_mib)

    def expected(self, name: str) -> float | None:
        """Return the expected time of a stage, in seconds: its last time, or the median of the same
        stage for other subjects and models; None if it has never run.
        """
        if name in self.seconds:
            return self.seconds[name]
        script = name.partition("@")[0]
        alike = [value for other, value in self.seconds.items() if other.startswith(f"{script}@")]
        return statistics.median(alike) if alike else None

    def left(self, running: Mapping[str, float], waiting: Iterable[str], width: int) -> float:
        """Estimate how many seconds are left.

        Parameters
        ----------
        running : mapping of str to float
            Running stages, with their seconds so far.
        waiting : iterable of str
        width : int
            Number of stages that run at a time.
        """
        typical = statistics.median(self.seconds.values()) if self.seconds else 10.0

        def of(name: str) -> float:
            expected = self.expected(name)
            return typical if expected is None else expected

        rests = [max(of(name) - seconds, 0) for name, seconds in running.items()]
        return max([*rests, (sum(rests) + sum(map(of, waiting))) / max(width, 1)])

    def by_urgency(self, upstream: Mapping[str, set[str]]) -> list[str]:
        """Sort stages by the time of the longest chain that depends on them, longest first."""
        downstream: dict[str, list[str]] = {name: [] for name in upstream}
        for name, others in upstream.items():
            for other in others:
                downstream[other].append(name)
        lengths: dict[str, float] = {}

        def length(name: str) -> float:
            if name not in lengths:
                lengths[name] = (self.expected(name) or 1.0) + max(
                    map(length, downstream[name]), default=0.0
                )
            return lengths[name]

        return sorted(upstream, key=lambda name: (-length(name), name))

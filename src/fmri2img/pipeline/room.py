"""How many stages fit on the machine at a time: cores, memory, GPUs."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from fmri2img.pipeline.run_display import Display
from fmri2img.pipeline.stage_times import StageTimes
from fmri2img.project.config import MachineParams

if TYPE_CHECKING:
    from dvc.stage import Stage

# Stages that compute on a GPU if there is one, and those that may take all of them.
_ON_GPU = ("encode_latents", "make_targets", "train", "predict", "score_references", "evaluate")
_ON_ALL_GPUS = ("train",)
# Guess for a stage that has not run yet: its libraries, and some copies of its inputs.
_LIBRARIES_MIB, _COPIES = 900, 3
_MARGIN = 1.2  # over the peak of a stage's last run
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Need:
    """What a stage needs.

    Attributes
    ----------
    mib : float
        Memory, in MiB.
    uses_gpu, may_use_all : bool
        Whether it uses a GPU if there is one, and whether it may use several at once.
    """

    mib: float
    uses_gpu: bool
    may_use_all: bool


def need_of(name: str, stage: "Stage", times: StageTimes) -> Need:
    """Return what a stage needs, from its last run or else guessed from its inputs."""
    script = name.partition("@")[0]
    mib = times.peak_mib.get(name, 0.0) * _MARGIN
    if not mib:
        paths = [Path(dep.fs_path) for dep in stage.deps]
        size = sum(path.stat().st_size for path in paths if path.is_file())
        mib = _LIBRARIES_MIB + _COPIES * size / 2**20
    uses_gpu = script.startswith(_ON_GPU)
    return Need(mib, uses_gpu, script.startswith(_ON_ALL_GPUS))


class Room:
    """Resources of this machine, and what running stages use of them.

    Parameters
    ----------
    n_places : int
        Maximum number of stages at a time.
    machine : MachineParams
    """

    def __init__(self, n_places: int, machine: MachineParams) -> None:
        self.n_places = n_places
        self.takes_all_gpus = bool(machine.launch)
        self.is_here = machine.dask_scheduler is None
        self.free_mib = free_memory_mib() if self.is_here else float("inf")
        self.free_gpus = gpus() if self.is_here else []
        self.has_gpus = bool(self.free_gpus)
        self.taken: dict[str, tuple[float, list[str]]] = {}
        self._has_told = False

    def holds(self, need: Need) -> bool:
        """Whether one more stage may start. A single stage always may."""
        if not self.taken:
            return True
        if len(self.taken) >= self.n_places:
            return False
        if need.uses_gpu and self.has_gpus and len(self.free_gpus) < self._n_gpus(need):
            return False
        free = self.free_mib - sum(mib for mib, _ in self.taken.values())
        if need.mib > free and not self._has_told:
            self._has_told = True
            Display.say(
                f"only {self.free_mib / 1024:.1f} GB of memory are free: running fewer stages at a "
                "time than the cores allow"
            )
        return need.mib <= free

    def take(self, name: str, need: Need) -> dict[str, str]:
        """Reserve what a stage needs; returns its environment variables."""
        mine: list[str] = []
        if need.uses_gpu and self.has_gpus:
            number = max(1, self._n_gpus(need))
            mine, self.free_gpus = self.free_gpus[:number], self.free_gpus[number:]
        self.taken[name] = need.mib, mine
        return {"CUDA_VISIBLE_DEVICES": ",".join(mine)} if mine else {}

    def give_back(self, name: str) -> None:
        """Release what was reserved for a stage that has ended."""
        _, gpus_of_it = self.taken.pop(name)
        self.free_gpus += gpus_of_it

    def _n_gpus(self, need: Need) -> int:
        in_use = sum(len(mine) for _, mine in self.taken.values())
        return len(self.free_gpus) + in_use if self.takes_all_gpus and need.may_use_all else 1


def free_memory_mib() -> float:
    """Return how much memory this process and its children may use, in MiB: what is free, within
    the limit of a container or a job.
    """
    free = float(psutil.virtual_memory().available)
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            free = min(
                free,
                int((_CGROUP / limit).read_text(encoding="utf-8"))
                - int((_CGROUP / used).read_text(encoding="utf-8")),
            )
        except (OSError, ValueError):  # no such limit
            continue
    return free / 2**20


def gpus() -> list[str]:
    """Return the CUDA names of the GPUs that may be used; empty if there are none."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name.strip()]
    if (program := shutil.which("nvidia-smi")) is None:
        return []
    listed = subprocess.run([program, "--list-gpus"], capture_output=True, text=True, check=False)
    lines: Sequence[str] = listed.stdout.splitlines() if listed.returncode == 0 else ()
    return [str(number) for number, _ in enumerate(lines)]

"""Shared by the benchmarks: real-size data, wall time and peak memory of processes, tables."""

import contextlib
import io
import json
import os
import platform
import runpy
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from fmri2img.datasets.simulation.scenes import render_image
from fmri2img.project.nsd_params import SimulatedNsdParams, SimulationParams

SUBJECT = "subj01"
README = Path(__file__).with_name("README.md")
# Set by the tests: every benchmark runs at a size that takes seconds, and writes no table.
TINY = os.environ.get("FMRI2IMG_TINY") == "1"
# Sampling a process of several gigabytes takes as long as this: those that run for minutes are
# sampled less often.
_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Measured:
    """Wall seconds and output of one command, and peak memory of all its processes (proportional
    set size, MB).
    """

    wall: float
    peak_mb: float
    output: str


def run_measured(
    command: list[str],
    *,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    every: float = _SAMPLE_SECONDS,
) -> Measured:
    """Run a command, and sample its memory and its children's every ``every`` seconds."""
    if TINY and command[1].endswith(".py"):
        return _run_here(command)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd, env=env)
    peaks, done = [0.0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peaks, done, every))
    watcher.start()
    output = process.communicate()[0]
    wall = time.perf_counter() - start
    done.set()
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return Measured(wall, max(peaks), output)


def _run_here(command: list[str]) -> Measured:
    """Run a script in this process, so that a test does not load torch for each of twenty
    children.
    """
    start, output, arguments = time.perf_counter(), io.StringIO(), sys.argv
    sys.argv = command[1:]
    try:
        with contextlib.redirect_stdout(output):
            runpy.run_path(command[1], run_name="__main__")
    finally:
        sys.argv = arguments
    return Measured(time.perf_counter() - start, peak_rss_mb(), output.getvalue())


def _watch(pid: int, peaks: list[float], done: threading.Event, every: float) -> None:
    """Sample the memory of a process and its children until told to stop."""
    while not done.wait(every):
        total = 0.0
        try:
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                total += process.memory_full_info().pss / 1e6
        except psutil.Error:
            continue  # it ended between two samples
        peaks.append(total)


def peak_rss_mb() -> float:
    """Return the peak resident memory of this process."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def make_pictures(folder: Path) -> Path:
    """Paint 200 small scenes to crop from; their content does not matter here."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(200):
        if not (path := folder / f"{index:03d}.png").exists():
            Image.fromarray(render_image(7, index, 170)).save(path)
    return folder


def simulated_nsd(pictures: Path, **simulation: Any) -> SimulatedNsdParams:
    """Return settings of one simulated session."""
    values = {
        "seed": 7,
        "pictures": str(pictures),
        "world": "standard",
        "deep_share": 0.4,
        "beta_versions": ["b3"],
        "timeseries": False,
        **simulation,
    }
    return SimulatedNsdParams(
        func_space="func1pt8mm",
        responses="betas",
        beta_version="b3",
        beta_format="hdf5",
        sessions=[1],
        rois="all",
        simulation=SimulationParams(**values),
    )


def hardware() -> str:
    """Return a description of the machine."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{model or platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB memory, "
        f"Python {platform.python_version()}"
    )


def table(headings: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; columns after the first are right-aligned."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def put_section(name: str, text: str) -> None:
    """Replace one section of the README, between its two marks; a tiny run prints it."""
    if TINY:
        print(f"section {name}, not written:\n{text}")
        return
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    whole = README.read_text()
    head, rest = whole.split(begin)
    stamp = f"Measured on {datetime.now(UTC):%Y-%m-%d}: {hardware()}.\n\n"
    README.write_text(head + begin + stamp + text + end + rest.split(end)[1])


def sized(full: Any, tiny: Any) -> Any:
    """Return the size to measure, or the tiny one with which a test checks the benchmark."""
    return tiny if TINY else full


def say(value: dict) -> None:
    """Print one result of a child process."""
    print(json.dumps(value))

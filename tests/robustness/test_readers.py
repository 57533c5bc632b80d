"""Every reader on every kind of damage: what it gives is right, or the error is one line.

``make test`` tries each kind of damage once; ``make test-slow`` many times.
"""

import inspect
import os
import resource
import shutil
import signal
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fmri2img.project.exceptions import Fmri2imgError
from robustness import mutators
from robustness.readers import digest, of_project, of_raw, of_users

_SECONDS, _BYTES = 20, 1 << 31
_RANDOM = {
    mutator for mutator in (*mutators.BYTES, *mutators.TEXT) if "rng." in inspect.getsource(mutator)
}


@pytest.fixture(scope="module")
def readers(template, tmp_path_factory):
    found = of_project(template) | of_raw(template / "data/raw")
    return found | of_users(tmp_path_factory.mktemp("users") / "files")


@contextmanager
def limited():
    """End what hangs, or takes more memory than a small file may."""

    def give_up(*_):
        raise AssertionError(f"still reading after {_SECONDS} s")

    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    before = signal.signal(signal.SIGALRM, give_up)
    memory = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _BYTES, memory[1]))
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, memory)


def cases_of(reader, n_times):
    """Yield (name, change, whether it may go unseen)."""
    kinds = mutators.BYTES + (mutators.TEXT if reader.is_text else ())
    for mutator in kinds:
        times = n_times if mutator in _RANDOM else 1
        for number in range(times):
            unseen = mutator in mutators.MAY_GO_UNSEEN
            unseen |= reader.has_no_length and mutator in mutators.CUT
            yield f"{mutator.__name__} {number}", mutator, unseen
    if reader.is_json:
        for name, change in mutators.json_cases(reader.file):
            yield f"json {name}", change, True
    if reader.is_hdf5:
        for name, change in mutators.hdf5_cases(reader.file):
            yield f"hdf5 {name}", change, True


def outcome(reader, folder, change, number, right):
    """Return ``right``, ``told``, ``other`` (read, with other values), or the fault in words."""
    for file in (*reader.beside, *reader.file.parent.glob("*.png")):
        mutators.copied(file, folder)
    path = mutators.copied(reader.file, folder)
    change(path, np.random.default_rng(number))
    try:
        with limited():
            given = digest(reader.read(path))
    except Fmri2imgError as error:
        words = str(error)
        if "\n" in words or len(words) > 600:
            return f"not one line: {words!r:.300}"
        return "told" if path.name in words or folder.name in words else f"no file: {words:.300}"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.300}"
    return "right" if given == right else "other"


def try_all(readers, tmp_path, n_times, keep=lambda _: True):
    outcomes, faults = Counter(), []
    for name, reader in readers.items():
        started, folder = time.monotonic(), tmp_path / name.replace(" ", "_")
        folder.mkdir()
        for file in (*reader.beside, *reader.file.parent.glob("*.png")):
            mutators.copied(file, folder)
        right = digest(reader.read(mutators.copied(reader.file, folder)))
        for number, (case, change, may_go_unseen) in enumerate(cases_of(reader, n_times)):
            if not keep(number):
                continue
            result = outcome(reader, folder, change, number, right)
            if result == "other" and not may_go_unseen:
                result = "other values were read"
            outcomes[result if result in ("right", "told", "other") else "fault"] += 1
            if result not in ("right", "told", "other"):
                faults.append(f"{name}: {case}: {result}")
        shutil.rmtree(folder)
        print(f"{name}: {time.monotonic() - started:.1f} s")
    print(f"{sum(outcomes.values())} cases of {len(readers)} readers: {dict(outcomes)}")
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:40])


def test_each_kind_of_damage_once(readers, tmp_path):
    """Of documents and arrays every eleventh case."""
    first = {*range(len(mutators.BYTES + mutators.TEXT))}
    try_all(readers, tmp_path, 1, keep=first.union(range(0, 10**4, 11)).__contains__)


@pytest.mark.slow
def test_all_kinds_of_damage(readers, tmp_path):
    try_all(readers, tmp_path, int(os.environ.get("FMRI2IMG_CASES", "25")))

"""Progress bars; silent if the output is not a terminal."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(label: str) -> Callable[..., Iterator]:
    """Return a wrapper that shows the progress of an iterable, with rate and time left; silent if
    the output is not a terminal.

    The wrapper takes tqdm's options, such as ``total``, and ``desc`` for another label.
    """

    def wrap(items: Iterable[Item], **options: Any) -> Iterator[Item]:
        return iter(tqdm(items, **{"desc": label, "disable": None, "leave": False, **options}))

    return wrap


@contextmanager
def byte_progress(label: str, total: int, initial: int = 0) -> Iterator[Any]:
    """Open a progress bar of bytes, with rate and time left, that several threads may update;
    silent if the output is not a terminal.
    """
    lock = threading.Lock()
    options: dict[str, Any] = {
        "unit": "B",
        "unit_scale": True,
        "unit_divisor": 1024,
        "disable": None if total else True,
        "leave": False,
    }
    with tqdm(desc=label, total=total, initial=initial, **options) as bar:

        def update(n_bytes: int) -> None:
            with lock:
                bar.update(n_bytes)

        yield SimpleNamespace(update=update, disable=bar.disable)

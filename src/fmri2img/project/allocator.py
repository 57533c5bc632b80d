"""Memory that a process has used stays with it."""

import ctypes
import sys

# glibc's mallopt: M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD, whose largest value is 32 MiB.
_SETTINGS = ((-1, 512 << 20), (-2, 64 << 20), (-3, 32 << 20))


def keep_memory() -> None:
    """Have the C library keep freed arrays for the next ones; without effect if it is not glibc.

    By default it returns each large array to the system, and the next one is filled with zeros
    page by page before its first use: a fifth of the time of encoding pictures.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for setting in _SETTINGS:
            mallopt(*setting)

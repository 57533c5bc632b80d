"""Errors of the libraries that load networks, told in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from fmri2img.project.exceptions import Fmri2imgError, FormatError

_NO_MEMORY = ("out of memory", "can't allocate memory")


@contextmanager
def loading(name: str, remedy: str) -> Iterator[None]:
    """Turn whatever a library raises about a damaged folder into one line.

    Parameters
    ----------
    name : str
        What is loaded.
    remedy : str
        What to do about it.

    Raises
    ------
    FormatError
        If the block raises anything but an error of this project or a lack of memory.
    """
    try:
        yield
    except (Fmri2imgError, MemoryError, ImportError):
        raise
    except Exception as error:  # they raise whatever their parsers raise
        words = " ".join(str(error).split())
        is_of_system = isinstance(error, OSError) and error.errno is not None
        if is_of_system or any(sign in words for sign in _NO_MEMORY):
            raise
        raise FormatError(
            f"{name}: cannot be loaded ({type(error).__name__}: {words:.200}); {remedy}"
        ) from error

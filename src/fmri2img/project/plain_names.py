"""Names and paths that come from files or servers, before they become parts of paths here."""

import re
from pathlib import PurePosixPath

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LONGEST = 150


def is_plain_name(text: str) -> bool:
    """Whether a text is a name of letters, digits and _.-, which cannot lead out of a folder."""
    return bool(_PLAIN.fullmatch(text)) and len(text) <= _LONGEST


def leads_elsewhere(text: str) -> bool:
    """Whether a text, as the name of a file, could lead out of its folder or be none."""
    return (
        not text
        or len(text) > _LONGEST
        or text.startswith((".", "-"))
        or any(sign in "/\\" or not sign.isprintable() for sign in text)
    )


def is_below(path: str) -> bool:
    """Whether a path, relative to a folder, leads to something below it."""
    parts = PurePosixPath(path)
    return bool(parts.parts) and not parts.is_absolute() and ".." not in parts.parts

"""Whether today's results are the golden ones: the same bytes on the same machine, the same but
for rounding on another.
"""

import json
from pathlib import Path

from golden.machine import close, describe, this_machine

DATA = Path(__file__).parent / "data"
# Of scores: how far one may be off on another processor. Networks that are trained by gradient and
# few test images move most.
SCORE_TOLERANCE = 0.15
# Which training image is nearest is a choice, and rounding may turn it: elsewhere its scores are
# not compared.
_CHOICE = "nearest_train"


def load(kind):
    return json.loads((DATA / f"{kind}.json").read_text())


def on_another_machine(golden):
    """Say on which machine a golden was made, if this is another."""
    here = this_machine()
    if golden["machine"] == here:
        return ""
    return (
        f"made on {describe(golden['machine'])}; this is {describe(here)}: numbers are compared "
        "within a tolerance"
    )


def differences(golden, found, *, exact):
    """Return a line for each entry that is not the golden one, by its name."""
    lines = [f"{name}: is gone" for name in sorted(golden.keys() - found.keys())]
    lines += [f"{name}: is new" for name in sorted(found.keys() - golden.keys())]
    for name in sorted(golden.keys() & found.keys()):
        if not exact and _CHOICE in name:
            continue
        if golden[name] != found[name] and (exact or not is_close(golden[name], found[name])):
            lines.append(f"{name}: was {shorten(golden[name])}, is {shorten(found[name])}")
    return lines


def is_close(one, other):
    """Whether two entries differ by no more than another processor may make them differ."""
    if isinstance(one, dict) and "sketch" in one:
        return [one["shape"], one["dtype"]] == [other["shape"], other["dtype"]] and close(
            one["sketch"], other["sketch"]
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            is_close(a, b) for a, b in zip(one, other, strict=True)
        )
    if (
        isinstance(one, int | float)
        and isinstance(other, int | float)
        and not isinstance(one, bool)
    ):
        return abs(one - other) <= SCORE_TOLERANCE * max(1.0, abs(one))
    return one == other


def shorten(value):
    text = json.dumps(value)
    return text if len(text) <= 160 else f"{text[:157]}..."

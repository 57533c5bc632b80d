"""Make goldens anew: ``make goldens``, or ``python tests/golden/regenerate.py [KIND ...]``. Prints
what changes, by name.

Look at every line before you commit: a number that moves is a result that changed. ``encoders/``
and ``store/`` are what version 0.1 left and are never made anew.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

# As make test has it: another number of threads gives other last digits.
os.environ.update(
    OMP_NUM_THREADS="1",
    HF_HUB_OFFLINE="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="1",
    DVC_NO_ANALYTICS="1",
    MPLBACKEND="Agg",
)
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from golden import collect
from golden.compare import DATA, differences, load
from golden.demo import collect_demo, make_demo_examples
from golden.error_page import PAGE, error_page
from golden.machine import describe, this_machine
from miniature import make_miniature

OF_MINIATURE = {
    "miniature": collect.collect_miniature,
    "metrics": collect.collect_metrics,
    "raw": collect.collect_raw,
}
OF_SOURCE = {
    "help": collect.collect_help,
    "errors": lambda: dict.fromkeys(collect.collect_errors(), True),
    # A test that goes stays in the list, and names its successor.
    "tests": lambda: dict.fromkeys([*load("tests")["entries"], *collect.collect_tests()], True),
}


def main(kinds):
    """Make the named goldens, or all."""
    kinds = kinds or ["miniature", "metrics", "raw", "demo", *OF_SOURCE]
    with tempfile.TemporaryDirectory() as folder:
        if needed := [kind for kind in kinds if kind in OF_MINIATURE]:
            template = make_miniature(Path(folder) / "template")
            for kind in needed:
                write(kind, OF_MINIATURE[kind](template))
        if "demo" in kinds:
            write("demo", collect_demo(make_demo_examples(Path(folder) / "demo")))
    for kind in kinds:
        if kind in OF_SOURCE:
            write(kind, OF_SOURCE[kind]())
    if "errors" in kinds:
        PAGE.write_text(error_page(load("errors")["entries"]), encoding="utf-8")


def write(kind, entries):
    """Write one golden after saying what changes."""
    path = DATA / f"{kind}.json"
    lines = (
        differences(load(kind)["entries"], entries, exact=True)
        if path.exists()
        else [f"{len(entries)} entries, all new"]
    )
    print(
        f"{kind}: {len(lines)} of {len(entries)} entries change",
        *(f"  {line}" for line in lines),
        sep="\n",
    )
    golden = {"machine": this_machine(), "entries": entries}
    DATA.mkdir(exist_ok=True)
    path.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    print(describe(this_machine()))
    main(sys.argv[1:])

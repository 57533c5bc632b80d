"""The verb of ``fmri2img`` that writes what goes into a manuscript."""

import argparse
from pathlib import Path


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verb to the command."""
    verb = verbs.add_parser(
        "paper",
        help="write methods, tables, figures and references of a manuscript from the results",
    )
    verb.add_argument("--to", type=Path, default=Path("paper"), help="folder (paper)")
    for name in ("subject", "model"):
        verb.add_argument(
            f"--{name}s", nargs="+", default=[], metavar=name.upper(), help="all if left out"
        )
    verb.set_defaults(run=write_paper)


def write_paper(options: argparse.Namespace) -> None:
    """Write the files, and name them."""
    from fmri2img.paper.manuscript import write_manuscript
    from fmri2img.paper.reading import read_facts  # starts torch

    facts = read_facts(options.subjects, options.models)
    for path in write_manuscript(facts, options.to):
        print(path)
    if facts.is_simulated:
        print("SIMULATED DATA: not results about real brains; every text and caption says so.")
    for terms in {one.provenance.get("terms", ""): None for one in facts.participants}:
        if terms:
            print(f"Before you publish figures with pictures: {terms}")

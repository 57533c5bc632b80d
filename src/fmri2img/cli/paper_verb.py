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
    verb.add_argument("--subjects", nargs="+", default=[], metavar="SUBJECT", help="all if left out")
    verb.add_argument("--models", nargs="+", default=[], metavar="MODEL", help="all if left out")
    verb.set_defaults(run=write_paper)


def write_paper(options: argparse.Namespace) -> None:
    """Write the files, and name them."""
    from fmri2img.paper.facts import read_facts  # starts torch
    from fmri2img.paper.manuscript import write_manuscript

    facts = read_facts(options.subjects, options.models)
    for path in write_manuscript(facts, options.to):
        print(path)
    if facts.is_simulated:
        print("SIMULATED DATA: not results about real brains; every text and caption says so.")
    if terms := next((one.provenance["terms"] for one in facts.participants if one.provenance.get("terms")), ""):
        print(f"The figures of pictures show the dataset's own: {terms}")

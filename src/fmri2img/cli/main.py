"""Inspect and share voxel files, run and explain the pipeline, score reconstructions, manage
encoders, and show where files come from.
"""

import argparse
import sys
from collections.abc import Iterable
from importlib import import_module

from fmri2img.project.error_lines import tell_errors

# Modules and their verbs, in the order of the help: only that of the verb is loaded, so that the
# command starts faster.
GROUPS = {
    "voxel_verbs": ("voxels", "export"),
    "sharing_verbs": ("share", "pull"),
    "score_verbs": ("metrics", "evaluate"),
    "encoder_verbs": ("list", "promote", "retire", "restore", "track", "migrate"),
    "decode_verb": ("decode",),
    "adapt_verb": ("adapt",),
    "pipeline_verbs": ("check", "repro", "why", "disk", "accept"),
    "removal_verb": ("remove",),
    "migration_verbs": ("migrate-project",),
    "lineage_verb": ("lineage",),
}


def main(arguments: list[str] | None = None) -> None:
    """Run one verb; ``arguments`` default to those of the process."""
    arguments = sys.argv[1:] if arguments is None else arguments
    wanted = [group for group, verbs in GROUPS.items() if arguments and arguments[0] in verbs]
    options = make_parser(wanted or GROUPS)[0].parse_args(arguments)
    with tell_errors(debug=options.debug):
        options.run(options)


def make_parser(groups: Iterable[str] = GROUPS) -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser of the verbs of some groups, and their names."""
    parser = argparse.ArgumentParser(prog="fmri2img", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for group in groups:
        import_module(f"fmri2img.cli.{group}").add_verbs(verbs)
    for verb in verbs.choices.values():
        verb.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser, list(verbs.choices)


if __name__ == "__main__":
    main()

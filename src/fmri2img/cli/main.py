"""Inspect and share voxel files, run and explain the pipeline, score reconstructions, manage
encoders, and show where files come from.
"""

import argparse
from importlib import import_module

from fmri2img.project.error_lines import tell_errors

# In the order of the help.
_GROUPS = (
    *("voxel_verbs", "sharing_verbs", "score_verbs", "encoder_verbs", "decode_verb", "adapt_verb"),
    *("pipeline_verbs", "removal_verb", "migration_verbs", "lineage_verb"),
)


def main(arguments: list[str] | None = None) -> None:
    """Run one verb; ``arguments`` default to those of the process."""
    options = make_parser()[0].parse_args(arguments)
    with tell_errors(debug=options.debug):
        options.run(options)


def make_parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser of all verbs, and their names."""
    parser = argparse.ArgumentParser(prog="fmri2img", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for group in _GROUPS:
        import_module(f"fmri2img.cli.{group}").add_verbs(verbs)
    for verb in verbs.choices.values():
        verb.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser, list(verbs.choices)


if __name__ == "__main__":
    main()

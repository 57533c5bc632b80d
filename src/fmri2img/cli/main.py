"""The command ``fmri2img``: look into voxel files, share them, score reconstructions, handle
encoders, tell where files come from.
"""

import argparse

from fmri2img.cli.encoder_verbs import add_encoder_verbs
from fmri2img.cli.lineage_verb import add_lineage_verb
from fmri2img.cli.pipeline_verbs import add_pipeline_verbs
from fmri2img.cli.score_verbs import add_score_verbs
from fmri2img.cli.sharing_verbs import add_sharing_verbs
from fmri2img.cli.voxel_verbs import add_voxel_verbs
from fmri2img.pipeline.stage import tell_errors

_GROUPS = (
    add_voxel_verbs,
    add_sharing_verbs,
    add_score_verbs,
    add_encoder_verbs,
    add_pipeline_verbs,
    add_lineage_verb,
)


def main(arguments: list[str] | None = None) -> None:
    """Run one verb; ``arguments`` are those of the process if left out."""
    options = make_parser()[0].parse_args(arguments)
    with tell_errors(debug=options.debug):
        options.run(options)


def make_parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser of all verbs, and their names."""
    parser = argparse.ArgumentParser(prog="fmri2img", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add in _GROUPS:
        add(verbs)
    for verb in verbs.choices.values():
        verb.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser, list(verbs.choices)


if __name__ == "__main__":
    main()

"""Inspect and share voxel files, run and explain the pipeline, score reconstructions, manage
encoders, and show where files come from.
"""

import argparse
import sys
from collections.abc import Iterable
from importlib import import_module

from fmri2img import __version__
from fmri2img.cli.usage import EXAMPLES, FIRST
from fmri2img.project.arguments import Parser
from fmri2img.project.error_lines import tell_errors
from fmri2img.project.exceptions import ConfigError

# Modules and their verbs, in the order of the help: only that of the verb is loaded, so that the
# command starts faster.
GROUPS = {
    "voxel_verbs": ("voxels", "export"),
    "sharing_verbs": ("share", "pull"),
    "score_verbs": ("metrics", "evaluate"),
    "paper_verb": ("paper",),
    "encoder_verbs": ("list", "promote", "retire", "restore", "track", "migrate"),
    "decode_verb": ("decode",),
    "adapt_verb": ("adapt",),
    "pipeline_verbs": ("check", "repro", "why", "disk", "accept"),
    "alignment_verb": ("check-alignment",),
    "dataset_verb": ("new-dataset",),
    "removal_verb": ("remove",),
    "migration_verbs": ("migrate-project",),
    "lineage_verb": ("lineage",),
    "completion_verb": ("completion",),
}


def main(arguments: list[str] | None = None) -> None:
    """Run one verb; ``arguments`` default to those of the process."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with tell_errors(debug="--debug" in arguments):
        options = _parsed(arguments or ["--help"])
        options.run(options)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    first, verbs = arguments[0], [verb for group in GROUPS.values() for verb in group]
    if first not in verbs and not first.startswith("-"):
        raise ConfigError(
            f"fmri2img: there is no verb {first!r}{_near(first, verbs)}; run: fmri2img --help"
        )
    wanted = [group for group, verbs in GROUPS.items() if first in verbs]
    parser = make_parser(wanted or ([] if first == "--version" else GROUPS))[0]
    options, rest = parser.parse_known_args(arguments)
    if unknown := [word for word in rest if word.startswith("-")] or rest:
        raise ConfigError(
            f"fmri2img {options.verb}: {_misplaced(unknown[0], _options(parser, options.verb))}; "
            f"run: fmri2img {options.verb} --help"
        )
    return options


def _misplaced(word: str, options: list[str]) -> str:
    """Say what is wrong with a word that no option takes."""
    if word in options:
        return f"{word} stands before the verb; put it behind it"
    kind = "option" if word.startswith("-") else "place for"
    return f"there is no {kind} {word}{_near(word, options)}"


def _near(word: str, known: Iterable[str]) -> str:
    """Ask whether a similar word was meant."""
    from fmri2img.project.params_file import near  # starts pydantic

    return near(word, known)


def _options(parser: argparse.ArgumentParser, verb: str) -> list[str]:
    (verbs,) = (
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    return list(verbs.choices[verb]._option_string_actions)


def make_parser(groups: Iterable[str] = GROUPS) -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser of the verbs of some groups, and their names."""
    parser = Parser(
        prog="fmri2img",
        description=__doc__,
        epilog=_examples(FIRST),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fmri2img {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for group in groups:
        import_module(f"fmri2img.cli.{group}").add_verbs(verbs)
    for name, verb in verbs.choices.items():
        verb.add_argument("--debug", action="store_true", help="show the traceback of an error")
        verb.formatter_class = argparse.RawDescriptionHelpFormatter
        verb.epilog = _examples(EXAMPLES[name])
    return parser, list(verbs.choices)


def _examples(lines: Iterable[str]) -> str:
    return "\n".join(["examples:", *(f"  {line}" for line in lines)])


if __name__ == "__main__":
    main()

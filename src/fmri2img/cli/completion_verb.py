"""The verb of ``fmri2img`` that lets a shell complete the others."""

import argparse


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Add the verb to the command."""
    verb = verbs.add_parser(
        "completion", help="print a script by which bash or zsh completes verbs, options and files"
    )
    verb.add_argument("shell", choices=("bash", "zsh"))
    verb.set_defaults(run=print_script)


def print_script(options: argparse.Namespace) -> None:
    """Print the script."""
    import shtab

    from fmri2img.cli.main import make_parser  # which loads this module

    parser, _ = make_parser()
    for action in _positional(parser):
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=options.shell))


def _positional(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return all arguments of all verbs that may be a file, without choices of their own."""
    (verbs,) = (
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    return [
        action
        for verb in verbs.choices.values()
        for action in verb._actions
        if action.nargs != 0 and not action.choices
    ]

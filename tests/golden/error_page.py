"""The page of all error lines, docs/error-lines.md; `regenerate.py errors` writes it anew."""

from fmri2img.project.error_codes import code_of, says_something
from miniature import REPOSITORY

PAGE = REPOSITORY / "docs" / "error-lines.md"
KINDS = {
    "ConfigError": "Settings and options",
    "MissingDataError": "Files that are not there",
    "FormatError": "Files that are damaged, or of another kind",
    "MismatchError": "Files and numbers that do not belong together",
    "ChangedDataError": "Bytes that have changed",
    "UnavailableError": "Servers, packages, memory and locks",
    "StageError": "Stages",
    "ValueError": "Settings that contradict each other",
}
_INTRODUCTION = """\
# Error lines

All error lines of `fmri2img` and its stages, by kind (the error's class in
`fmri2img.project.exceptions`): the line, and what to do about it. `…` stands for a name, a number
or a path. To find yours, search this page for the code that it ends with, such as [C1a2b]; a code
stays as long as its line has the same words.
[When something goes wrong](faults.md) explains kills, locks and copies.
"""


def told_of_kind(lines, kind):
    """Return the lines of a kind; what is only handed on says nothing by itself."""
    texts = [line.removeprefix(f"{kind}: ") for line in lines if line.startswith(f"{kind}: ")]
    told = set(filter(says_something, texts))
    # Others are mistakes in a call, which a user does not see.
    return sorted(text for text in told if kind != "ValueError" or "; " in text)


def error_page(lines):
    """Return the page for the templates of all error lines, ``Kind: text``."""
    sections = [_INTRODUCTION]
    for kind, title in KINDS.items():
        told = told_of_kind(lines, kind)
        if not told:
            continue
        sections.append(f"\n## {title}\n\n`{kind}`\n\n| code | line | what to do |\n|---|---|---|")
        sections += [_row(code_of(kind, text), text.replace("{}", "…")) for text in told]
    return "\n".join(sections) + "\n"


def _row(code, text):
    line, _, remedy = text.rpartition("; ")
    cells = (line or remedy, remedy if line else "")
    return f"| {code} | {' | '.join(_code(cell) for cell in cells)} |"


def _code(text):
    plain = text.replace("`", "'").replace("|", "\\|")
    return f"`{plain}`" if plain else ""

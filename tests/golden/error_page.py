"""The page of all error lines, docs/error-lines.md; `regenerate.py errors` writes it anew."""

import re

from miniature import REPOSITORY

PAGE = REPOSITORY / "docs" / "error-lines.md"
_KINDS = {
    "ConfigError": "Settings and options",
    "MissingDataError": "Files that are not there",
    "FormatError": "Files that are damaged, or of another kind",
    "MismatchError": "Files and numbers that do not belong together",
    "ChangedDataError": "Bytes that have changed",
    "UnavailableError": "Servers, packages, memory and locks",
    "StageError": "Stages",
}
_INTRODUCTION = """\
# Error lines

All error lines of `fmri2img` and its stages, by kind; `…` stands for a name, a number or a path.
To find yours, search this page for a few of its words. The part after the last semicolon says what
to do. [When something goes wrong](faults.md) explains kills, locks and copies.
"""


def error_page(lines):
    """Return the page for the templates of all error lines, ``Kind: text``."""
    sections = [_INTRODUCTION]
    for kind, title in _KINDS.items():
        texts = [line.removeprefix(f"{kind}: ") for line in lines if line.startswith(f"{kind}: ")]
        # What is only handed on says nothing by itself.
        told = sorted({text for text in texts if re.search(r"[a-z]{3}", text.replace("{}", ""))})
        if not told:
            continue
        sections.append(f"\n## {title}\n")
        sections += [f"- `{text.replace('{}', '…').replace('`', chr(39))}`" for text in told]
    return "\n".join(sections) + "\n"

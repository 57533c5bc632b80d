"""The little of LaTeX that a manuscript needs: special characters, and Markdown with citations."""

import re

# What LaTeX would read as commands, and signs that its usual fonts lack.
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "↓": r"$\downarrow$",
    "–": "--",
    "×": r"$\times$",
    "²": r"\textsuperscript{2}",
}
# Minus signs: before a number, and between two names.
_MINUS = re.compile(r"(?<![\w-])-(?=[\d.])|(?<= )-(?= )")
_CITATION = re.compile(r"\[((?:@[\w:-]+)(?:; ?@[\w:-]+)*)\]")
_MARKUP = re.compile(r"(\[@[^\]]+\]|`[^`]+`|\*\*[^*]+\*\*)")


def escaped(text: str) -> str:
    """Return text in which nothing is a command of LaTeX."""
    return _MINUS.sub("$-$", "".join(_SPECIAL.get(character, character) for character in text))


def from_markdown(text: str) -> str:
    """Return a paragraph of Markdown as LaTeX: citations, code and bold text are translated, all
    else is escaped.
    """
    return "".join(map(_translated, _MARKUP.split(text)))


def _translated(piece: str) -> str:
    if _CITATION.fullmatch(piece):
        return rf"\cite{{{','.join(cited(piece))}}}"
    if piece.startswith("`"):
        return rf"\texttt{{{escaped(piece.strip('`'))}}}"
    if piece.startswith("**"):
        return rf"\textbf{{{escaped(piece.strip('*'))}}}"
    return escaped(piece)


def cited(text: str) -> list[str]:
    """Return the keys that a text of Markdown cites, each once, in its order."""
    keys = (key for group in _CITATION.findall(text) for key in re.findall(r"@([\w:-]+)", group))
    return list(dict.fromkeys(keys))

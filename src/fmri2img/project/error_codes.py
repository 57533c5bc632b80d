"""Codes of error lines: each has one, made from its words; docs/error-lines.md lists them."""

import ast
import hashlib
import inspect
import re
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import fmri2img
from fmri2img.project.exceptions import Fmri2imgError

# The first letter of a code.
LETTERS = {
    "ConfigError": "C",
    "MissingDataError": "M",
    "FormatError": "F",
    "MismatchError": "X",
    "ChangedDataError": "D",
    "UnavailableError": "U",
    "StageError": "S",
    "ValueError": "V",  # of values in params.yaml that contradict each other
}
_FILE = re.compile(r'File "(.+?)", line')
_OPEN = "{}"  # what a line says of the case at hand
_PACKAGE = Path(inspect.getfile(fmri2img)).parent


def error_templates(source: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and the words of every error line of a module; what varies is ``{}``.

    Parameters
    ----------
    source : str
        The module's text.
    """
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in LETTERS
            and node.args
        ):
            yield node.func.id, _words(node.args[0])


def _words(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else _OPEN for part in node.values
        )
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.BinOp):
        return _words(node.left) + _words(node.right)
    return _OPEN


def says_something(template: str) -> bool:
    """Whether a line has words of its own, and does not only hand on those of another."""
    return re.search(r"[a-z]{3}", template.replace(_OPEN, "")) is not None


def code_of(kind: str, template: str) -> str:
    """Return the code of a line: a letter for its kind and four digits of its words' SHA-256."""
    return LETTERS[kind] + hashlib.sha256(template.encode()).hexdigest()[:4]


def code_for(error: Fmri2imgError) -> str:
    """Return the code of an error that was raised; empty if its line is not one of the catalogue.

    The line is looked for in the modules that the error went through, the innermost first. One that
    only hands on what a check of ``params.yaml`` said has the code of that.
    """
    if code := _code_in(_modules_of(error), type(error).__name__, str(error)):
        return code
    settings = [_PACKAGE / "project" / "config.py", *(_PACKAGE / "datasets").glob("*_dataset.py")]
    said = str(error).partition(": ")[2].partition(": ")[2]  # behind the place and the keys
    return _code_in(settings, "ValueError", said)


def _modules_of(error: Fmri2imgError) -> list[Path]:
    frames = traceback.extract_tb(error.__traceback__)
    # What another process raised has its traceback as the text of its cause.
    elsewhere = _FILE.findall(str(error.__cause__ or ""))
    paths = [Path(name) for name in [*elsewhere[::-1], *(frame.filename for frame in frames[::-1])]]
    return [*dict.fromkeys(paths), Path(__file__).with_name("error_lines.py")]


def _code_in(modules: Iterable[Path], kind: str, line: str) -> str:
    """Return the code of the line in the first module that has one of these words."""
    for path in modules:
        if path.is_relative_to(_PACKAGE) and path.is_file():
            source = path.read_text(encoding="utf-8")
            fitting = [
                template
                for name, template in error_templates(source)
                if name == kind and says_something(template) and _fits(template, line)
            ]
            if fitting:
                return code_of(kind, max(fitting, key=lambda text: len(text.replace(_OPEN, ""))))
    return ""


def _fits(template: str, line: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in template.split(_OPEN))
    return re.fullmatch(pattern, line, re.DOTALL) is not None

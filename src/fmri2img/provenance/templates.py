"""Page templates, whose digests cover what they show and ignore their comments."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from jinja2 import Environment, TemplateSyntaxError, nodes

from fmri2img.project.exceptions import FormatError

# A comment that fills its lines is removed with them: the empty line that some pages would keep
# has no meaning.
_COMMENT_LINES = re.compile(r"^[ \t]*\{#.*?#\}[ \t]*\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Template:
    """The meaning of a page template.

    Attributes
    ----------
    digest : str
        SHA-256 of its syntax tree.
    attributes : frozenset of str
        Attributes that it accesses on any object.
    names : frozenset of str
        Other templates that it mentions.
    """

    digest: str
    attributes: frozenset[str]
    names: frozenset[str]


def parse_template(path: PurePosixPath, text: str) -> Template:
    """Parse a template.

    Raises
    ------
    FormatError
        If it is not a valid template, with the line.
    """
    try:
        tree = Environment(autoescape=True).parse(_COMMENT_LINES.sub("", text))
    except TemplateSyntaxError as error:
        raise FormatError(
            f"src/{path}, line {error.lineno}: not a valid template ({error.message}); correct it"
        ) from error
    attributes = frozenset(node.attr for node in tree.find_all(nodes.Getattr))
    texts = (node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str))
    names = frozenset(text for text in texts if text.endswith(".jinja"))
    return Template(hashlib.sha256(_dump(tree).encode()).hexdigest(), attributes, names)


def _dump(node: object) -> str:
    if isinstance(node, nodes.Node):
        fields = ",".join(f"{name}={_dump(value)}" for name, value in node.iter_fields())
        return f"{type(node).__name__}({fields})"
    if isinstance(node, list | tuple):
        return f"[{','.join(map(_dump, node))}]"
    return repr(node)

"""Python source as definitions, whose digests depend on meaning and not on spelling.

A module is split into its top-level functions, classes, methods and assignments. The digest of a
definition covers its syntax tree without comments, docstrings, layout and the order of imports, so
that only a change of meaning changes it. Nothing is imported or run: only the text is read, so
another commit's source is as easy to read as today's.
"""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from fmri2img.project.exceptions import FormatError
from fmri2img.provenance.definitions import STATEMENTS, Definition, Module, NameCollector, imported

# Bases that call none of a class's methods on their own; any other base from outside may call
# every method.
_QUIET_BASES = frozenset(
    [
        "ABC",
        "BaseModel",
        "Enum",
        "Exception",
        "FileNotFoundError",
        "Generic",
        "NamedTuple",
        "Protocol",
        "TypedDict",
        "ValueError",
        "object",
    ]
)
# Decorators with which a method is still called only by its name.
_PLAIN_DECORATORS = frozenset(
    [
        "abstractmethod",
        "cached_property",
        "classmethod",
        "contextmanager",
        "property",
        "staticmethod",
    ]
)
# Fields of a syntax tree that concern spelling, or that only some versions of Python have.
_SPELLING = frozenset(
    [
        "ctx",
        "kind",
        "type_comment",
        "type_params",
        "lineno",
        "col_offset",
        "end_lineno",
        "end_col_offset",
    ]
)


def parse_module(name: str, path: PurePosixPath, text: str) -> Module:
    """Parse a source file.

    Parameters
    ----------
    name : str
        Dotted name of the module.
    path : PurePosixPath
        Relative to the folder of sources; for messages.
    text : str

    Raises
    ------
    FormatError
        If it is not valid Python, with the line.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise FormatError(
            f"src/{path}, line {error.lineno}: not valid Python ({error.msg}); correct it"
        ) from error
    module = Module(name, path)
    _strip_docstrings(tree)
    groups: dict[str, list[ast.stmt]] = {}
    for statement in _statements(tree.body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            module.imports |= dict(imported(statement, module))
        elif isinstance(statement, ast.ClassDef):
            _add_class(module, statement)
        else:
            for bound in _bound_names(statement) or [STATEMENTS]:
                groups.setdefault(bound, []).append(statement)
    for bound, statements in groups.items():
        module.definitions[bound] = _define(module, bound, statements)
    return module


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield top-level statements; of blocks for type checkers only the imports, and none of the
    blocks for running as a script.
    """
    for statement in body:
        if isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test):
            continue
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            yield from (
                inner for inner in statement.body if isinstance(inner, ast.Import | ast.ImportFrom)
            )
            continue
        yield statement


def _add_class(module: Module, node: ast.ClassDef) -> None:
    """Define a class without the methods that are only called by name, and each of those methods
    separately.
    """
    module.bases[node.name] = [ast.unparse(base) for base in node.bases]
    apart = [
        item
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and _only_by_name(item)
    ]
    names = sorted({item.name for item in apart})
    module.methods[node.name] = names
    for name in names:
        bodies: list[ast.stmt] = [item for item in apart if item.name == name]
        module.definitions[f"{node.name}.{name}"] = _define(module, f"{node.name}.{name}", bodies)
    rest = ast.ClassDef(
        node.name,
        node.bases,
        node.keywords,
        [item for item in node.body if item not in apart],
        node.decorator_list,
    )
    module.definitions[node.name] = _define(module, node.name, [rest])
    annotated = (
        item
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    )
    module.fields[node.name] = {
        item.target.id: _define(module, f"{node.name}.{item.target.id}", [item])
        for item in annotated
        if isinstance(item.target, ast.Name)
    }


def _only_by_name(method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a method can be called only as an attribute of its name, not by the language or by a
    decorator.
    """
    if method.name.startswith("__") and method.name.endswith("__"):
        return False
    decorators = {ast.unparse(item).split(".")[-1] for item in method.decorator_list}
    return decorators <= _PLAIN_DECORATORS


def is_quiet(base: str) -> bool:
    """Whether a base class from outside the project calls none of a class's methods on its own."""
    return base.split("[")[0].split(".")[-1] in _QUIET_BASES


def _bound_names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = (
            node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)
        )
        # Setting an item or attribute binds no name: it counts as code that runs on import.
        return sorted({node.id for node in names if isinstance(node.ctx, ast.Store)})
    if isinstance(statement, ast.If | ast.Try | ast.With | ast.For):
        return sorted(
            {
                name
                for inner in ast.iter_child_nodes(statement)
                if isinstance(inner, ast.stmt)
                for name in _bound_names(inner)
            }
        )
    return []


def _define(module: Module, name: str, statements: list[ast.stmt]) -> Definition:
    looker = NameCollector(module)
    for statement in statements:
        looker.visit(statement)
    text = "\n".join(dump(statement) for statement in statements)
    return Definition(
        module.name,
        name,
        hashlib.sha256(text.encode()).hexdigest(),
        frozenset(looker.references),
        frozenset(looker.attributes),
        frozenset(looker.loads),
        frozenset(looker.templates),
    )


def dump(node: object) -> str:
    """Return a syntax tree as text: the same for the same meaning, in every version of Python."""
    if isinstance(node, ast.AST):
        parts = []
        for name in node._fields:
            value = getattr(node, name, None)
            if value is not None and value != [] and name not in _SPELLING:
                parts.append(f"{name}={dump(value)}")
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join([dump(item) for item in node])}]"
    return repr(node)


def _strip_docstrings(node: ast.AST) -> None:
    """Remove every statement that is only a string: docstrings, and strings used as comments."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        inner = getattr(node, part, None)
        if isinstance(inner, list):
            kept = [item for item in inner if not _is_text(item)]
            setattr(node, part, kept)
            for item in kept:
                _strip_docstrings(item)


def _is_text(item: ast.AST) -> bool:
    return (
        isinstance(item, ast.Expr)
        and isinstance(item.value, ast.Constant)
        and isinstance(item.value.value, str)
    )

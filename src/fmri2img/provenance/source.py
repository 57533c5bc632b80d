"""Python source and page templates as definitions whose digests know meaning and ignore spelling.

A module is taken apart into its top-level functions, classes, methods and assignments. The digest
of a definition covers its syntax tree without comments, docstrings, layout and the order of
imports, so that only a change of meaning changes it. Nothing is imported or run: the text is all
that is looked at, which makes another commit's source as easy to read as today's.
"""

import ast
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from fmri2img.exceptions import FormatError

STATEMENTS = "<statements>"  # of a module: what runs when it is imported and binds no name
# Bases that call none of a class's methods by themselves; any other base from outside may call
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
# Decorators after which a method is still only called by its name.
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
# Parts of a syntax tree that say how something is spelled, or that only some versions of Python
# have.
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


@dataclass(frozen=True)
class Definition:
    """A function, class, method or assignment, as far as its meaning goes.

    Attributes
    ----------
    module : str
        Dotted name of the module.
    name : str
        Name within the module, such as ``Examples.open``.
    digest : str
        SHA-256 of its own syntax tree, the definitions that it refers to left out.
    references : frozenset of (str, str)
        What it uses from outside, as spelled with the attributes that follow (``np.linalg.svd``),
        and the dotted target if an import within the definition binds the first name; empty if the
        module binds it.
    attributes : frozenset of str
        Every attribute that it asks any object for.
    loads : frozenset of str
        Starts of module names that it imports by a name made at run time.
    templates : frozenset of str
        File names of page templates that it mentions.
    """

    module: str
    name: str
    digest: str
    references: frozenset[tuple[str, str]] = frozenset()
    attributes: frozenset[str] = frozenset()
    loads: frozenset[str] = frozenset()
    templates: frozenset[str] = frozenset()

    @property
    def dotted(self) -> str:
        """Module and name."""
        return f"{self.module}.{self.name}"


@dataclass
class Module:
    """A source file, taken apart.

    Attributes
    ----------
    name : str
        Dotted name.
    path : PurePosixPath
        Relative to the folder of sources.
    definitions : dict of str to Definition
        By name within the module; methods as ``Class.method``.
    methods : dict of str to list of str
        Names of the methods of each class that are reached only where somebody asks for them.
    bases : dict of str to list of str
        Bases of each class, as they are written.
    fields : dict of str to dict of str to Definition
        Annotated fields of each class.
    imports : dict of str to str
        Dotted target by local name.
    """

    name: str
    path: PurePosixPath
    definitions: dict[str, Definition] = field(default_factory=dict)
    methods: dict[str, list[str]] = field(default_factory=dict)
    bases: dict[str, list[str]] = field(default_factory=dict)
    fields: dict[str, dict[str, Definition]] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)


def parse_module(name: str, path: PurePosixPath, text: str) -> Module:
    """Take a source file apart.

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
            module.imports |= dict(_imported(statement, module))
        elif isinstance(statement, ast.ClassDef):
            _add_class(module, statement)
        else:
            for bound in _bound_names(statement) or [STATEMENTS]:
                groups.setdefault(bound, []).append(statement)
    for bound, statements in groups.items():
        module.definitions[bound] = _define(module, bound, statements)
    return module


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield top-level statements; the blocks for type checkers and for running as a script are
    looked through, or left out.
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
    """Define a class without the methods that are only called by name, and those methods each by
    itself.
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
    """Whether nothing but an attribute of the method's name can call it: not the language, nor a
    decorator that keeps it.
    """
    if method.name.startswith("__") and method.name.endswith("__"):
        return False
    decorators = {ast.unparse(item).split(".")[-1] for item in method.decorator_list}
    return decorators <= _PLAIN_DECORATORS


def is_quiet(base: str) -> bool:
    """Whether a base class from outside the project calls none of a class's methods by itself."""
    return base.split("[")[0].split(".")[-1] in _QUIET_BASES


def _bound_names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = (
            node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)
        )
        # An item or attribute that is set belongs to something else: it counts as what runs on
        # import.
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
    looker = _Looker(module)
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
    """Remove every statement that is nothing but a text: docstrings, and texts that stand for
    comments.
    """
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


def _imported(statement: ast.Import | ast.ImportFrom, module: Module) -> Iterator[tuple[str, str]]:
    """Yield local names and dotted targets of an import."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            yield (
                (alias.asname, alias.name)
                if alias.asname
                else (alias.name.split(".")[0], alias.name.split(".")[0])
            )
        return
    package = module.name.split(".")
    is_package = module.path.name == "__init__.py"
    above = package[: len(package) - statement.level + is_package] if statement.level else []
    source = ".".join([*above, *([statement.module] if statement.module else [])])
    for alias in statement.names:
        yield alias.asname or alias.name, f"{source}.{alias.name}"


class _Looker(ast.NodeVisitor):  # names of methods are ast's own
    """Collects what a statement refers to outside of itself; names that a function binds are its
    own.
    """

    def __init__(self, module: Module) -> None:
        self.module = module
        self.references: set[tuple[str, str]] = set()
        self.attributes: set[str] = set()
        self.loads: set[str] = set()
        self.templates: set[str] = set()
        self._scopes: list[
            dict[str, str]
        ] = []  # bound names, with the target of those that an import binds

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._refer(node.id, node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.attributes.add(node.attr)
        parts, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            self.attributes.add(inner.attr)
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._refer(inner.id, ".".join([inner.id, *reversed(parts)]))
        else:
            self.visit(inner)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and node.value.endswith(".jinja"):
            self.templates.add(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        called = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        if called == "getattr" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
            self.attributes.add(str(node.args[1].value))
        if called == "import_module" and node.args and isinstance(node.args[0], ast.JoinedStr):
            first = node.args[0].values[0]
            self.loads.add(str(first.value) if isinstance(first, ast.Constant) else "")
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for outside in (
            *node.decorator_list,
            *_annotations(node.args),
            *filter(None, [node.returns]),
        ):
            self.visit(outside)
        self._visit_scope(node.args, node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_scope(node.args, [node.body])

    def _visit_scope(self, arguments: ast.arguments, body: Sequence[ast.AST]) -> None:
        for default in (*arguments.defaults, *filter(None, arguments.kw_defaults)):
            self.visit(default)
        bound = dict.fromkeys((item.arg for item in _arguments(arguments)), "")
        elsewhere: set[str] = set()
        for statement in body:
            self._bind(statement, bound, elsewhere)
        self._scopes.append(
            {name: target for name, target in bound.items() if name not in elsewhere}
        )
        for statement in body:
            self.visit(statement)
        self._scopes.pop()

    def _bind(self, node: ast.AST, bound: dict[str, str], elsewhere: set[str]) -> None:
        """Note the names that a piece of a function's body binds in its scope, and those that it
        says belong elsewhere.
        """
        if isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere.update(node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound[node.name] = ""
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound.update(_imported(node, self.module))
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store | ast.Del):
                bound.setdefault(node.id, "")
        elif not isinstance(
            node, ast.Lambda | ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
        ):
            if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
                bound.setdefault(node.name, "")
            for inner in ast.iter_child_nodes(node):
                self._bind(inner, bound, elsewhere)

    def _visit_comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
    ) -> None:
        self.visit(node.generators[0].iter)  # the first iterable belongs to the scope around
        targets = (
            inner
            for item in node.generators
            for inner in ast.walk(item.target)
            if isinstance(inner, ast.Name)
        )
        self._scopes.append(dict.fromkeys((inner.id for inner in targets), ""))
        self.generic_visit(node)
        self._scopes.pop()

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._visit_comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._visit_comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._visit_comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._visit_comprehension(node)

    def _refer(self, name: str, chain: str) -> None:
        for scope in reversed(self._scopes):
            if name in scope:
                if scope[name]:
                    self.references.add((chain, f"{scope[name]}{chain.removeprefix(name)}"))
                return
        self.references.add((chain, ""))


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    ends = [item for item in (arguments.vararg, arguments.kwarg) if item]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *ends]


def _annotations(arguments: ast.arguments) -> list[ast.expr]:
    return [item.annotation for item in _arguments(arguments) if item.annotation]

"""What a module defines, and what each definition says and uses."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

STATEMENTS = "<statements>"  # code of a module that runs on import and binds no name


@dataclass(frozen=True)
class Definition:
    """The meaning of a function, class, method or assignment.

    Attributes
    ----------
    module : str
        Dotted name of the module.
    name : str
        Name within the module, such as ``Examples.open``.
    digest : str
        SHA-256 of its own syntax tree, without the definitions that it refers to.
    references : frozenset of (str, str)
        Names that it uses from outside, spelled with the attributes that follow
        (``np.linalg.svd``), and the dotted target if an import within the definition binds the
        first name; otherwise the target is empty.
    attributes : frozenset of str
        Every attribute that it accesses on any object.
    loads : frozenset of str
        Prefixes of the modules that it imports by a name built at run time.
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
    """A parsed source file.

    Attributes
    ----------
    name : str
        Dotted name.
    path : PurePosixPath
        Relative to the folder of sources.
    definitions : dict of str to Definition
        By name within the module; methods as ``Class.method``.
    methods : dict of str to list of str
        Names of each class's methods that are reached only if code accesses them by name.
    bases : dict of str to list of str
        Bases of each class, as written.
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


class NameCollector(ast.NodeVisitor):  # ast prescribes the names of methods
    """Collects what a statement refers to outside itself; names bound in a function are local."""

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
        """Note the names that a part of a function's body binds in its scope, and those that it
        declares global or nonlocal.
        """
        if isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere.update(node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound[node.name] = ""
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound.update(imported(node, self.module))
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
        self.visit(node.generators[0].iter)  # the first iterable belongs to the enclosing scope
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


def imported(statement: ast.Import | ast.ImportFrom, module: Module) -> Iterator[tuple[str, str]]:
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

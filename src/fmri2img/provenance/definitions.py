"""What a module defines, and what each definition says and uses."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

STATEMENTS = "<statements>"  # of a module: what runs when it is imported and binds no name


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

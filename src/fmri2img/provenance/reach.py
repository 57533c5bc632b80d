"""What a stage can reach: every function, class, constant and template that can take part in making
its output.

From a stage's ``main`` on, names are followed as Python would look them up. A class counts with
those of its methods that code accesses by name; a class whose methods a library may call counts
whole; an import by a name built at run time counts every module that could be meant. So the reach
may hold too much, but never too little.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Self

from fmri2img.project.exceptions import MissingDataError
from fmri2img.provenance.definitions import STATEMENTS, Definition, Module
from fmri2img.provenance.source import is_quiet, parse_module
from fmri2img.provenance.templates import Template, parse_template

# Code that cannot change an output, with the reasons. A name covers everything inside it.
CANNOT_CHANGE_OUTPUTS = {
    "fmri2img.project.version": "names the version that wrote a page: a release re-runs nothing",
    "fmri2img.pipeline.stage": "options and error lines",
    "fmri2img.project.config.MachineParams": "no result depends on the machine",
    "fmri2img.project.config.ProjectParams": "its sections count one by one, where they are used",
    "fmri2img.project.params_file.check_params": "checks values that DVC follows by themselves",
    "fmri2img.project.params_file.check_section": "the same",
    "fmri2img.project.params_file.load_params": "the same",
    "fmri2img.project.params_file._Loader": "the same",
    "fmri2img.project.error_codes": "words for the user",
    "fmri2img.project.error_lines": "the same",
    "fmri2img.project.exceptions": "the same",
    "fmri2img.project.progress": "progress bars",
    "fmri2img.project.threads": "in how many threads libraries compute",
    "fmri2img.datasets.fetching.fetch.check_not_pulled": "stops, or lets pass",
    "fmri2img.models.registry.stage_of": "names a stage in words for the user",
    "fmri2img.datasets.nsd.sessions._code": "names the pieces of an unfinished extraction",
    "fmri2img.datasets.joined_sessions._reading_code": "the same",
    **dict.fromkeys(
        [f"fmri2img.datasets.{name}_dataset.PUBLIC" for name in ("folder", "laion", "nsd")],
        "who may have the files",
    ),
    "fmri2img.datasets.simulated_dataset.PUBLIC": "the same",
    "fmri2img.project.locks": "who waits for whom",
    "fmri2img.project.parallel": "where jobs run, not what they do",
    **dict.fromkeys(
        [
            f"fmri2img.provenance.{module}"
            for module in (
                *("accept", "definitions", "history", "lineage", "notes", "reach", "rewritten"),
                *("source", "stage_fingerprints", "templates", "why"),
            )
        ],
        "tells where files come from, and why stages run",  # receipts, in the same package, count
    ),
    "fmri2img.tracking": "MLflow, which is no output",
    "fmri2img.training.fit._fingerprint": "names the checkpoint of an unfinished training",
    "fmri2img.training.processes": "in how many processes a training runs",
}
# The same names in earlier versions, whose code is compared with today's: they lacked these
# packages.
_ROOMS = ("fmri2img.project", "fmri2img.datasets")
_EARLIER_NAMES = {
    "fmri2img.provenance.used_names",
    *(
        name.replace(room, "fmri2img")
        for room in _ROOMS
        for name in CANNOT_CHANGE_OUTPUTS
        if name.startswith(f"{room}.")
    ),
}
PACKAGES = ("fmri2img", "stages")
SUFFIXES = (".py", ".jinja")
# The sections of params.yaml: a stage depends on those that its code accesses.
_SECTIONS = ("fmri2img.project.config", "fmri2img.config"), "ProjectParams"
_SHORT = 16


class Referred(NamedTuple):
    """Where a name in a definition leads."""

    name: str  # as written
    target: str  # the dotted name that it stands for
    module: str  # the project's module that defines it; empty if that is outside
    definition: Definition | None  # None for a module as a whole, and outside


@dataclass
class Program:
    """A whole parsed source tree; not to be changed, since it remembers where names lead.

    Attributes
    ----------
    modules : dict of str to Module
        Modules by dotted name.
    templates : dict of str to Template
        Page templates by file name.
    """

    modules: dict[str, Module]
    templates: dict[str, Template] = field(default_factory=dict)
    _referred: dict[Definition, list[Referred]] = field(default_factory=dict, init=False)
    _bindings: dict[Definition, str] = field(default_factory=dict, init=False)

    @classmethod
    def parse(cls, files: dict[str, str]) -> Self:
        """Parse sources; ``files`` holds texts by path relative to the folder of sources.

        Raises
        ------
        FormatError
            If a file is not valid Python, or not a valid template.
        """
        modules, templates = {}, {}
        for name, text in sorted(files.items()):
            path = PurePosixPath(name)
            if path.suffix == ".py":
                parts = path.with_suffix("").parts
                dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                modules[dotted] = parse_module(dotted, path, text)
            elif path.suffix == ".jinja":
                templates[path.name] = parse_template(path, text)
        return cls(modules, templates)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Parse the packages of this project in a folder of sources.

        Raises
        ------
        MissingDataError
            If there are none.
        """
        if not (folder / PACKAGES[0]).is_dir():
            raise MissingDataError(
                f"{folder / PACKAGES[0]} not found; run the command in the project's root folder"
            )
        inside = (path for package in PACKAGES for path in (folder / package).rglob("*"))
        paths = (path for path in inside if path.suffix in SUFFIXES)
        return cls.parse(
            {
                path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
                for path in paths
            }
        )

    def resolve(self, dotted: str) -> tuple[str, Definition | None]:
        """Follow a dotted name through imports to where it is defined.

        Returns
        -------
        module : str
            The project's module that it leads to; empty if it leads outside.
        definition : Definition or None
            None for a module as a whole, and outside.
        """
        for _ in range(len(self.modules)):  # imports may pass a name on, but not for ever
            module, rest = self._split(dotted)
            if not module or not rest:
                return module, None
            sources = self.modules[module]
            if rest[0] in sources.definitions:
                return module, sources.definitions[rest[0]]
            if rest[0] not in sources.imports:
                return module, None
            dotted = ".".join([sources.imports[rest[0]], *rest[1:]])
        return "", None

    def _split(self, dotted: str) -> tuple[str, list[str]]:
        parts = dotted.split(".")
        for length in range(len(parts), 0, -1):
            if (module := ".".join(parts[:length])) in self.modules:
                return module, parts[length:]
        return "", parts

    def target(self, definition: Definition, reference: tuple[str, str]) -> str:
        """Return the dotted name that a reference in a definition stands for."""
        chain, target = reference
        if target:
            return target
        module, (first, _, rest) = self.modules[definition.module], chain.partition(".")
        if first in module.definitions:
            return f"{module.name}.{chain}"
        return (
            ".".join(filter(None, [module.imports.get(first, ""), rest]))
            if first in module.imports
            else chain
        )

    def referred(self, definition: Definition) -> list[Referred]:
        """Return where each name in a definition leads, sorted by name."""
        if definition not in self._referred:
            targets = (
                (reference[0], self.target(definition, reference))
                for reference in sorted(definition.references)
            )
            self._referred[definition] = [
                Referred(name, target, *self.resolve(target)) for name, target in targets
            ]
        return self._referred[definition]

    def bindings(self, definition: Definition) -> str:
        """Return a digest of what the names in a definition refer to, followed one step."""
        if definition not in self._bindings:
            bound = []
            for name, target, module, other in self.referred(definition):
                if not module:
                    bound.append(f"{name}={target}")
                elif other is not None and not is_excused(other.dotted):
                    bound.append(f"{name}={other.digest}")
            self._bindings[definition] = hashlib.sha256("\n".join(bound).encode()).hexdigest()
        return self._bindings[definition]

    def calls_methods(self, module: str, name: str) -> bool:
        """Whether a class has a direct or indirect base from a library that may call any of its
        methods.
        """
        for base in self.modules[module].bases[name]:
            owner, definition = self.resolve(
                self.target(self.modules[module].definitions[name], (base.split("[")[0], ""))
            )
            if definition is None:
                if not is_quiet(base):
                    return True
            elif definition.name in self.modules[owner].bases and self.calls_methods(
                owner, definition.name
            ):
                return True
        return False


class Reach:
    """What some definitions can reach.

    Parameters
    ----------
    program : Program
    roots : iterable of str
        Dotted names to begin with.
    chosen : dict of str to str
        For imports by a name built at run time: the module that is meant, by the prefix of its
        name.
    """

    def __init__(
        self, program: Program, roots: Iterable[str], chosen: dict[str, str] | None = None
    ) -> None:
        self.program = program
        self.definitions: dict[str, Definition] = {}
        self.templates: dict[str, Template] = {}
        self._chosen = chosen or {}
        self._attributes: set[str] = set()
        self._classes: dict[str, bool] = {}  # by dotted name: whether all methods count
        self._modules: set[str] = set()
        self._waiting: list[Definition] = []
        self._known: set[str] = set()
        modules, short = _SECTIONS
        self._sections = {
            name: section
            for module in modules
            if module in program.modules
            for name, section in program.modules[module].fields.get(short, {}).items()
        }
        for root in roots:
            self._arrive(*program.resolve(root))
        self._settle()

    def _settle(self) -> None:
        while self._waiting:
            while self._waiting:
                self._take(self._waiting.pop())
            for name, is_whole in self._classes.items():
                module, _, short = name.rpartition(".")
                for method in self.program.modules[module].methods[short]:
                    if is_whole or method in self._attributes:
                        self._await(self.program.modules[module].definitions[f"{short}.{method}"])
            for section in self._attributes & self._sections.keys():
                self._follow_references(self._sections[section])

    def _take(self, definition: Definition) -> None:
        if not is_excused(definition.dotted):
            self.definitions[definition.dotted] = definition
            self._attributes |= definition.attributes
            self._follow_references(definition)
            for start in definition.loads:
                self._load(start)
            for name in definition.templates:
                self._add_template(name)
        module = self.program.modules[definition.module]
        if definition.name in module.bases:
            self._classes[definition.dotted] = self.program.calls_methods(
                module.name, definition.name
            )

    def _follow_references(self, definition: Definition) -> None:
        for referred in self.program.referred(definition):
            self._arrive(referred.module, referred.definition)

    def _arrive(self, module: str, definition: Definition | None) -> None:
        if module and not is_excused(module):
            self._enter(module)
        if definition is not None:
            self._await(definition)

    def _await(self, definition: Definition) -> None:
        if definition.dotted not in self._known:
            self._known.add(definition.dotted)
            self._waiting.append(definition)

    def _enter(self, module: str) -> None:
        """Count what runs when a module, and the packages around it, are imported."""
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[:length])
            if name in self._modules or name not in self.program.modules:
                continue
            self._modules.add(name)
            if STATEMENTS in self.program.modules[name].definitions:
                self._await(self.program.modules[name].definitions[STATEMENTS])

    def _load(self, start: str) -> None:
        """Count every module that an import by a name built at run time may mean; of its classes
        only the methods that code accesses.
        """
        meant = self._chosen.get(start)
        for name, module in self.program.modules.items():
            if name == meant if meant else name.startswith(start):
                self._enter(name)
                for definition in module.definitions.values():
                    if "." not in definition.name:
                        self._await(definition)

    def _add_template(self, name: str) -> None:
        if name in self.program.templates and name not in self.templates:
            template = self.templates[name] = self.program.templates[name]
            self._attributes |= template.attributes
            for other in template.names:
                self._add_template(other)

    def lines(self) -> list[str]:
        """Return a sorted line for each definition and template: its name, its own digest, and a
        digest of what its names refer to.

        Modules are left out, so that moving code to another file changes nothing.
        """
        texts = [
            f"{item.name} {item.digest[:_SHORT]} {self.program.bindings(item)[:_SHORT]}"
            for item in self.definitions.values()
        ]
        return sorted(
            [
                *texts,
                *(
                    f"{name} {template.digest[:_SHORT]} -"
                    for name, template in self.templates.items()
                ),
            ]
        )

    def digest(self) -> str:
        """Return one SHA-256 over everything that is reached."""
        return hashlib.sha256("\n".join(self.lines()).encode()).hexdigest()


@cache
def is_excused(dotted: str) -> bool:
    """Whether `CANNOT_CHANGE_OUTPUTS` covers a name, as it is now or was in earlier versions."""
    parts = dotted.split(".")
    names = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    return not names.isdisjoint(CANNOT_CHANGE_OUTPUTS.keys() | _EARLIER_NAMES)

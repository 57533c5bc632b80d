"""Why a stage would run: the first thing that has changed since it last ran, in words."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from fmri2img.project.config import PARAMS_PATH
from fmri2img.project.exceptions import ConfigError
from fmri2img.project.layout import FINGERPRINTS
from fmri2img.provenance.dvc_project import parsing_params_once, reading_project
from fmri2img.provenance.history import CodeHistory
from fmri2img.provenance.lineage import (
    LOCK_PATH,
    LockedStage,
    changed_params,
    check_lock,
    read_lock,
)
from fmri2img.provenance.reach import Program
from fmri2img.provenance.rewritten import fingerprint_md5, same_results
from fmri2img.provenance.stage_fingerprints import SOURCE, differing, fingerprints

FINGERPRINT_STAGE = "fingerprint"
_MOST_NAMES = 5


@dataclass(frozen=True)
class Cause:
    """One thing that has changed for a stage.

    Attributes
    ----------
    kind : str
        ``never ran``, ``command``, ``params``, ``code``, ``file``, ``missing``, ``output`` or
        ``upstream``.
    words : str
        What has changed, from what to what.
    names : tuple of str
        For ``code``: the functions, classes and constants that differ; none if they differ only in
        spelling.
    brief : str
        The same in words that fit every affected stage; empty if ``words`` do.
    equivalent : str
        For ``code``: how it is known that results stay the same (`rewritten`), else empty.
    """

    kind: str
    words: str
    names: tuple[str, ...] = ()
    brief: str = ""
    equivalent: str = ""


@dataclass
class Pipeline:
    """The stages of a project as DVC sees them, and the code as it is now.

    Attributes
    ----------
    root : Path
    order : list of str
        Stages, each after those that it needs.
    upstream : dict of str to list of str
        Stages that a stage needs.
    deps : dict of str to list of str
        Paths that a stage depends on.
    outs : dict of str to list of str
        Paths that it makes.
    status : dict of str to list
        What DVC says of each stage that is not up to date.
    locked : dict of str to LockedStage
        Stages as they last ran.
    history : CodeHistory
    """

    root: Path
    order: list[str]
    upstream: dict[str, list[str]]
    deps: dict[str, list[str]]
    outs: dict[str, list[str]]
    commands: dict[str, str]
    status: dict[str, list[Any]]
    locked: dict[str, LockedStage]
    history: CodeHistory
    _causes: dict[str, list[Cause]] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path = Path()) -> "Pipeline":
        """Read the pipeline through DVC, and the sources.

        Raises
        ------
        FormatError
            If ``dvc.yaml``, ``dvc.lock`` or a source file cannot be read.
        """
        check_lock(root)
        from dvc.repo import Repo
        from networkx import topological_sort

        with Repo(str(root)) as repo, parsing_params_once(), reading_project(repo):
            graph = repo.index.graph
            order = [stage.addressing for stage in topological_sort(graph)][::-1]
            stages = {stage.addressing: stage for stage in repo.index.stages}
            upstream = {
                name: [other.addressing for other in graph.successors(stage)]
                for name, stage in stages.items()
            }
            # Parameters are compared here, value by value; DVC reports them as dictionaries.
            deps = {
                name: [dep.def_path for dep in stage.deps if not hasattr(dep, "params")]
                for name, stage in stages.items()
            }
            outs = {name: [out.def_path for out in stage.outs] for name, stage in stages.items()}
            commands = {name: stage.cmd for name, stage in stages.items()}
            status, cache = repo.status(), Path(repo.cache.local.path)
        locked = read_lock(root) if (root / LOCK_PATH).exists() else {}
        return cls(
            root,
            order,
            upstream,
            deps,
            outs,
            commands,
            status,
            locked,
            CodeHistory(root, cache),
        )

    @cached_property
    def program(self) -> Program:
        """The sources."""
        return Program.read(self.root / SOURCE)

    @cached_property
    def texts(self) -> dict[str, str]:
        """Fingerprints of the code as it is now: those on disk, if DVC says that they are up to
        date, which saves reading all sources.
        """
        folder = self.root / FINGERPRINTS
        if self.status.get(FINGERPRINT_STAGE) or not folder.is_dir():
            return fingerprints(self.program)
        return {
            path.relative_to(folder).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
            for path in sorted(folder.rglob("*.txt"))
        }

    @cached_property
    def _params(self) -> dict[str, Any]:
        values: dict[str, Any] = yaml.safe_load(
            (self.root / PARAMS_PATH).read_text(encoding="utf-8")
        )
        return values

    def causes(self, name: str) -> list[Cause]:
        """Return what has changed for a stage since it last ran, the first cause first; none if
        it is up to date.
        """
        if name not in self._causes:
            direct = [] if name == FINGERPRINT_STAGE else self._own_causes(name)
            above = [
                stage
                for stage in self.upstream[name]
                if stage != FINGERPRINT_STAGE and self.causes(stage)
            ]
            self._causes[name] = [*direct, *_upstream(above)]
        return self._causes[name]

    def _own_causes(self, name: str) -> list[Cause]:
        stage = self.locked.get(name)
        if stage is None:
            return [Cause("never ran", "it has not run yet")]
        causes = [
            Cause("params", f"{PARAMS_PATH}: {phrase}")
            for phrase in changed_params(stage, self._params)
        ]
        causes += [cause] if (cause := self.code_cause(name)) else []
        if stage.command != self.commands[name]:
            causes.append(
                Cause("command", f"its command was {stage.command!r}, is {self.commands[name]!r}")
            )
        causes += [
            cause
            for path, state in self._changed(name, "changed deps")
            if (cause := self._file_cause(path, state))
        ]
        for path, state in self._changed(name, "changed outs"):
            if state in ("deleted", "not in cache"):
                advice = "bring back what is recorded with dvc checkout or fmri2img pull"
                causes.append(
                    Cause(
                        "output",
                        f"its output {path} is not here; {advice}",
                        brief=f"an output is not here; {advice}",
                    )
                )
            else:
                causes.append(
                    Cause(
                        "output",
                        f"its output {path} differs from what it wrote; dvc checkout {path} "
                        "restores it",
                    )
                )
        return causes

    def _file_cause(self, path: str, state: object) -> Cause | None:
        """Say what is wrong with a file or folder that a stage depends on; None if another cause
        covers it.
        """
        makers = {
            out: maker
            for maker, outs in self.outs.items()
            for out in outs
            if out == path or out.startswith(f"{path}/")
        }
        if (
            not isinstance(state, str)
            or path.startswith(f"{FINGERPRINTS}/")
            or any(self.causes(maker) for maker in makers.values())
        ):
            return None
        missing = [out for out in makers if not (self.root / out).exists()]
        if missing:
            return Cause("missing", f"{missing[0]} is not here; {makers[missing[0]]} makes it")
        if state == "deleted":
            return Cause("missing", f"{path} is not here; put it back")
        return Cause("file", f"{path} has changed since it last ran")

    def _changed(self, name: str, key: str) -> Iterable[tuple[str, Any]]:
        entries = self.status.get(name, [])
        return [
            pair
            for entry in entries
            if isinstance(entry, dict)
            for pair in entry.get(key, {}).items()
        ]

    def fingerprint_of(self, name: str) -> str:
        """Return the name of a stage's fingerprint: a stage, or ``stage/model``."""
        paths = (Path(path) for path in self.deps[name] if path.startswith(f"{FINGERPRINTS}/"))
        return next(
            (path.relative_to(FINGERPRINTS).with_suffix("").as_posix() for path in paths), ""
        )

    def code_cause(self, name: str) -> Cause | None:
        """Say how the code of a stage differs from the code it last ran with; None if it is the
        same.
        """
        stage, fingerprint = self.locked[name], self.fingerprint_of(name)
        now = self.texts.get(fingerprint, "")
        locked = stage.deps.get((FINGERPRINTS / f"{fingerprint}.txt").as_posix(), "")
        if locked == fingerprint_md5(now):
            return None
        rewritten = same_results(fingerprint, locked, fingerprint_md5(now))
        was = None if rewritten else self.history.text(fingerprint, stage)
        if was is not None and not locked:  # version 0.1 named source files
            rewritten = same_results(fingerprint, fingerprint_md5(was), fingerprint_md5(now))
        if rewritten:
            return Cause(
                "code",
                f"its code was {rewritten}: to keep the results, run fmri2img accept",
                equivalent=rewritten,
            )
        if was is None:
            return Cause(
                "code",
                "its code has changed, and the code that it last ran with is in neither DVC's "
                "cache nor git",
                ("?",),
            )
        if was == now:
            return Cause(
                "code",
                "dvc.lock names its source files, as version 0.1 did; they mean the same: to keep "
                "the results, run fmri2img accept",
            )
        names = differing(was, now)
        return Cause("code", f"code changed: {self.describe(names, was, now)}", tuple(names))

    def describe(self, names: list[str], was: str, now: str) -> str:
        """Return the names of definitions, each with what changed: the files of code that is new in
        ``now``, its imports, or that it is no longer used. The name of a template is its file.
        """
        old, new = (
            {tuple(line.split(" ")[:2]) for line in text.splitlines()} for text in (was, now)
        )
        where: dict[str, set[str]] = {}
        for module in self.program.modules.values():
            for name in module.definitions.keys() & set(names):
                if any(
                    name == one and module.definitions[name].digest.startswith(digest)
                    for one, digest in new - old
                ):
                    where.setdefault(name, set()).add(f"src/{module.path}")
        fresh, gone = {name for name, _ in new - old}, {name for name, _ in old - new}
        shown = []
        for name in names[:_MOST_NAMES]:
            if name in where:
                shown.append(f"{name} ({', '.join(sorted(where[name]))})")
            elif name in fresh:
                shown.append(name)
            else:
                shown.append(f"{name} ({'no longer used' if name in gone else 'its imports'})")
        return ", ".join(shown) + (
            f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        )

    def matching(self, wanted: str) -> list[str]:
        """Return the stages that a name means: one, or all items of a stage.

        Raises
        ------
        ConfigError
            If there is none, with near names.
        """
        return matching(self.order, wanted)


def matching(stages: Sequence[str], wanted: str) -> list[str]:
    """Return those of some stages that a name means: one, or all items of a stage.

    Raises
    ------
    ConfigError
        If there is none, with near names.
    """
    if names := [name for name in stages if wanted in (name, name.partition("@")[0])]:
        return names
    known = sorted({*stages, *(name.partition("@")[0] for name in stages)})
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.4) or sorted(
        {name.partition("@")[0] for name in stages}
    )
    raise ConfigError(f"{wanted}: no such stage in dvc.yaml; did you mean: {', '.join(near)}?")


def _upstream(stages: list[str]) -> list[Cause]:
    """Return the cause that earlier stages will run; it names only the first, so that one line is
    enough for many subjects.
    """
    return (
        [
            Cause(
                "upstream",
                f"{stages[0]} runs before it",
                brief=f"{stages[0].partition('@')[0]} runs before it",
            )
        ]
        if stages
        else []
    )


def explain(pipeline: Pipeline, wanted: str | None) -> list[str]:
    """Return the answer in lines: for every stale stage the first cause, stages with the same cause
    together.

    Parameters
    ----------
    pipeline : Pipeline
    wanted : str or None
        A stage, whose causes are all listed; None for all stages.
    """
    names = (
        pipeline.matching(wanted)
        if wanted
        else [name for name in pipeline.order if name != FINGERPRINT_STAGE]
    )
    n_items = Counter(name.partition("@")[0] for name in pipeline.order)
    groups: dict[str, dict[str, list[str]]] = {}  # items by stage, by their words
    for name in names:
        causes = pipeline.causes(name)
        for cause in causes if wanted else causes[:1]:
            words = cause.words if wanted else cause.brief or cause.words
            groups.setdefault(words, {}).setdefault(name.partition("@")[0], []).append(name)
    if not groups:
        note = (
            "; source files differ from those of the last run in spelling only"
            if pipeline.status.get(FINGERPRINT_STAGE)
            else ""
        )
        return [
            f"{wanted} is up to date" if wanted else f"all {len(names)} stages are up to date{note}"
        ]
    lines = []
    for words, stages in groups.items():
        who = [
            items[0] if len(items) == 1 else f"{stage} ({len(items)} of {n_items[stage]})"
            for stage, items in stages.items()
        ]
        everything = len(names) > 1 and sum(map(len, stages.values())) == len(names)
        lines.append(f"{f'all {len(names)} stages' if everything else ', '.join(who)}: {words}")
    return lines

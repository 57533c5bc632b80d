"""Find the code that a stage last ran with, by its hash in ``dvc.lock``: in DVC's cache, or in
git's history.
"""

import hashlib
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from fmri2img.project.layout import FINGERPRINTS
from fmri2img.provenance.lineage import LOCK_PATH, LockedStage
from fmri2img.provenance.reach import SUFFIXES, Program
from fmri2img.provenance.rewritten import current_fingerprints, earlier_models
from fmri2img.provenance.stage_fingerprints import SOURCE, fingerprints

_MOST_COMMITS = 300  # searched at most for the source files of an old lock


@dataclass
class CodeHistory:
    """Fingerprints of earlier code, each searched for once.

    Attributes
    ----------
    root : Path
        The project.
    cache : Path
        DVC's cache of files by MD5.
    """

    root: Path
    cache: Path
    _texts: dict[str, str] = field(default_factory=dict)
    _commits: dict[str, str] = field(default_factory=dict)
    _blobs: dict[str, str] = field(default_factory=dict)

    def text(self, name: str, stage: LockedStage) -> str | None:
        """Return the fingerprint of the code that a stage last ran with; None if it is not found.

        Parameters
        ----------
        name : str
            Name of the fingerprint: a stage, or ``stage/model``.
        stage : LockedStage
        """
        md5 = stage.deps.get((FINGERPRINTS / f"{name}.txt").as_posix())
        if md5 is None:
            return self._text_of_sources(name, stage)
        for path in (self.cache / md5[:2] / md5[2:], self.root / FINGERPRINTS / f"{name}.txt"):
            if (
                path.is_file()
                and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5
            ):
                return path.read_text(encoding="utf-8")
        for commit in self._git(
            "log", "--all", "--format=%H", f"-S{md5}", "--", str(LOCK_PATH)
        ).split():
            text = self._text_at(commit, name)
            if (
                text is not None
                and hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() == md5
            ):
                return text
        return None

    def commit(self, stage: LockedStage) -> str:
        """Return the commit that has all source files named in a lock of version 0.1; empty if none
        has.
        """
        wanted = {path: md5 for path, md5 in stage.deps.items() if path.startswith("src/")}
        key = hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()
        if key not in self._commits:
            commits = (
                self._git(
                    "log", "--all", f"--max-count={_MOST_COMMITS}", "--format=%H", "--", str(SOURCE)
                ).split()
                if wanted
                else []
            )
            self._commits[key] = next(
                (commit for commit in commits if self._holds(commit, wanted)), ""
            )
        return self._commits[key]

    def _text_of_sources(self, name: str, stage: LockedStage) -> str | None:
        commit = self.commit(stage)
        return self._text_at(commit, name) if commit else None

    def _holds(self, commit: str, wanted: dict[str, str]) -> bool:
        listed = self._git(
            "ls-tree", "-r", "--format=%(path)%x09%(objectname)", commit, str(SOURCE)
        ).splitlines()
        blobs: dict[str, str] = dict(line.split("\t", 1) for line in listed)
        return all(path in blobs and self._md5(blobs[path]) == md5 for path, md5 in wanted.items())

    def _md5(self, blob: str) -> str:
        if blob not in self._blobs:
            self._blobs[blob] = hashlib.md5(
                self._git("cat-file", "blob", blob).encode(), usedforsecurity=False
            ).hexdigest()
        return self._blobs[blob]

    def _text_at(self, commit: str, name: str) -> str | None:
        """Return a fingerprint of a commit's sources."""
        key = f"{commit} {name}"
        if key not in self._texts:
            listed = self._git("ls-tree", "-r", "--name-only", commit, str(SOURCE)).splitlines()
            paths = [path for path in listed if path.endswith(SUFFIXES)]
            files = {
                path.removeprefix(f"{SOURCE}/"): self._git("show", f"{commit}:./{path}")
                for path in paths
            }
            models = earlier_models(files)
            for other, text in fingerprints(Program.parse(files)).items():
                for current in current_fingerprints(other, models):
                    self._texts[f"{commit} {current}"] = text
        return self._texts.get(key)

    def _git(self, *arguments: str) -> str:
        result = subprocess.run(
            ["git", *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        return result.stdout if result.returncode == 0 else ""

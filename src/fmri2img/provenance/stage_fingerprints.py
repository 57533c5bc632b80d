"""Fingerprints of stages: the meaning of the code that each can reach, as files that DVC compares
instead of the sources.
"""

from functools import cache
from pathlib import Path

from fmri2img.project.files import write_text
from fmri2img.provenance.reach import Program, Reach

SOURCE = Path("src")
_MODELS, _DATASETS = "fmri2img.models.", "fmri2img.datasets."
_DATASET_END = "_dataset"


def fingerprints(program: Program) -> dict[str, str]:
    """Return the fingerprint of every stage.

    Parameters
    ----------
    program : Program
        All sources.

    Returns
    -------
    dict of str to str
        Texts by stage, or by ``stage/name`` if the stage loads a dataset or a model by its name.
        Each has a line for every definition that the stage can reach: its name, a digest of its
        code, and a digest of what the names in it refer to.
    """
    texts = {}
    for stage in stage_names(program):
        roots = [f"stages.{stage}.main"]
        for name, chosen in _choices(program, Reach(program, roots)).items():
            texts[f"{stage}{name}"] = _text(Reach(program, roots, chosen))
    return texts


def _choices(program: Program, whole: Reach) -> dict[str, dict[str, str]]:
    """Return what a stage may load by name: for each ending of its fingerprint's name, the modules
    that are meant, by the prefix of their names.
    """
    loads = {start for item in whole.definitions.values() for start in item.loads}
    choices: dict[str, dict[str, str]] = {"": {}}
    for start, names, end in (
        (_DATASETS, dataset_names(program), _DATASET_END),
        (_MODELS, model_names(program), ""),
    ):
        if start in loads:
            choices = {
                f"{done}/{name}": chosen | {start: f"{start}{name}{end}"}
                for done, chosen in choices.items()
                for name in names
            }
    return choices


def dataset_names(program: Program) -> list[str]:
    """Return the names of the datasets: the files of their folder that define ``Reader``."""
    inside = (module for name, module in program.modules.items() if name.startswith(_DATASETS))
    names = (module.name.removeprefix(_DATASETS) for module in inside if "Reader" in module.bases)
    return sorted(name.removesuffix(_DATASET_END) for name in names if name.endswith(_DATASET_END))


def stage_names(program: Program) -> list[str]:
    """Return the names of the stages' scripts; the one that writes fingerprints has none itself."""
    return sorted(
        name.partition(".")[2]
        for name in program.modules
        if name.startswith("stages.") and name != "stages.fingerprint"
    )


def model_names(program: Program) -> list[str]:
    """Return the names of the models: the files of their folder that define ``Model``."""
    inside = (name.removeprefix(_MODELS) for name in program.modules if name.startswith(_MODELS))
    return sorted(name for name in inside if "Model" in program.modules[f"{_MODELS}{name}"].bases)


def _text(reach: Reach) -> str:
    return "".join(f"{line}\n" for line in reach.lines())


def write_fingerprints(folder: Path, source: Path = SOURCE) -> list[str]:
    """Write the fingerprint of every stage, and remove those of stages that no longer exist;
    returns the names of the files.
    """
    texts = {f"{name}.txt": text for name, text in fingerprints(Program.read(source)).items()}
    for path in folder.rglob("*.txt"):
        if path.relative_to(folder).as_posix() not in texts:
            path.unlink()
    for name, text in texts.items():
        write_text(folder / name, text)
    return list(texts)


def code_digest(*roots: str) -> str:
    """Return a digest of the meaning of the installed code that some definitions can reach, for
    work that is resumed after a stop.
    """
    return Reach(_installed(), roots).digest()


@cache
def _installed() -> Program:
    return Program.read(Path(__file__).parents[2])


def differing(was: str, now: str) -> list[str]:
    """Return the names of definitions in which two fingerprints differ: those whose own code
    differs or, if there are none, those whose names refer to something else.

    Parameters
    ----------
    was, now : str
        Texts of `fingerprints`.
    """
    old, new = ({tuple(line.split(" ")[:2]) for line in text.splitlines()} for text in (was, now))
    names = sorted({name for name, _ in old ^ new})
    if names:
        return names
    old, new = ({tuple(line.split(" ")) for line in text.splitlines()} for text in (was, now))
    return sorted({name for name, *_ in old ^ new})

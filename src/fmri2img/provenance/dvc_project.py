"""The project as DVC reads and records it, without parsing the same file for every stage."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmri2img.project.exceptions import FormatError
from fmri2img.project.files import write_text

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

# The first lines of a lock file; the entries of stages follow, in lines that begin with a space.
_HEAD = ["schema: '2.0'\n", "stages:\n"]


@contextmanager
def reading_project(repo: "Repo") -> Iterator[None]:
    """Hold DVC's lock while the pipeline is read.

    DVC forgets the pipeline between two locked calls, and would parse ``dvc.yaml`` and ``dvc.lock``
    again.

    Raises
    ------
    FormatError
        If DVC cannot read the pipeline.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import lock_repo

    try:
        with lock_repo(repo):
            yield
    except DvcException as error:
        raise FormatError(
            f"DVC cannot read the pipeline: {' '.join(str(error).split())}; correct dvc.yaml "
            "or params.yaml"
        ) from error


@contextmanager
def parsing_params_once() -> Iterator[None]:
    """Parse ``params.yaml`` again only when it has changed: DVC does so for every stage, which
    takes seconds for two hundred.
    """
    from dvc.utils.serialize import LOADERS, load_yaml

    parsed: dict[tuple[str, int, int], Any] = {}

    def load(path: str, fs: Any = None, **options: Any) -> Any:
        if options or not Path(path).is_file():
            return load_yaml(path, fs=fs, **options)
        about = Path(path).stat()
        key = (path, about.st_mtime_ns, about.st_size)
        if key not in parsed:
            parsed[key] = load_yaml(path, fs=fs)
        return deepcopy(parsed[key])

    LOADERS[".yaml"] = load
    try:
        yield
    finally:
        LOADERS.pop(".yaml", None)  # then it is DVC's own again


def record_in_lock(stage: "Stage") -> None:
    """Write a stage's entry into ``dvc.lock``, as DVC does.

    DVC parses the whole file and writes it anew for each stage: 2 s each for two hundred stages.
    Here only the lines of the stage are replaced; DVC itself writes a file of another form.
    """
    from dvc.stage.serialize import to_lockfile
    from dvc.utils.serialize import dumps_yaml

    path = Path(stage.dvcfile._lockfile.path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    is_whole = lines[:2] == _HEAD and lines[-1].endswith("\n")
    if not is_whole or any(line[0] not in " \n" for line in lines[2:]):
        stage.dump(update_pipeline=False)
        return
    entry = dumps_yaml({"stages": to_lockfile(stage)}).splitlines(keepends=True)[1:]
    names = [number for number, line in enumerate(lines) if _is_name(line)]
    start = next((number for number in names if lines[number] == entry[0]), len(lines))
    end = next((number for number in names if number > start), len(lines))
    write_text(path, "".join([*lines[:start], *entry, *lines[end:]]))
    stage.repo.scm_context.track_file(stage.dvcfile._lockfile.relpath)


def _is_name(line: str) -> bool:
    return line.startswith("  ") and not line[2:].startswith((" ", "-"))

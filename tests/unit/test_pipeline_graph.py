import re
from pathlib import Path

import pytest
import yaml
from pathspec import GitIgnoreSpec

from conftest import REPOSITORY
from fmri2img.datasets.protocol import dataset_names
from fmri2img.models.registry import model_names
from fmri2img.project.config import ProjectParams
from fmri2img.project.layout import fingerprint_path
from fmri2img.provenance.reach import CANNOT_CHANGE_OUTPUTS, Program
from fmri2img.provenance.stage_fingerprints import dataset_names as datasets_in_source
from fmri2img.provenance.stage_fingerprints import fingerprints
from fmri2img.provenance.stage_fingerprints import model_names as models_in_source

SOURCE = REPOSITORY / "src"
TEXT = (REPOSITORY / "dvc.yaml").read_text()
STAGES = yaml.safe_load(TEXT)["stages"]
OTHERS = [name for name in STAGES if name != "fingerprint"]


@pytest.fixture(scope="module")
def program():
    return Program.read(SOURCE)


def script_of(stage: dict) -> Path:
    name = re.match(r"python -m stages\.(\w+)", stage["cmd"]).group(1)
    return SOURCE / "stages" / f"{name}.py"


def test_every_stage_depends_on_the_fingerprint_of_its_script_and_on_no_source_file(program):
    chosen = {
        stage: "${dataset}" if item in dataset_names() else "${item.model}"
        for stage, _, item in (name.partition("/") for name in fingerprints(program))
        if item
    }
    for name in OTHERS:
        script = script_of(STAGES[name]).stem
        expected = fingerprint_path(script, chosen.get(script, "")).as_posix()
        assert [dep for dep in STAGES[name]["deps"] if "fingerprints" in dep] == [expected]
        assert not [dep for dep in STAGES[name]["deps"] if dep.startswith("src")]
    assert STAGES["fingerprint"]["deps"] == ["src"]


def test_git_ignores_what_dvc_keeps():
    """Else ``git add .`` would add volumes and pictures of a dataset that may not be passed on."""
    lines = [
        (folder, line)
        for folder in ("", "data/")
        for line in (REPOSITORY / f"{folder}.gitignore").read_text().splitlines()
    ]
    ignored = GitIgnoreSpec.from_lines(
        f"/{folder}{line.removeprefix('/')}" if line.startswith("/") else line
        for folder, line in lines
    )
    kept = []
    for stage in STAGES.values():
        for out in stage.get("outs", []):
            path, options = next(iter(out.items())) if isinstance(out, dict) else (out, {})
            if options.get("cache", True):
                kept.append(re.sub(r"\$\{[^}]*\}", "x", path))
    assert len(kept) > 25
    assert not [path for path in kept if not ignored.match_file(f"{path}/x")]


def test_a_person_can_read_the_graph():
    assert len(TEXT.splitlines()) <= 430


@pytest.mark.parametrize("name", OTHERS)
def test_params_are_sections_that_the_config_knows(name):
    for key in STAGES[name].get("params", []):
        section, _, rest = key.partition(".")
        field = ProjectParams.model_fields[section]
        if rest and rest not in ("${item.model}", "${dataset}"):
            assert rest in field.annotation.model_fields


def test_every_script_is_a_stage_and_every_section_is_used():
    scripts = {path.stem for path in (SOURCE / "stages").glob("*.py")} - {"__init__"}
    assert scripts == {script_of(stage).stem for stage in STAGES.values()}
    used = {key.partition(".")[0] for name in OTHERS for key in STAGES[name].get("params", [])}
    # No result depends on the machine, and the dataset is part of paths and keys.
    assert used == set(ProjectParams.model_fields) - {"machine", "dataset"}


def test_what_is_excused_exists(program):
    for name in CANNOT_CHANGE_OUTPUTS:
        module, definition = program.resolve(name)
        assert definition is not None or module == name, name


def test_datasets_in_the_source_are_those_that_run(program):
    assert datasets_in_source(program) == dataset_names()


def test_models_in_the_source_are_those_that_run(program):
    assert models_in_source(program) == model_names()


def test_every_model_has_a_section_of_params():
    sections = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]
    assert sorted(sections) == model_names()


def test_scripts_are_thin():
    assert (
        max(len(path.read_text().splitlines()) for path in (SOURCE / "stages").glob("*.py")) <= 60
    )

import re
from pathlib import Path

import pytest
import yaml

from conftest import REPOSITORY
from fmri2img.config import ProjectParams
from fmri2img.models.registry import model_names
from pipeline_graph import CANNOT_CHANGE_OUTPUTS, SOURCE, imported_files

MODELS = SOURCE / "fmri2img" / "models"
STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]


def script_of(stage: dict) -> Path:
    name = re.match(r"python -m stages\.(\w+)", stage["cmd"]).group(1)
    return SOURCE / "stages" / f"{name}.py"


@pytest.mark.parametrize("name", STAGES)
def test_deps_are_the_files_that_the_script_imports(name):
    script = script_of(STAGES[name])
    expected = imported_files(script) - set(CANNOT_CHANGE_OUTPUTS) | {script.relative_to(REPOSITORY).as_posix()}
    if any("models/${item.model}.py" in dep for dep in STAGES[name]["deps"]):  # encoders are imported by name
        expected |= {path for model in model_names() for path in imported_files(MODELS / f"{model}.py") if "/models/_" in path}
    listed = {dep for dep in STAGES[name]["deps"] if dep.startswith("src/") and dep.endswith(".py") and "$" not in dep}
    assert listed == expected


@pytest.mark.parametrize("name", STAGES)
def test_params_are_sections_that_the_config_knows(name):
    for key in STAGES[name]["params"]:
        section, _, rest = key.partition(".")
        field = ProjectParams.model_fields[section]
        if rest and rest != "${item.model}":
            assert rest in field.annotation.model_fields


def test_every_script_is_a_stage_and_every_section_is_used():
    scripts = {path.stem for path in (SOURCE / "stages").glob("*.py")} - {"__init__"}
    assert scripts == {script_of(stage).stem for stage in STAGES.values()}
    used = {key.partition(".")[0] for stage in STAGES.values() for key in stage["params"]}
    assert used == set(ProjectParams.model_fields) - {"machine"}  # no result depends on the machine


def test_excused_files_exist():
    assert all((REPOSITORY / name).exists() for name in CANNOT_CHANGE_OUTPUTS)


def test_every_model_has_a_section_of_params():
    sections = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]
    assert sorted(sections) == model_names()


def test_scripts_are_thin():
    assert max(len(path.read_text().splitlines()) for path in (SOURCE / "stages").glob("*.py")) <= 120

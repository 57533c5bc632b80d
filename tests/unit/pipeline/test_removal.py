"""A subject or a model leaves a project, and nothing of the others does."""

import pytest
import yaml

from conftest import REPOSITORY
from fmri2img.pipeline.removal import plan_removal
from fmri2img.project.exceptions import ConfigError, FormatError
from fmri2img.project.params_file import load_params

STAGES = {
    "extract_betas@subj01": ["data/voxels/subj01.h5"],
    "extract_betas@subj03": ["data/voxels/subj03.h5"],
    "train@subj01-ridge": ["models/subj01/ridge/model.safetensors"],
    "train@subj01-bayes": ["models/subj01/bayes/model.safetensors"],
    "train@subj03-ridge": ["models/subj03/ridge/model.safetensors"],
    "train@subj03-bayes": ["models/subj03/bayes/model.safetensors"],
    "read_ood@subj01-nsdsynthetic": ["data/ood/subj01/nsdsynthetic.h5"],
    "read_ood@subj03-nsdsynthetic": ["data/ood/subj03/nsdsynthetic.h5"],
    "evaluate_ood@subj01-bayes-nsdsynthetic": ["reports/ood/subj01/bayes/nsdsynthetic.json"],
    "compare": ["reports/comparison.md"],
}
UNFINISHED = {
    "subj03": [
        ".checkpoints/subj03/bayes.safetensors",
        ".checkpoints/voxels/subj03/1.h5",
        ".verified/subj03-nsdsynthetic.json",
    ],
    "bayes": [".checkpoints/subj01/bayes.safetensors", "logs/subj01/bayes.jsonl"],
}
LOGS = {
    "subj03": ["logs/stages/train@subj03-ridge.log", "logs/stages/extract_betas@subj03.log"],
    "bayes": [
        "logs/stages/train@subj01-bayes.log",
        "logs/stages/evaluate_ood@subj01-bayes-nsdsynthetic.log",
    ],
}


@pytest.fixture
def project(tmp_path):
    text = (REPOSITORY / "params.yaml").read_text()
    text = text.replace("subjects: [subj01, subj02]", "subjects: [subj01, subj02, subj03]  # ours")
    (tmp_path / "params.yaml").write_text(text)
    outs = {
        name: {"cmd": "x", "outs": [{"path": path, "md5": "a", "size": 3} for path in paths]}
        for name, paths in STAGES.items()
    }
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": outs}))
    groups = (*STAGES.values(), *UNFINISHED.values(), *LOGS.values(), [".verified/subj01.json"])
    for path in (path for group in groups for path in group):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("abc")
    return tmp_path


def files(project):
    paths = (path.relative_to(project) for path in project.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths}


def locked(project):
    return set(yaml.safe_load((project / "dvc.lock").read_text())["stages"])


@pytest.mark.parametrize("name", ["subj03", "bayes"])
def test_what_is_of_it_goes_and_nothing_else(project, name):
    before = files(project)
    removal = plan_removal(name, project)
    assert files(project) == before
    removal.carry_out(project)
    gone = {stage for stage in STAGES if name in stage}
    assert locked(project) == set(STAGES) - gone
    outs = {path for stage in gone for path in STAGES[stage]}
    assert before - files(project) >= outs | set(LOGS[name])
    assert not [path for path in files(project) if name in path]
    assert before - files(project) == {path for path in before if name in path}
    assert not [path for path in project.rglob("*") if path.is_dir() and not any(path.iterdir())]
    params = load_params(project / "params.yaml")
    assert name not in (*params.subjects, *params.models)
    assert removal.size(project) == 0


def test_it_counts_bytes_and_encoders(project):
    removal = plan_removal("subj03", project)
    assert removal.size(project) == 3 * len([path for path in files(project) if "subj03" in path])
    assert removal.encoders == (("subj03", "ridge"), ("subj03", "bayes"))
    assert plan_removal("bayes", project).encoders == tuple(
        (subject, "bayes") for subject in ("subj01", "subj02", "subj03")
    )


def test_remarks_of_the_settings_stay(project):
    before = (project / "params.yaml").read_text()
    after = plan_removal("subj03", project).params_text
    assert after == before.replace("[subj01, subj02, subj03]", "[subj01, subj02]")
    after = plan_removal("bayes", project).params_text
    assert after == before.replace("latents: [ridge, bayes]", "latents: [ridge]")


@pytest.mark.parametrize("name", ["subj03", "subj02"])
def test_a_list_with_a_line_for_each_subject(project, name):
    path = project / "params.yaml"
    block = "subjects:\n  - subj01\n  - subj02  # second\n  - subj03\n"
    text = path.read_text().replace("subjects: [subj01, subj02, subj03]  # ours\n", block)
    path.write_text(text.replace("population: [subj01, subj02]", "population: [subj01]"))
    after = plan_removal(name, project).params_text
    left = [one for one in ("subj01", "subj02", "subj03") if one != name]
    assert yaml.safe_load(after)["subjects"] == left
    assert len(after.splitlines()) == len(text.splitlines()) - 1


def test_an_interrupted_removal_is_completed_by_the_same_command(project):
    removal = plan_removal("subj03", project)
    for file in removal.files[:3]:
        (project / file).unlink()
    plan_removal("subj03", project).carry_out(project)
    assert not [path for path in files(project) if "subj03" in path]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("subj4", r"there is no subject or model 'subj4' \(did you mean subj0\d or subj0\d\?\)"),
        ("ridge", "ridge cannot be removed, because all other models are compared with it"),
        ("subj02", "population: encoders of other subjects learn from the pictures of subj02"),
    ],
)
def test_what_cannot_go_is_one_line(project, name, message):
    before = files(project)
    with pytest.raises(ConfigError, match=message):
        plan_removal(name, project)
    assert files(project) == before


def test_the_only_subject_stays(project):
    path = project / "params.yaml"
    text = path.read_text().replace("[subj01, subj02, subj03]", "[subj01]")
    path.write_text(text.replace("population: [subj01, subj02]", "population: [subj01]"))
    with pytest.raises(ConfigError, match="subj01 is the only subject"):
        plan_removal("subj01", project)


def test_a_lock_in_a_merge_conflict(project):
    lock = project / "dvc.lock"
    lock.write_text(f"<<<<<<< HEAD\n{lock.read_text()}=======\n>>>>>>> other\n")
    with pytest.raises(FormatError, match="merge"):
        plan_removal("subj03", project)
    assert "subj03" in (project / "params.yaml").read_text()


def test_before_anything_ran(project):
    (project / "dvc.lock").unlink()
    removal = plan_removal("bayes", project)
    removal.carry_out(project)
    assert not (project / "dvc.lock").exists()
    assert load_params(project / "params.yaml").models.latents == ["ridge"]

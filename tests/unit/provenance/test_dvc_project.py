import os

import pytest
from dvc.repo import Repo
from dvc.utils.serialize import LOADERS

from fmri2img.project.exceptions import FormatError
from fmri2img.provenance import dvc_project
from fmri2img.provenance.dvc_project import parsing_params_once, reading_project, record_in_lock

PIPELINE = """\
stages:
  first:
    cmd: make first
    deps: [source.txt]
    params: [settings]
    outs: [first.txt]
  second:
    matrix: {subject: [subj01, subj02]}
    cmd: make second ${item.subject}
    deps: [first.txt]
    outs: ["second_${item.subject}.txt": {persist: true}]
  third:
    cmd: make third
    deps: [second_subj01.txt]
    metrics: [third.json: {cache: false}]
"""
PARAMS = "settings: {small: 1e-06, word: '12e4', many: [1, 2], deep: {empty: '', yes: true}}\n"
FILES = ("source.txt", "first.txt", "second_subj01.txt", "second_subj02.txt", "third.json")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Repo.init(no_scm=True).close()
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text(PARAMS)
    for name in FILES:
        (tmp_path / name).write_text(f"{{{name!r}: 1}}")
    yield tmp_path
    while opened:
        opened.pop().close()


opened = []  # their stages need them, and from Python 3.13 on one left open is a warning


def stages():
    opened.append(Repo())
    return sorted(opened[-1].index.stages, key=lambda stage: stage.addressing)


def locked(project, write):
    """The lock file after each stage has been saved and written, in two orders."""
    (project / "dvc.lock").unlink(missing_ok=True)
    texts = []
    for stage in [*stages(), *reversed(stages())]:
        stage.save()
        write(stage)
        texts.append((project / "dvc.lock").read_text())
    return texts


def test_the_lock_has_the_bytes_that_dvc_writes(project):
    by_dvc = locked(project, lambda stage: stage.dump(update_pipeline=False))
    assert locked(project, record_in_lock) == by_dvc
    assert len(set(by_dvc)) == 4  # the second round changes nothing

    (project / "first.txt").write_text("another")
    (project / "params.yaml").write_text(PARAMS.replace("[1, 2]", "[3]"))
    before = (project / "dvc.lock").read_text()
    first, *_ = stages()
    first.save()
    record_in_lock(first)
    ours = (project / "dvc.lock").read_text()
    (project / "dvc.lock").write_text(before)
    first.dump(update_pipeline=False)
    assert before != ours == (project / "dvc.lock").read_text()


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text + "datasets: []\n",
        lambda text: text.replace("schema: '2.0'", 'schema: "2.0"'),
        lambda text: "# a note\n" + text,
        lambda text: text.rstrip("\n"),
    ],
)
def test_a_lock_of_another_form_is_left_to_dvc(project, rewrite, monkeypatch):
    locked(project, record_in_lock)
    path = project / "dvc.lock"
    path.write_text(rewrite(path.read_text()))
    (project / "first.txt").write_text("another")
    monkeypatch.setattr(dvc_project, "write_text", None)
    first, *_ = stages()
    first.save()
    record_in_lock(first)
    assert first.outs[0].hash_info.value in path.read_text()


def test_params_are_parsed_once_until_they_change(project, monkeypatch):
    parsed = []
    original = LOADERS[".yaml"]
    monkeypatch.setattr(
        "dvc.utils.serialize.load_yaml",
        lambda path, **options: parsed.append(path) or original(path, **options),
    )
    (first, *_) = stages()
    (dependency,) = [dep for dep in first.deps if hasattr(dep, "params")]
    with parsing_params_once():
        values = dependency.read_params()
        values["settings"]["many"].append(3)
        assert dependency.read_params()["settings"]["many"] == [1, 2]
        assert len(parsed) == 1
        (project / "params.yaml").write_text(PARAMS.replace("[1, 2]", "[3]"))
        os.utime(project / "params.yaml", ns=(1, 1))
        assert dependency.read_params()["settings"]["many"] == [3]
    assert ".yaml" not in LOADERS or LOADERS[".yaml"] is original


def test_a_pipeline_that_dvc_cannot_read_is_told(project):
    (project / "dvc.yaml").write_text("stages: [first]\n")
    with (
        Repo() as repo,
        pytest.raises(FormatError, match=r"DVC cannot read the pipeline: .*correct dvc\.yaml"),
        reading_project(repo),
    ):
        repo.index  # noqa: B018


def test_dvc_parses_yaml_with_the_c_library():
    from ruamel.yaml import YAML

    assert YAML(typ="safe").Parser.__module__.startswith("ruamel.yaml.clib") or (
        YAML(typ="safe").Parser.__name__ == "CParser"
    )

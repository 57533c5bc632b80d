"""A subject or a model comes or goes: what runs again, and what does not."""

import re
import sys

import mlflow
import pytest
import yaml
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo

from commands import dvc, fmri2img
from conftest import REPOSITORY
from miniature import SUBJECT, changed_params, inside
from pipeline.test_pipeline import outs

ADDED = "subj01"
_ENDED = re.compile(r"\[ *\d+/\d+\].*  (\S+): \d+ s")


def test_one_more_subject_leaves_the_stages_of_others_as_they_are(copied):
    with changed_params(copied) as params:
        params["subjects"] = [SUBJECT, ADDED]
    lines = fmri2img(copied, "why").stdout.splitlines()
    causes = dict(line.split(": ", 1) for line in lines)
    assert (
        causes["compare"] == f"params.yaml: subjects was ['{SUBJECT}'], is ['{SUBJECT}', '{ADDED}']"
    )
    assert any(f"fetch_raw@{ADDED}" in names for names in causes)
    told = fmri2img(copied, "why", f"train@{SUBJECT}-ridge").stdout
    assert told == f"train@{SUBJECT}-ridge is up to date\n"
    assert not [names for names in causes if SUBJECT in names]
    # Half of all trainings, and no prior: the population has not changed.
    assert any("train (2 of 4)" in names for names in causes)
    assert not any("collect_prior" in names for names in causes)


def definitions(project):
    """Commands, dependencies and parameters of every stage."""
    with inside(project), Repo() as repo:
        return {
            stage.addressing: (
                stage.cmd,
                sorted(dep.def_path for dep in stage.deps),
                [dep.read_params() for dep in stage.deps if isinstance(dep, ParamsDependency)],
            )
            for stage in repo.index.stages
        }


def test_one_more_subject_retrains_nobody_who_learns_from_a_population(copied):
    with changed_params(copied) as params:
        params["models"]["population"] = ["bayes_population"]
    before = definitions(copied)
    trained = f"train_population@{SUBJECT}-bayes_population"
    assert {trained, f"learn_population@{SUBJECT}-bayes_population"} <= set(before)
    with changed_params(copied) as params:
        params["subjects"] = [SUBJECT, ADDED]
    added = definitions(copied)
    changed = {name for name, definition in before.items() if added[name] != definition}
    assert changed == {"compare"}
    with changed_params(copied) as params:
        params["population"] = [SUBJECT, ADDED]
    assert definitions(copied)[trained] != added[trained]


def test_a_model_is_removed_with_its_files_and_its_alias(copied):
    before = outs(copied)
    dry = fmri2img(copied, "remove", "basic_ae", "--dry-run").stdout
    assert dry.endswith("nothing was changed\n")
    assert outs(copied) == before
    client = mlflow.MlflowClient(f"sqlite:///{copied}/mlflow.db")
    client.delete_registered_model_alias(f"fmri2img-bayes-{SUBJECT}", "champion")
    client.set_registered_model_alias(f"fmri2img-basic_ae-{SUBJECT}", "champion", 1)
    lines = fmri2img(copied, "remove", "basic_ae").stdout.splitlines()
    retired = f"registry: models:/fmri2img-basic_ae-{SUBJECT}/1 is retired, was the champion"
    assert retired in lines
    assert lines[-1] == "to renew the comparison: fmri2img repro"
    gone = {path for path in before if "/basic_ae" in path}
    assert len(gone) > 8
    assert not [path for path in gone if (copied / path).exists()]
    assert not (copied / f"models/{SUBJECT}/basic_ae").exists()
    assert outs(copied) == {path: md5 for path, md5 in before.items() if path not in gone}
    stale = fmri2img(copied, "why").stdout.splitlines()
    assert [line.partition(":")[0] for line in stale] == [f"compare, map_voxels@{SUBJECT}"]
    dvc(copied, "repro")
    listed = fmri2img(copied, "list").stdout
    assert re.search(rf"fmri2img-ridge-{SUBJECT} +1 +champion", listed)
    assert "Data and pipelines are up to date." in dvc(copied, "status").stdout


def test_a_name_that_nobody_has_gets_near_ones(copied):
    result = fmri2img(copied, "remove", "basic_ea", check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: params.yaml: there is no subject or model 'basic_ea' (")
    assert "did you mean basic_ae?" in result.stderr


@pytest.mark.slow
def test_eight_subjects_and_five_models(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    monkeypatch.delenv("FMRI2IMG_TINY", raising=False)
    for name in ("measuring", "scale"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import scale

    project = scale.make_project(tmp_path / "project", scale.SUBJECTS)
    assert len(scale.SUBJECTS) * sum(map(len, scale.MODELS.values())) == 40

    def repro():
        told = scale.run(project, ["fmri2img", "repro"])
        ended = [match.group(1) for line in told.splitlines() if (match := _ENDED.fullmatch(line))]
        return ended, told.splitlines()[-1]

    ran, _ = repro()
    lock = project / "dvc.lock"
    assert len(ran) == len(set(ran)) == len(yaml.safe_load(lock.read_text())["stages"]) > 190
    assert lock.stat().st_size <= 400_000
    assert repro() == ([], f"all {len(ran)} stages are up to date")
    assert len(scale.run(project, ["fmri2img", "why"]).splitlines()) == 1
    assert len(scale.run(project, ["dvc", "status"]).splitlines()) == 1
    first = outs(project)

    scale.edit_subjects(project, [*scale.SUBJECTS, "another"])
    ran, _ = repro()
    assert {name for name in ran if "another" not in name} == {"compare"}
    assert sum("train" in name for name in ran) == 5
    second = outs(project)
    changed = {path for path in first if second[path] != first[path]}
    assert all(
        path.startswith(("reports/comparison", "reports/headlines", "reports/index"))
        for path in changed
    )

    scale.run(project, ["fmri2img", "remove", "another"])
    ran, _ = repro()
    assert ran == ["compare"]
    assert outs(project) == first

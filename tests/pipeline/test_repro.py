"""``dvc repro`` from nothing, as a user types it: a process for each stage."""

import pytest

import miniature
from miniature import changed_params, copy_project
from pipeline.projects import repro, run
from pipeline.test_pipeline import outs


@pytest.mark.slow  # side by side: test_side_by_side.py
def test_a_whole_run_gives_the_bytes_of_the_finished_project(template, tmp_path):
    """With the fewest models: every other stage runs, and those that other models do not touch
    give the same bytes.
    """
    project = copy_project(template, tmp_path / "project")
    with changed_params(project) as params:
        params["models"] |= {"latents": ["ridge"], "diffusion": []}
        params["evaluate"]["networks"] = []
    repro(project, by=miniature.run)
    made, known = outs(project), outs(template)
    untouched = [
        path
        for path in made
        if path.startswith(("data/", "models/", "reports/training/", "reports/validation/"))
    ]
    assert len(untouched) > 15
    assert {path: made[path] for path in untouched} == {path: known[path] for path in untouched}
    assert "Data and pipelines are up to date." in run(project, "dvc", "repro").stdout

"""``fmri2img check-alignment`` in a finished project, and with mistakes planted in its files."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from commands import without_code
from fmri2img.containers.examples import Examples
from fmri2img.containers.splits import Split
from fmri2img.containers.trial_betas import TrialBetas
from miniature import SUBJECT, changed_params, clone
from pipeline.projects import run


@pytest.fixture
def project(pair_template, tmp_path):
    return clone(pair_template, tmp_path / "project")


def check(project, *subjects):
    result = run(project, "fmri2img", "check-alignment", *subjects, check=False)
    return result.returncode, result.stdout.splitlines(), result.stderr


def change_table(project, order):
    """Give each trial the image of another one."""
    path = project / f"data/voxels/{SUBJECT}.h5"
    trials = TrialBetas.open(path, remedy="")
    ids, shared = trials.image_ids[order], trials.is_shared[order]
    repetition = pd.Series(ids).groupby(ids).cumcount().to_numpy(np.int8)
    path.unlink()  # a link to the template's
    replace(trials, image_ids=ids, is_shared=shared, repetition=repetition).save(path)


def test_a_finished_project_fits(project):
    code, lines, told = check(project)
    assert (code, told) == (0, "")
    assert lines[0] == f"{SUBJECT}: trials, pictures and volumes belong together (SIMULATED DATA)"
    assert lines[2].split()[:2] == ["as", "given"]
    assert "each follows the opposite half of the picture" in lines[-2]
    assert "could be explained (noise ceiling)" in lines[-1]


def test_a_table_that_is_off_by_one_is_named_in_one_line(project):
    n_trials = len(TrialBetas.open(project / f"data/voxels/{SUBJECT}.h5", remedy="").image_ids)
    change_table(project, np.roll(np.arange(n_trials), 1))
    code, lines, told = check(project, SUBJECT)
    assert code == 1
    (line,) = told.splitlines()
    assert without_code(line) == (
        f"error: {SUBJECT}: the pictures of the next trial fit better than those of the table, in "
        "all sessions; correct the table or the volumes, and run: dvc repro --force "
        f"--single-item fetch_raw@{SUBJECT} (fetch_raw_shared, if the pictures were wrong), then "
        "fmri2img repro"
    )
    assert lines[2].startswith("  of the next trial")


def test_a_shuffled_table_fits_nothing(project, rng):
    n_trials = len(TrialBetas.open(project / f"data/voxels/{SUBJECT}.h5", remedy="").image_ids)
    change_table(project, rng.permutation(n_trials))
    code, _, told = check(project)
    assert code == 1
    assert "nothing fits" in told


def test_an_unknown_subject_gets_near_names(project):
    code, _, told = check(project, "subj20")
    assert code == 1
    assert f"there is no subject 'subj20' (did you mean {SUBJECT}" in told


def test_what_has_not_run_is_named(project):
    with changed_params(project) as params:
        params["subjects"] = [SUBJECT, "subj03"]
    code, lines, told = check(project)
    assert code == 1
    assert lines[0].startswith(f"{SUBJECT}: trials")
    assert "data/voxels/subj03.h5" in told


def test_test_trials_and_their_pictures_take_no_part(project, rng):
    """Whatever they hold, not a digit changes."""
    before = check(project)
    path = project / f"data/voxels/{SUBJECT}.h5"
    trials = TrialBetas.open(path, remedy="")
    split = Split.open(project / f"data/splits/{SUBJECT}.json", remedy="")
    betas = trials.betas.copy()
    is_test = np.isin(trials.image_ids, split.ids("test"))
    betas[is_test] = rng.integers(-3000, 3000, betas[is_test].shape)
    path.unlink()
    replace(trials, betas=betas).save(path)
    path = project / f"data/examples/{SUBJECT}.h5"
    examples = Examples.open(path, remedy="")
    images = examples.images.copy()
    images[np.isin(examples.image_ids, split.ids("test"))] = 7
    path.unlink()
    replace(examples, images=images).save(path)
    assert is_test.any()
    assert check(project) == before

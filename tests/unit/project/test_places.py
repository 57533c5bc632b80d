"""What a copy in which DVC runs an experiment lacks is found in the original."""

import pytest

from conftest import REPOSITORY
from fmri2img.project.layout import ledger_path
from fmri2img.project.params_file import load_params
from fmri2img.project.places import own_rois, project_root, where_it_is
from fmri2img.project.plain_names import is_below, is_plain_name


@pytest.fixture
def copy(tmp_path, monkeypatch):
    copy = tmp_path / "lab" / ".dvc/tmp/exps/temp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    return copy


def test_files_that_git_does_not_hold(copy, tmp_path, monkeypatch):
    monkeypatch.delenv("FMRI2IMG_RAW_ROOT", raising=False)
    original = tmp_path / "lab"
    assert project_root() == original
    machine = load_params(REPOSITORY / "params.yaml").machine
    assert machine.raw_folder == where_it_is("data/raw")
    assert str(machine.raw_folder) == "data/raw"  # in neither: as it is written
    (original / "data/raw").mkdir(parents=True)
    assert machine.raw_folder == original / "data/raw"
    assert str(machine.own_raw_folder) == "data/raw"
    (copy / "data/raw/coco").mkdir(parents=True)  # captions are written there
    assert machine.raw_folder == original / "data/raw"
    (copy / "data/raw/SIMULATED.txt").touch()  # an experiment that simulates other data
    assert str(machine.raw_folder) == "data/raw"
    assert where_it_is(original / "data") == original / "data"


def test_what_params_name_is_found_in_the_original(copy, tmp_path):
    original = tmp_path / "lab"
    for name in ("weights", "photos", "coco", "vae", "stable-diffusion"):
        (original / name).mkdir()
    ledger = original / ledger_path("subj01")
    ledger.parent.mkdir(parents=True)
    ledger.write_text("{}")
    assert where_it_is("photos") == original / "photos"
    assert where_it_is("coco") == original / "coco"
    assert where_it_is("vae") == original / "vae"
    assert where_it_is("stable-diffusion") == original / "stable-diffusion"
    assert where_it_is(ledger_path("subj01")) == ledger
    machine = load_params(REPOSITORY / "params.yaml").machine
    machine = machine.model_copy(update={"network_weights": "weights"})
    assert machine.weights_folder == original / "weights"


def test_own_regions(copy, tmp_path):
    (tmp_path / "lab/rois/subj01").mkdir(parents=True)
    (copy / "rois").mkdir()
    (copy / "rois/README.md").write_text("")
    assert own_rois() == tmp_path / "lab/rois"
    (copy / "rois/subj01").mkdir()
    assert str(own_rois()) == "rois"


def test_in_the_project_itself_nothing_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert str(where_it_is("models")) == "models"
    assert str(own_rois()) == "rois"
    assert project_root() == tmp_path


@pytest.mark.parametrize("name", ["subj01", "sub-01.a", "_x", "00032"])
def test_names(name):
    assert is_plain_name(name)
    assert is_below(f"a/{name}")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "-x", ".x", "a\n", "a b", "x" * 200]
)
def test_what_is_no_name(name):
    assert not is_plain_name(name)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "..", "a/../../b", "a/.."])
def test_what_leads_elsewhere(path):
    assert not is_below(path)


def test_a_home_that_nobody_has(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such user's home here, .* '~nobody_here/x'"):
        where_it_is("~nobody_here/x")

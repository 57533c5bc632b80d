import os

import pytest

from fmri2img.project.threads import pin_threads

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "0")  # brought back afterwards
        monkeypatch.delenv(variable)


def test_threads_are_those_of_the_params(tmp_path):
    (tmp_path / "params.yaml").write_text("machine: {n_threads: 3}\n")
    pin_threads()
    assert [os.environ[variable] for variable in VARIABLES] == ["3"] * 3


def test_one_where_the_params_do_not_say(tmp_path):
    (tmp_path / "params.yaml").write_text("machine: {n_jobs: 3}\n")
    pin_threads()
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_what_the_environment_says_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    (tmp_path / "params.yaml").write_text("machine: {n_threads: 3}\n")
    pin_threads()
    assert os.environ["OMP_NUM_THREADS"] == "5"


@pytest.mark.parametrize("text", ["", "machine: 3\n", "machine: {n_threads: many}\n", "{"])
def test_wrong_params_are_left_to_the_check(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    pin_threads()
    assert "OMP_NUM_THREADS" not in os.environ

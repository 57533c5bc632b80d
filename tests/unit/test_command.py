import subprocess
import sys

import pytest

from conftest import REPOSITORY


def run(folder, *arguments):
    return subprocess.run([sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    return tmp_path


def test_a_known_error_is_one_line_and_exit_code_1(project):
    result = run(project, "stages.split_examples", "--subject", "subj01")
    assert result.returncode == 1
    assert result.stderr == "error: data/examples/subj01.h5 not found; run: dvc repro create_examples@subj01\n"


def test_debug_shows_the_traceback(project):
    result = run(project, "stages.split_examples", "--subject", "subj01", "--debug")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_a_subject_that_does_not_exist(project):
    result = run(project, "stages.fetch_nsd", "--subject", "subj09")
    assert result.returncode == 1
    assert result.stderr == "error: params.yaml: subjects: there is no 'subj09' among subj01, subj02; add it there or name one of these\n"

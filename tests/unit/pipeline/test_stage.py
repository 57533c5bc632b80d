import errno
import re

import pytest

from commands import call, fmri2img, stage, without_code
from conftest import REPOSITORY
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.error_lines import _known, tell_errors
from fmri2img.project.exceptions import MissingDataError


def run(folder, module, *arguments):
    return stage(folder, module.removeprefix("stages."), *arguments, check=False)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    return tmp_path


def test_a_known_error_is_one_line_and_exit_code_1(project):
    result = run(project, "stages.split_examples", "--subject", "subj01")
    assert result.returncode == 1
    assert (
        without_code(result.stderr)
        == "error: data/examples/subj01.h5 not found; run: dvc repro create_examples@subj01\n"
    )


def test_a_fault_of_any_section_ends_every_stage_before_it_begins(project):
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("n_permutations:", "n_permutation:"))
    for name in ("split_examples", "train"):
        model = ("--model", "ridge") if name == "train" else ()
        result = run(project, f"stages.{name}", "--subject", "subj01", *model)
        assert result.returncode == 1
        assert "unknown key (did you mean n_permutations?)" in result.stderr


def test_repro_checks_the_parameters_before_it_asks_dvc(project):
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("n_permutations:", "n_permutation:"))
    result = fmri2img(project, "repro", check=False)
    assert result.returncode == 1
    assert "unknown key (did you mean n_permutations?)" in result.stderr


def test_debug_shows_the_traceback(project):
    with pytest.raises(MissingDataError, match="not found"):  # which Python then shows
        run(project, "stages.split_examples", "--subject", "subj01", "--debug")


def test_a_subject_that_does_not_exist(project):
    result = run(project, "stages.fetch_raw", "--subject", "subj09")
    assert result.returncode == 1
    assert (
        without_code(result.stderr)
        == "error: params.yaml: subjects: 'subj09' is not among subj01, subj02; add it there "
        "or choose one of these\n"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "x.h5"),
            r"^x.h5: the disk is full \(.* GB free there\); make room and run the same",
        ),
        (
            OSError(
                "Unable to write (file write failed: errno = 28, error message = 'No space left on "
                "device')"
            ),
            r"a file: the disk is full",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "y.nii.gz"),
            r"^y.nii.gz: permission denied; ask its owner for access",
        ),
        (MemoryError(), r"^the machine has no memory left; lower machine.n_jobs"),
        (
            OSError(errno.EIO, "Input/output error", "z"),
            r"^z: Input/output error; check the disk and the path",
        ),
    ],
)
def test_what_the_system_refuses_is_one_line(error, message):
    described = str(_known(error))
    assert "\n" not in described
    assert re.search(message, described)


def test_a_current_folder_that_was_deleted(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SystemExit, match="1"), tell_errors(debug=False):
        raise AssertionError("the command ran")
    assert capsys.readouterr().err.startswith("error: the current folder was deleted or moved; go")


def test_fetching_s3_asks_for_the_terms_first(project):
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("dataset: simulated ", "dataset: nsd "))
    result = run(project, "stages.fetch_raw", "--subject", "subj01")
    assert result.returncode == 1
    assert result.stderr.startswith(
        "error: params.yaml, line 48: datasets.nsd: accept_nsd_terms: got false; read and "
        "accept NSD's terms"
    )
    assert result.stderr.count("\n") == 1


def test_a_local_tree_that_is_not_there(project):
    text = (project / "params.yaml").read_text()
    text = text.replace("dataset: simulated ", "dataset: nsd ").replace(
        "source: s3 ", "source: local "
    )
    text = text.replace("raw_root: data/raw", "raw_root: /no/such/folder")
    (project / "params.yaml").write_text(text)
    result = run(project, "stages.fetch_raw", "--subject", "subj01")
    assert result.returncode == 1
    assert without_code(result.stderr) == (
        "error: /no/such/folder is not a folder; set machine.raw_root in params.yaml to the folder "
        "that holds nsddata and nsddata_betas\n"
    )


def test_the_simulator_does_not_write_into_other_data(project):
    (project / "data/raw/nsddata").mkdir(parents=True)
    result = run(project, "stages.fetch_raw", "--subject", "subj01")
    assert result.returncode == 1
    assert result.stderr.startswith(
        "error: data/raw holds files that are not simulated; dataset simulated would "
        "write among them"
    )
    assert list((project / "data/raw").rglob("*")) == [project / "data/raw/nsddata"]


def test_ctrl_c_is_one_line(project):
    def main():
        raise KeyboardInterrupt

    result = call(lambda: run_stage(main, []), project, check=False)
    assert result.returncode == 130
    assert (
        result.stderr
        == "stopped; finished work is kept, and the same command continues from there\n"
    )

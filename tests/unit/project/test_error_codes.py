"""Error lines end with their code, and the page of error lines has it."""

import re

import pytest

from conftest import REPOSITORY
from fmri2img.datasets.folder import beta_files
from fmri2img.project.config import PARAMS_PATH
from fmri2img.project.error_codes import LETTERS, code_for, code_of, error_templates
from fmri2img.project.error_lines import tell_errors
from fmri2img.project.exceptions import ConfigError, Fmri2imgError, MismatchError, StageError
from fmri2img.project.params_file import load_params
from fmri2img.sharing.voxel_file import open_voxels

PAGE = (REPOSITORY / "docs/error-lines.md").read_text(encoding="utf-8")


def row_of(code):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {code} |")]
    return row


def told(capsys, raise_it):
    with pytest.raises(SystemExit, match="1"), tell_errors(debug=False):
        raise_it()
    (line,) = capsys.readouterr().err.splitlines()
    return re.fullmatch(r"error: (.*?)(?: \[([A-Z][0-9a-f]{4})\])?", line).groups()


def edited(tmp_path, monkeypatch, old, new):
    text = (REPOSITORY / PARAMS_PATH).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / PARAMS_PATH).write_text(text.replace(old, new, 1), encoding="utf-8")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("subjects:", "subject:", "unknown key"),
        ("subjects: [subj01, subj02]", "subjects: [subj01, subj01]", "is listed"),
        ("min_ncsnr: 0.0", "min_ncsnr: much", "correct it in"),
        ("strength: 0.", "strength: 0.000", "less than one step"),
    ],
)
def test_what_is_wrong_in_params_has_its_row(tmp_path, monkeypatch, capsys, old, new, words):
    edited(tmp_path, monkeypatch, old, new)
    line, code = told(capsys, load_params)
    assert words in line
    assert words in row_of(code)


def test_a_file_that_is_not_there_has_its_row(tmp_path, capsys):
    line, code = told(capsys, lambda: open_voxels(tmp_path / "voxels.h5"))
    assert code[0] == LETTERS["MissingDataError"]
    assert "voxels.h5" in line
    assert row_of(code)


def test_what_the_system_refuses_has_its_row(capsys):
    def refuse():
        raise PermissionError(13, "permission denied", "voxels.h5")

    line, code = told(capsys, refuse)
    assert line.startswith("voxels.h5: permission denied")
    assert "permission denied" in row_of(code)


def test_a_line_that_is_handed_on_has_one_code(capsys):
    words = "train@subj01-ridge: data/voxels/subj01.h5: is not there"

    def fail():
        raise StageError(f"{words} [M1a2b]")

    assert told(capsys, fail) == (words, "M1a2b")


def test_the_most_telling_words_give_the_code(monkeypatch):
    error = ConfigError("params.yaml: subjects: subj01 is listed 2 times; list it once")
    monkeypatch.setattr(
        "fmri2img.project.error_codes.error_templates",
        lambda _: [
            ("ConfigError", "{}: {} is listed {} times; list it once"),
            ("ConfigError", "{}; list it once"),
            ("FormatError", "{}: subjects: {} is listed {} times; list it once"),
        ],
    )
    assert code_for(error) == code_of("ConfigError", "{}: {} is listed {} times; list it once")


def test_what_another_process_raised_has_its_code():
    """A session's file is read there, and its traceback comes as a text."""
    error = MismatchError(
        "ses-02.npy: got 47 volumes, expected 48, the trials of trials.csv; correct the table, or "
        "write the betas anew"
    )
    error.__cause__ = RuntimeError(f'Traceback:\n  File "{beta_files.__file__}", line 9, in read')
    assert "the trials of trials.csv" in row_of(code_for(error))


def test_an_error_from_elsewhere_has_no_code():
    assert code_for(ConfigError("words that are nowhere in the project")) == ""
    assert set(LETTERS) - {"ValueError"} == {
        kind.__name__ for kind in Fmri2imgError.__subclasses__()
    }


def test_templates_leave_values_open():
    source = 'raise ConfigError(f"{path}: got {value}" + "; correct it")\nraise KeyError("no")'
    assert list(error_templates(source)) == [("ConfigError", "{}: got {}; correct it")]

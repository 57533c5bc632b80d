import re
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.io

from conftest import SESSIONS
from fmri2img.datasets.nsd.design import read_design, read_responses
from fmri2img.datasets.nsd.paths import EXPDESIGN, on_disk
from fmri2img.project.exceptions import FormatError


@pytest.fixture(scope="module")
def design(miniature):
    return scipy.io.loadmat(on_disk(miniature.root, EXPDESIGN))


def change(design, tmp_path, name, place, value):
    """Write the design with one number changed, or one variable replaced."""
    variables = {key: values for key, values in design.items() if not key.startswith("__")}
    if place is None:
        variables[name] = value
    else:
        variables[name] = variables[name].astype(np.float64)
        variables[name][place] = value
    scipy.io.savemat(tmp_path / "design.mat", variables)
    return tmp_path / "design.mat"


@pytest.mark.parametrize(
    ("name", "place", "value", "line"),
    [
        ("masterordering", (0, 5), 99_999, "99999.0 at (1, 6) (from 1), expected whole numbers"),
        ("masterordering", (0, 5), np.nan, "nan at (1, 6) (from 1), expected whole numbers from 1"),
        ("masterordering", (0, 5), 0, "0.0 at (1, 6) (from 1), expected whole numbers from 1 to"),
        ("masterordering", (0, 5), 1.5, "1.5 at (1, 6) (from 1), expected whole numbers from 1"),
        ("subjectim", (3, 2000), 73_001, "73001.0 at (4, 2001) (from 1), expected whole numbers"),
        ("subjectim", (0, 0), np.nan, "nan at (1, 1) (from 1), expected whole numbers"),
        ("sharedix", None, np.full((1, 1000), 1j), "holds complex128, expected numbers"),
    ],
    ids=["too large", "nan", "from 0", "a half", "no such picture", "no picture", "complex"],
)
def test_numbers_that_cannot_be_are_named(design, tmp_path, name, place, value, line):
    path = change(design, tmp_path, name, place, value)
    with pytest.raises(FormatError, match=re.escape(f"variable {name}: {line}")):
        read_design(path, remedy="x")


def test_a_picture_shown_four_times(design, tmp_path):
    first, other = design["masterordering"][0, :2]
    path = change(design, tmp_path, "masterordering", (0, 1), first)
    lower = min(first, other)
    times = 4 if lower == first else 2
    line = f"masterordering: shows 10KID {lower} {times} times, expected 3; run: x"
    with pytest.raises(FormatError, match=line):
        read_design(path, remedy="x")


def test_shared_pictures_counted_from_0(design, tmp_path):
    shared = design["sharedix"].astype(np.int64) - 1
    path = change(design, tmp_path, "sharedix", None, np.maximum(shared, 1))
    with pytest.raises(FormatError, match=r"variable (subjectim: 73KID|sharedix: holds 73KID)"):
        read_design(path, remedy="x")


def test_a_shared_picture_twice(design, tmp_path):
    path = change(design, tmp_path, "sharedix", (0, 1), design["sharedix"][0, 0])
    line = f"sharedix: holds 73KID {design['sharedix'][0, 0]} twice, expected 1000 images"
    with pytest.raises(FormatError, match=line):
        read_design(path, remedy="x")


def test_shared_pictures_that_are_not_each_subjects_first(design, tmp_path):
    path = change(design, tmp_path, "subjectim", (2, 7), design["subjectim"][2, 1500])
    with pytest.raises(FormatError, match=r"at \(3, 8\), expected .*first columns are sharedix"):
        read_design(path, remedy="x")


def test_a_picture_of_two_subjects(design, tmp_path):
    theirs = design["subjectim"][4, 5000]
    path = change(design, tmp_path, "subjectim", (2, 1500), theirs)
    with pytest.raises(FormatError, match=f"73KID {theirs} stands in two places"):
        read_design(path, remedy="x")


def test_text_in_place_of_numbers(design, tmp_path):
    path = change(design, tmp_path, "sharedix", None, np.full((1, 1000), "a"))
    with pytest.raises(FormatError, match=r"variable sharedix.*(holds <U1|should have shape)"):
        read_design(path, remedy="x")


@pytest.fixture
def responses(miniature, tmp_path):
    """The responses table, and a function that reads it after a change."""
    path = tmp_path / "responses.tsv"
    shutil.copy(on_disk(miniature.root, miniature.subject.files.responses()), path)
    table = pd.read_csv(path, sep="\t")

    def read(column, row, value):
        table[column] = table[column].astype(object if isinstance(value, str) else float)
        table.loc[row, column] = value
        table.to_csv(path, sep="\t", index=False)
        return read_responses(path, list(SESSIONS), remedy="x")

    return read


@pytest.mark.parametrize(
    ("column", "value"),
    [("TRIAL", 40_000), ("TRIAL", -1), ("TRIAL", 2.5), ("73KID", 0), ("73KID", 73_001)],
)
def test_a_column_of_numbers_that_cannot_be(responses, column, value):
    line = f"column {column}: {float(value)} at (4, 1) (from 1), expected whole numbers from 1 to"
    with pytest.raises(FormatError, match=re.escape(line)):
        responses(column, 3, value)


@pytest.mark.parametrize("column", ["SESSION", "RUN", "TRIAL", "73KID"])
def test_text_in_a_column_of_numbers(responses, column):
    with pytest.raises(FormatError, match=f"column {column}: holds object, expected numbers; run"):
        responses(column, 3, "three")


@pytest.mark.parametrize("column", ["SESSION", "RUN", "73KID"])
def test_infinity_in_a_column_of_numbers(responses, column):
    line = rf"column {column}: inf at \(4, 1\) \(from 1\), expected whole numbers"
    with pytest.raises(FormatError, match=line):
        responses(column, 3, np.inf)


def test_a_trial_twice_or_out_of_order(responses):
    line = "columns RUN and TRIAL: session .*, run 1, trial .* does not come after the row before"
    with pytest.raises(FormatError, match=line):
        responses("TRIAL", 3, 3)

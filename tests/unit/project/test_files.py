import hashlib
import subprocess
import sys

import pytest

from fmri2img.project.exceptions import FormatError, MissingDataError
from fmri2img.project.files import hash_file, read_json, replacing, write_json


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as partial:
            partial.write_text("half of the n")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_half()
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.txt"]
    assert path.read_text() == "old"


def test_json_is_independent_of_key_order(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_json_that_is_missing_or_broken_names_the_remedy(tmp_path):
    with pytest.raises(MissingDataError, match="run: dvc repro split"):
        read_json(tmp_path / "a.json", remedy="dvc repro split")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(FormatError, match=r"a.json: not valid JSON .* run: dvc repro split"):
        read_json(tmp_path / "a.json", remedy="dvc repro split")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"[1, 2]", "JSON holds a list, expected names and values"),
        (b"3", "JSON holds a int, expected names and values"),
        (b'{"a": ' * 100_000, "JSON of too many levels"),
        ('{"a": "Größe"}'.encode("latin-1"), "byte 9 is 0xf6, expected text in UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "byte 0 is 0xff, expected text in UTF-8"),
        (None, "is a folder, expected a text file"),
    ],
    ids=["list", "number", "deep", "latin-1", "utf-16", "folder"],
)
def test_what_is_no_json_object_is_one_line(tmp_path, content, line):
    path = tmp_path / "a.json"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(FormatError, match=rf"a\.json: {line}; run: x"):
        read_json(path, remedy="x")


def test_texts_are_utf_8_whatever_the_locale(tmp_path):
    write_json(tmp_path / "a.json", {"name": "Größe"})
    assert read_json(tmp_path / "a.json", remedy="") == {"name": "Größe"}


def test_hash_agrees_with_hashlib(tmp_path):
    (tmp_path / "a").write_bytes(b"voxel" * 10_000)
    assert (
        hash_file(tmp_path / "a", "md5")
        == hashlib.md5(b"voxel" * 10_000, usedforsecurity=False).hexdigest()
    )


@pytest.mark.functional
def test_what_a_killed_process_left_is_swept_and_a_running_one_is_spared(tmp_path):
    path = tmp_path / "result.txt"
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    for pid in (gone, "1"):
        (tmp_path / f".partial-{pid}-result.txt").write_text("half")
    with replacing(path) as partial:
        partial.write_text("whole")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        ".partial-1-result.txt",
        "result.txt",
    ]

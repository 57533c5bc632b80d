import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fmri2img.project.exceptions import FormatError, MissingDataError, UnavailableError
from fmri2img.project.files import (
    _HOST,
    check_file,
    finish_replacing,
    hash_file,
    read_json,
    read_text,
    replacing,
    replacing_together,
    write_json,
    write_text,
)
from fmri2img.project.layout import JOURNALS


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
        (None, "is a folder, expected a file"),
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
        (tmp_path / f".partial-{_HOST}-{pid}-result.txt").write_text("half")
    with replacing(path) as partial:
        partial.write_text("whole")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        f".partial-{_HOST}-1-result.txt",
        "result.txt",
    ]


def write_two(path):
    with replacing_together():
        for name in ("weights.bin", "config.json"):
            write_text(path / name, f"new {name}")


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("weights.bin", "config.json"):
        write_text(tmp_path / name, f"old {name}")
    return tmp_path


def contents(folder):
    return [(folder / name).read_text() for name in ("weights.bin", "config.json")]


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".partial"))


def killed_while_renaming(folder, monkeypatch):
    """Rename one file of two, as a process does that is killed then."""
    with monkeypatch.context() as patch:
        replace, count = Path.replace, iter(range(9))

        def replace_once(path, target):
            # The first is the journal itself.
            if path.name.startswith(".partial") and next(count) == 2:
                raise KeyboardInterrupt
            return replace(path, target)

        patch.setattr(Path, "replace", replace_once)
        patch.setattr("fmri2img.project.files.os.getpid", lambda: 4_000_000)  # no such process
        with pytest.raises(KeyboardInterrupt):
            write_two(folder)
    assert contents(folder) == ["new weights.bin", "old config.json"]
    [journal] = (folder / JOURNALS).glob("*.json")
    return journal


def test_files_appear_together(earlier):
    with replacing_together():
        write_text(earlier / "weights.bin", "new weights.bin")
        assert contents(earlier) == ["old weights.bin", "old config.json"]
        write_text(earlier / "config.json", "new config.json")
    assert contents(earlier) == ["new weights.bin", "new config.json"]
    assert not hidden(earlier)
    assert not list((earlier / JOURNALS).iterdir())


def test_after_an_error_all_earlier_files_stay(earlier):
    def fail():
        with replacing_together():
            write_text(earlier / "weights.bin", "new")
            raise RuntimeError("the second cannot be computed")

    with pytest.raises(RuntimeError, match="the second"):
        fail()
    assert contents(earlier) == ["old weights.bin", "old config.json"]
    assert not hidden(earlier)
    write_text(earlier / "config.json", "alone again")
    assert contents(earlier)[1] == "alone again"


def test_what_a_killed_process_began_to_replace_is_finished(earlier, monkeypatch):
    journal = killed_while_renaming(earlier, monkeypatch)
    assert finish_replacing() == [str(earlier / "config.json")]
    assert contents(earlier) == ["new weights.bin", "new config.json"]
    assert not journal.exists()
    assert finish_replacing() == []


def test_it_is_given_up_where_something_newer_took_its_place(earlier, monkeypatch):
    killed_while_renaming(earlier, monkeypatch)
    for name in ("weights.bin", "config.json"):
        (earlier / name).unlink()
        (earlier / name).write_text("restored")
    assert finish_replacing() == []
    assert contents(earlier) == ["restored", "restored"]
    assert not hidden(earlier)


def test_a_process_that_is_renaming_is_left_alone(earlier, monkeypatch):
    journal = killed_while_renaming(earlier, monkeypatch)
    content = json.loads(journal.read_text())
    journal.write_text(json.dumps(content | {"process": os.getpid()}))
    assert finish_replacing() == []
    journal.write_text(json.dumps(content | {"host": "another"}))
    an_hour_ago = time.time() - 3600
    os.utime(journal, (an_hour_ago, an_hour_ago))
    assert finish_replacing() == [str(earlier / "config.json")]


def test_a_journal_that_cannot_be_followed_says_what_to_do(earlier, monkeypatch):
    journal = killed_while_renaming(earlier, monkeypatch)
    (earlier / "config.json").unlink()
    (earlier / "config.json").mkdir()
    (earlier / "config.json" / "mine").write_text("")
    with pytest.raises(UnavailableError, match=rf"give them up: rm {JOURNALS}"):
        finish_replacing()
    journal.write_text(json.dumps({"host": "another", "process": 1}))
    os.utime(journal, (0, 0))
    with pytest.raises(UnavailableError, match="names results of a killed run that cannot be put"):
        finish_replacing()


def test_temporary_files_of_another_machine_are_spared(tmp_path):
    theirs = tmp_path / ".partial-node2-4000000-result.txt"
    theirs.write_text("half")
    ours = tmp_path / f".partial-{_HOST}-4000000-result.txt"
    ours.write_text("half")
    write_text(tmp_path / "result.txt", "whole")
    assert theirs.exists()
    assert not ours.exists()


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    line = r"a.json: is a pipe or device, expected a file; run: "
    with pytest.raises(FormatError, match=line):
        read_text(tmp_path / "a.json", remedy="make it")
    with pytest.raises(FormatError, match=line):
        hash_file(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "of git-lfs, .* run: git lfs pull --inc"),
        (b"/annex/objects/MD5E-s1--2.nii.gz\n", "of git annex, .* run: datalad get"),
    ],
)
def test_a_pointer_says_how_the_file_is_fetched(tmp_path, content, line):
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(FormatError, match=rf"a\.nii\.gz: is a pointer {line}"):
        check_file(tmp_path / "a.nii.gz", "x")


def test_a_link_of_git_annex_whose_file_is_not_there(tmp_path):
    (tmp_path / "a.nii.gz").symlink_to(".git/annex/objects/Mw/1/a.nii.gz")
    with pytest.raises(MissingDataError, match=r"git annex has not fetched it; run: datalad get"):
        check_file(tmp_path / "a.nii.gz", "x")


def test_fields_that_a_document_must_have(tmp_path):
    write_json(tmp_path / "a.json", {"names": ["V1"], "n": 3})
    assert read_json(tmp_path / "a.json", remedy="x", fields={"names": (dict, list)})["n"] == 3
    with pytest.raises(FormatError, match=r"a.json: names: got \['V1'\], expected a dict; run: x"):
        read_json(tmp_path / "a.json", remedy="x", fields={"names": dict})
    with pytest.raises(FormatError, match=r"a.json: kind: got nothing, expected a str or list; ru"):
        read_json(tmp_path / "a.json", remedy="x", fields={"kind": (str, list)})


def test_a_journal_whose_process_ends_meanwhile_is_no_error(earlier, monkeypatch):
    journal = killed_while_renaming(earlier, monkeypatch)
    read = read_json

    def read_too_late(path, **options):
        journal.unlink()
        return read(path, **options)

    monkeypatch.setattr("fmri2img.project.files.read_json", read_too_late)
    assert finish_replacing() == []


def test_a_journal_that_cannot_be_written_leaves_nothing(earlier):
    (earlier / ".checkpoints").write_text("in the way")
    with pytest.raises(OSError, match="checkpoints"):
        write_two(earlier)
    assert contents(earlier) == ["old weights.bin", "old config.json"]
    assert not hidden(earlier)
    with replacing_together():  # one file needs no journal
        write_text(earlier / "config.json", "alone")
    assert contents(earlier)[1] == "alone"


def test_the_numbers_of_processes_mean_nothing_in_a_container_that_starts_again(
    earlier, monkeypatch
):
    journal = killed_while_renaming(earlier, monkeypatch)
    content = json.loads(journal.read_text())
    assert content["started"] == ""  # there is no such process
    journal.write_text(json.dumps(content | {"process": os.getpid(), "started": "1"}))
    assert finish_replacing() == [str(earlier / "config.json")]


def test_an_error_names_the_file_and_not_the_one_beside_it(tmp_path):
    def fail(error):
        with replacing(tmp_path / "result.txt") as partial:
            partial.write_text("half")
            raise error

    for error in (
        OSError(28, "No space left on device"),
        OSError(
            28,
            "No space left on device",
            str(tmp_path / f".partial-{_HOST}-{os.getpid()}-result.txt"),
        ),
    ):
        with pytest.raises(OSError, match="No space left") as told:
            fail(error)
        assert told.value.filename == str(tmp_path / "result.txt")


@pytest.mark.parametrize(
    "error", [OSError("in words"), MissingDataError("a.h5 not found; run: dvc pull")]
)
def test_an_error_in_words_keeps_them(tmp_path, error):
    def fail():
        with replacing(tmp_path / "result.txt") as partial:
            partial.write_text("half")
            raise error

    words = str(error)
    with pytest.raises(type(error)) as told:
        fail()
    assert str(told.value) == words

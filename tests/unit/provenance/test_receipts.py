import json
import os
from dataclasses import replace

import pytest

from conftest import ONE_PROCESS, raw_files_of
from fmri2img.project.exceptions import (
    ChangedDataError,
    FormatError,
    MismatchError,
    MissingDataError,
)
from fmri2img.project.files import hash_file
from fmri2img.project.layout import receipt_path
from fmri2img.provenance.receipts import Ledger, RawFiles, Receipt, raw_files

PATHS = ["nsddata/b.tsv", "nsddata/a.tsv"]


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "nsddata").mkdir()
    (tmp_path / "nsddata" / "a.tsv").write_bytes(b"12345")
    (tmp_path / "nsddata" / "b.tsv").write_bytes(b"678")
    return raw_files_of("subj05", tmp_path, PATHS)


def test_a_full_check_keeps_the_etags(tmp_path, raw):
    ledger = Ledger(tmp_path / "ledger.json")
    file = raw.root / "nsddata/a.tsv"
    ledger.remember(file, raw.receipt.files[0].sha256, "etag")
    replace(raw, ledger=ledger).check()
    assert ledger.vouches(file, "etag")
    file.write_bytes(b"54321")
    ledger.sha256(file)
    assert not ledger.vouches(file, "etag")


def test_round_trip_is_sorted_and_has_no_absolute_path(tmp_path, raw):
    raw.receipt.save(tmp_path / "receipt.json")
    assert str(tmp_path) not in (tmp_path / "receipt.json").read_text()
    assert [record.path for record in raw.receipt.files] == ["nsddata/a.tsv", "nsddata/b.tsv"]
    assert Receipt.open(tmp_path / "receipt.json", remedy="") == raw.receipt


@pytest.mark.parametrize(
    "content",
    [b"version https://git-lfs.github.com/spec/v1\n", b"/annex/objects/MD5E-s1--2.tsv\n"],
)
def test_a_pointer_gets_no_receipt(tmp_path, raw, content):
    (tmp_path / "nsddata/a.tsv").write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.tsv: is a pointer of git"):
        raw_files_of("subj05", tmp_path, PATHS)


def test_an_unchanged_file_is_found(raw):
    assert raw.locate("nsddata/a.tsv").read_bytes() == b"12345"


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (
            None,
            MissingDataError,
            "not found, expected 5 bytes; put it back, or fetch it again: dvc repro --force "
            "--single-item fetch_raw@subj05",
        ),
        (b"1234", ChangedDataError, "got 4 bytes, expected 5"),
        (b"12340", ChangedDataError, "got sha256 "),
    ],
)
def test_missing_and_changed_files_are_refused(raw, content, error, message):
    path = raw.root / "nsddata" / "a.tsv"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(error, match=message):
        raw.locate("nsddata/a.tsv")
    with pytest.raises(
        ChangedDataError,
        match=f"1 of 2 raw files of subj05 are missing or changed; first: .*a.tsv.*{message[:9]}",
    ):
        raw.check()


def test_a_damaged_copy_is_not_brought_back_by_recording_it_again(raw):
    words = "fetch_raw@subj05 (if the file is a copy of your own, replace it first)"
    assert raw.remedy.endswith(words)


def test_a_file_that_is_not_listed_is_refused(raw):
    with pytest.raises(MissingDataError, match=r"c\.tsv is not in the receipt of subj05"):
        raw.locate("nsddata/c.tsv")


def test_a_receipt_of_somebody_else_is_refused(raw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw.receipt.save(receipt_path("subj05"))
    assert raw_files("subj05", ONE_PROCESS).name == "subj05"
    raw.receipt.save(receipt_path("subj01"))
    line = r"subj01\.json belongs to subj05, expected subj01; run: dvc repro fetch_raw@subj01"
    with pytest.raises(MismatchError, match=line):
        raw_files("subj01", ONE_PROCESS)


def test_digest_follows_every_byte(raw):
    (raw.root / "nsddata" / "b.tsv").write_bytes(b"679")
    assert raw_files_of("subj05", raw.root, PATHS).receipt.digest() != raw.receipt.digest()


def test_only_the_notice_makes_a_tree_simulated(raw):
    assert raw.receipt.data_source == "nsd"
    (raw.root / "SIMULATED.txt").touch()
    assert raw_files_of("subj05", raw.root, PATHS).receipt.data_source == "simulated"


def test_the_ledger_spares_reading_and_forgets_nothing_that_changed(raw, tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "ledger.json")
    known = replace(raw, ledger=ledger)
    known.locate("nsddata/a.tsv")
    later = replace(raw, ledger=Ledger(tmp_path / "ledger.json"))
    with monkeypatch.context() as patch:
        patch.setattr("fmri2img.provenance.receipts.hash_file", None)
        assert later.locate("nsddata/a.tsv") == known.locate("nsddata/a.tsv")
    (raw.root / "nsddata" / "a.tsv").write_bytes(b"12340")
    with pytest.raises(ChangedDataError, match="got sha256"):
        later.locate("nsddata/a.tsv")


def test_check_reads_what_the_ledger_takes_for_known(raw, tmp_path):
    path, ledger = raw.root / "nsddata" / "a.tsv", Ledger(tmp_path / "ledger.json")
    known = replace(raw, ledger=ledger)
    before = path.stat()
    known.locate("nsddata/a.tsv")
    path.write_bytes(b"12340")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    known.locate("nsddata/a.tsv")
    with pytest.raises(ChangedDataError, match="1 of 2 raw files of subj05"):
        known.check()


def test_a_damaged_ledger_is_no_ledger(raw, tmp_path):
    (tmp_path / "ledger.json").write_text("{half")
    assert (
        RawFiles(raw.receipt, raw.root, Ledger(tmp_path / "ledger.json"))
        .locate("nsddata/b.tsv")
        .exists()
    )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"path": "../../etc/passwd"}, r"path '../../etc/passwd', expected one below the folder"),
        ({"path": "/etc/passwd"}, "path '/etc/passwd', expected one below the folder of raw files"),
        ({"path": ""}, "path '', expected one below"),
        ({"path": 7}, "path 7, expected one below"),
        ({"size": -1}, "size -1, expected a number of bytes"),
        ({"size": "5"}, "size '5', expected a number of bytes"),
        ({"sha256": "A" * 64}, "sha256 'AAA.*, expected 64 hexadecimal digits"),
        ({"more": 1}, "not a receipt of raw files"),
    ],
)
def test_a_receipt_that_somebody_made_up_is_refused(tmp_path, raw, change, line):
    path = tmp_path / "receipt.json"
    raw.receipt.save(path)
    content = json.loads(path.read_text())
    content["files"][1] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(FormatError, match=f"{line}.*; run: x"):
        Receipt.open(path, remedy="x")


@pytest.mark.parametrize("content", [{}, {"name": "a", "data_source": "nsd", "files": {}}])
def test_what_is_no_receipt(tmp_path, content):
    (tmp_path / "receipt.json").write_text(json.dumps(content))
    with pytest.raises(FormatError, match=r"receipt\.json: (name|files): got .*, expected a "):
        Receipt.open(tmp_path / "receipt.json", remedy="x")


@pytest.mark.parametrize("content", ["[]", "3", "null", '{"/x": 3}', '{"/x": [1]}', "[" * 100_000])
def test_a_ledger_of_another_form_is_no_ledger(raw, tmp_path, content):
    path = tmp_path / "ledger.json"
    path.write_text(content)
    file = tmp_path / "file"
    file.write_text("bytes")
    ledger = Ledger(path)
    assert not ledger.vouches(file, "etag")
    assert ledger.sha256(file) == hash_file(file)

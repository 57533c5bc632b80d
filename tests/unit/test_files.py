import hashlib

import pytest

from fmri2img.exceptions import ChangedDataError, FormatError, MissingDataError
from fmri2img.files import hash_file, read_json, replacing, write_json
from fmri2img.receipts import Receipt


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


def test_hash_agrees_with_hashlib(tmp_path):
    (tmp_path / "a").write_bytes(b"voxel" * 10_000)
    assert hash_file(tmp_path / "a", "md5") == hashlib.md5(b"voxel" * 10_000, usedforsecurity=False).hexdigest()


@pytest.fixture
def receipt(tmp_path):
    (tmp_path / "nsddata").mkdir()
    (tmp_path / "nsddata" / "a.tsv").write_bytes(b"12345")
    (tmp_path / "nsddata" / "b.tsv").write_bytes(b"678")
    return Receipt.of("subj05", "simulated", tmp_path, ["nsddata/b.tsv", "nsddata/a.tsv"])


def test_receipt_round_trip_is_sorted_and_has_no_absolute_path(tmp_path, receipt):
    receipt.save(tmp_path / "receipt.json")
    assert str(tmp_path) not in (tmp_path / "receipt.json").read_text()
    assert [record.path for record in receipt.files] == ["nsddata/a.tsv", "nsddata/b.tsv"]
    assert Receipt.open(tmp_path / "receipt.json", remedy="") == receipt


def test_receipt_finds_an_unchanged_file(tmp_path, receipt):
    assert receipt.locate(tmp_path, "nsddata/a.tsv").read_bytes() == b"12345"


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, MissingDataError, "not found, expected 5 bytes; run: dvc repro --force --single-item fetch_nsd@subj05"),
        (b"1234", ChangedDataError, "got 4 bytes, expected 5"),
        (b"12340", ChangedDataError, "got sha256 "),
    ],
)
def test_receipt_refuses_missing_and_changed_files(tmp_path, receipt, content, error, message):
    path = tmp_path / "nsddata" / "a.tsv"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(error, match=message):
        receipt.locate(tmp_path, "nsddata/a.tsv")


def test_receipt_refuses_a_file_it_does_not_list(tmp_path, receipt):
    with pytest.raises(MissingDataError, match=r"c\.tsv is not in the receipt of subj05"):
        receipt.locate(tmp_path, "nsddata/c.tsv")


def test_digest_follows_every_byte(tmp_path, receipt):
    (tmp_path / "nsddata" / "b.tsv").write_bytes(b"679")
    changed = Receipt.of("subj05", "simulated", tmp_path, ["nsddata/b.tsv", "nsddata/a.tsv"])
    assert changed.digest() != receipt.digest()

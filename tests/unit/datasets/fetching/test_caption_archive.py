import zipfile

import pytest

from fmri2img.datasets.fetching.caption_archive import fetch_captions
from fmri2img.project.exceptions import FormatError, UnavailableError

NAMES = ("captions_train2017.json", "captions_val2017.json")


def archive(path, names):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(f"annotations/{name}", f'{{"of": "{name}"}}')
    return path.as_uri()


def test_the_two_files_come_out_of_the_archive_once(tmp_path):
    url = archive(tmp_path / "a.zip", (*NAMES, "instances_val2017.json"))
    fetch_captions(url, tmp_path / "to")
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == sorted(NAMES)
    assert NAMES[1] in (tmp_path / "to" / NAMES[1]).read_text()
    (tmp_path / "a.zip").unlink()
    fetch_captions(url, tmp_path / "to")  # they are there


def test_what_is_not_the_archive_is_refused(tmp_path):
    with pytest.raises(
        FormatError,
        match=r"not an archive with captions_train2017.json, captions_val2017.json .* "
        r"fetch_captions.folder",
    ):
        fetch_captions(archive(tmp_path / "a.zip", NAMES[:1]), tmp_path / "to")
    (tmp_path / "b.zip").write_bytes(b"no zip")
    with pytest.raises(FormatError, match="not an archive with"):
        fetch_captions((tmp_path / "b.zip").as_uri(), tmp_path / "to")


def test_an_archive_that_cannot_be_had_says_what_to_do(tmp_path):
    with pytest.raises(
        UnavailableError, match=r"cannot be downloaded .* fetch it by hand, and name the folder"
    ):
        fetch_captions("http://127.0.0.1:9/captions.zip", tmp_path)

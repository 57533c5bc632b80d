import errno
import io
import tempfile
import zipfile

import pytest

from conftest import REPOSITORY
from fmri2img.datasets.fetching.caption_archive import fetch_captions
from fmri2img.project.exceptions import FormatError, UnavailableError
from fmri2img.project.params_file import load_params

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


def test_a_full_disk_is_not_the_servers_fault(tmp_path, monkeypatch):
    def full(source, name):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fmri2img.datasets.fetching.caption_archive._blocks", full)
    with pytest.raises(OSError, match="No space left") as caught:
        fetch_captions(archive(tmp_path / "a.zip", NAMES), tmp_path / "to")
    assert caught.value.filename == f"{tempfile.gettempdir()}/"


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fmri2img.datasets.fetching.caption_archive._LARGEST_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name in NAMES:
            file.writestr(f"annotations/{name}", b"0" * (1 << 22))
    with pytest.raises(FormatError, match=r"captions_train2017.json: more than 1 MiB, expected"):
        fetch_captions((tmp_path / "a.zip").as_uri(), tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())


class Answer(io.BytesIO):
    """What a server sends."""

    def __init__(self, content, length):
        super().__init__(content)
        self.headers = {"Content-Length": str(length)}


def test_cocos_own_archive_is_the_published_one(tmp_path, monkeypatch):
    asked = {}

    def answer(url, timeout):
        asked["timeout"] = timeout
        return Answer(b"something else", 14)

    monkeypatch.setattr("urllib.request.urlopen", answer)
    with pytest.raises(FormatError, match=r"SHA-1 [0-9a-f]{40}, expected 8551ee4bb5860311e79"):
        fetch_captions(load_params(REPOSITORY / "params.yaml").fetch_captions.url, tmp_path)
    assert asked["timeout"] == 60


def test_a_transfer_that_breaks_off_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Answer(b"123", 14))
    with pytest.raises(UnavailableError, match="broke off after 3 of 14 bytes; run the same"):
        fetch_captions("https://lab.example/a.zip", tmp_path)

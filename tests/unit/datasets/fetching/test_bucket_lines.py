"""What a bucket refuses, and what the disk does, is told with the object's name."""

import errno
import threading
from pathlib import PurePosixPath
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from conftest import BUCKET
from fmri2img.datasets.fetching.bucket import Bucket
from fmri2img.project.exceptions import MissingDataError, UnavailableError

OBJECT = SimpleNamespace(
    file=SimpleNamespace(path=PurePosixPath("nsddata/x.mat")), part_path="raw/nsddata/x.mat.part"
)


def fetch(monkeypatch, error):
    def fail(self, *arguments):
        raise error

    monkeypatch.setattr(Bucket, "_fetch_once", fail)
    bucket = Bucket(BUCKET, 1)
    with bucket._told():
        bucket._fetch(OBJECT, 0, threading.Event(), int)


@pytest.mark.parametrize(
    ("code", "kind", "line"),
    [
        ("AccessDenied", UnavailableError, r"the server refused \(AccessDenied\)"),
        ("NoSuchKey", MissingDataError, r"not found \(NoSuchKey\)"),
    ],
)
def test_the_object_is_named(monkeypatch, code, kind, line):
    error = ClientError({"Error": {"Code": code}}, "GetObject")
    with pytest.raises(kind, match=rf"^nsddata/x\.mat in s3://natural-scenes-dataset: {line}"):
        fetch(monkeypatch, error)


def test_a_full_disk_is_that_of_the_raw_files(monkeypatch):
    with pytest.raises(OSError, match="No space left") as caught:
        fetch(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    assert caught.value.filename == "raw/nsddata/x.mat.part"

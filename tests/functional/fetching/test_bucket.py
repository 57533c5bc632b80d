"""Transfers from a real S3 server on loopback, with the miniature tree as the bucket's content."""

import hashlib
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from botocore.exceptions import EndpointConnectionError
from botocore.response import StreamingBody
from filelock import FileLock
from moto.s3.models import s3_backends
from urllib3.exceptions import ProtocolError

from conftest import BUCKET, ONE_PROCESS, REPOSITORY, SUBJECT
from fmri2img.datasets.fetching.bucket import Bucket
from fmri2img.datasets.fetching.fetch import fetch_bucket, list_bucket, use_local
from fmri2img.datasets.fetching.partial import PartialFile, RemoteFile, hash_with_etag
from fmri2img.datasets.nsd.paths import EXPDESIGN, STIM_INFO, STIMULI, own_stimuli
from fmri2img.project.exceptions import (
    ChangedDataError,
    ConfigError,
    MissingDataError,
    UnavailableError,
)
from fmri2img.project.nsd_params import RealNsdParams
from fmri2img.project.progress import byte_progress
from fmri2img.provenance.receipts import Ledger, RawFiles, Receipt

MIB = 1 << 20


@pytest.fixture
def bucket(request, client, make_bucket, miniature):
    """A bucket of its own for each test, with the miniature subject's files."""
    name = "nsd-" + hashlib.md5(request.node.name.encode(), usedforsecurity=False).hexdigest()
    make_bucket(name)
    needs_runs = "time_series" in request.node.name
    tables = [record for record in miniature.shared.receipt.files if record.path.endswith(".ctab")]
    for record in (*miniature.raw.receipt.files, *tables):
        is_run = record.path.startswith("nsddata_timeseries")
        # The server reads the whole of a file for each part that it sends: no large ones.
        if (needs_runs or not is_run) and record.path != str(own_stimuli(SUBJECT)):
            client.upload_file(str(miniature.root / record.path), name, record.path)
    client.upload_file(str(miniature.root / "SIMULATED.txt"), name, "SIMULATED.txt")
    return name


@pytest.fixture
def params(miniature, bucket, server):
    """Settings as `load_params` gives them, as far as fetching reads them."""
    s3 = BUCKET.model_copy(update={"bucket": bucket, "endpoint_url": server})
    values = miniature.nsd.model_dump(exclude={"simulation"})
    return RealNsdParams(**values, source="s3", accept_nsd_terms=True, s3=s3)


def changed(params, **s3):
    return params.model_copy(update={"s3": params.s3.model_copy(update=s3)})


def fetch(params, root, ledger=None, name=SUBJECT):
    machine = ONE_PROCESS.model_copy(update={"raw_root": str(root)})
    return fetch_bucket(name, params, machine, ledger or Ledger(None), watch=byte_progress)


def betas_key(miniature, session=20):
    return str(miniature.subject.files.betas("b3", session, "hdf5"))


def stored_key(bucket, key):
    return s3_backends["123456789012"]["global"].buckets[bucket].keys[key]


def test_bucket_and_tree_give_the_same_receipt(miniature, params, tmp_path):
    receipt = fetch(params, tmp_path / "nsd")
    local = use_local(SUBJECT, params, miniature.root, Ledger(None), watch=byte_progress)
    files = [record for record in local.files if record.path != str(own_stimuli(SUBJECT))]
    assert receipt == replace(local, files=tuple(files))
    assert receipt.data_source == "simulated"
    assert not list((tmp_path / "nsd").rglob("*.part*"))


def test_only_what_params_name_is_fetched(miniature, params, tmp_path):
    params = params.model_copy(update={"sessions": [21], "rois": ["streams"]})
    names = [record.path for record in fetch(params, tmp_path).files]
    assert [name for name in names if "betas_session" in name] == [betas_key(miniature, 21)]
    assert [name.split("/")[-1] for name in names if "/roi/" in name] == [
        "streams.nii.gz",
        "streams.nii.gz",
    ]
    assert not [name for name in names if "timeseries" in name]


def test_time_series_are_fetched_in_place_of_betas(miniature, params, tmp_path):
    params = params.model_copy(update={"sessions": [21], "responses": "timeseries"})
    names = [record.path for record in fetch(params, tmp_path).files]
    runs = [name.split("_")[-1] for name in names if "/timeseries/" in name]
    assert runs == [f"run{run:02d}.nii.gz" for run in range(2, 14)]  # 01 and 14 are rest
    assert not [name for name in names if "betas_session" in name]


def test_a_second_fetch_brings_nothing(params, tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "ledger.json")
    first = fetch(params, tmp_path / "nsd", ledger)
    monkeypatch.setattr(Bucket, "_fetch", lambda *_: pytest.fail("fetched again"))
    assert fetch(params, tmp_path / "nsd", Ledger(tmp_path / "ledger.json")) == first
    # A lost ledger costs reading, not fetching.
    assert fetch(params, tmp_path / "nsd", Ledger(None)) == first


def test_a_damaged_file_is_fetched_again(miniature, params, tmp_path):
    first = fetch(params, tmp_path)
    path = tmp_path / betas_key(miniature)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"x")
    assert fetch(params, tmp_path) == first
    assert path.read_bytes() == good


def test_a_file_tampered_with_after_the_fetch_is_caught(miniature, params, tmp_path):
    ledger = Ledger(tmp_path / "ledger.json")
    raw = RawFiles(fetch(params, tmp_path, ledger), tmp_path, ledger)
    path = tmp_path / betas_key(miniature)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ChangedDataError,
        match=r"betas_session20.hdf5: got sha256 .* expected .* as in the receipt; put the "
        r"recorded file back; .*: dvc repro --force",
    ):
        raw.locate(miniature.subject.files.betas("b3", 20, "hdf5"))


def test_a_wrong_etag_is_caught_and_nothing_is_kept(miniature, params, bucket, tmp_path):
    stored_key(bucket, betas_key(miniature))._etag = "0" * 32
    with pytest.raises(
        ChangedDataError,
        match=r"betas_session20.hdf5: got ETag [0-9a-f]{32}, expected 0{32} as listed by s3://nsd-",
    ):
        fetch(params, tmp_path)
    assert not (tmp_path / betas_key(miniature)).exists()
    assert not list(tmp_path.rglob("betas_session20.hdf5*"))


def test_missing_sessions_are_named(miniature, params, client, bucket, tmp_path):
    for session in (20, 21):
        client.delete_object(Bucket=bucket, Key=betas_key(miniature, session))
    with pytest.raises(
        MissingDataError,
        match=r"2 of \d+ files of subj02 are missing: .*betas_session20.hdf5, "
        r".*betas_session21.hdf5; complete",
    ):
        fetch(params, tmp_path)
    assert not list(tmp_path.iterdir())


def test_terms_have_to_be_accepted(params, tmp_path):
    params = params.model_copy(update={"accept_nsd_terms": False})
    with pytest.raises(
        ConfigError,
        match=r"accept_nsd_terms: got false; read and accept NSD's terms "
        r"\(https://naturalscenesdataset.org",
    ):
        fetch(params, tmp_path)


def test_the_listing_comes_before_the_first_byte(params, caplog):
    caplog.set_level(logging.INFO)
    _, files = list_bucket(SUBJECT, params, 2)
    assert (
        f"{len(files):5d} files {sum(file.size for file in files) / 1e9:9.3f} GB  subj02, total"
        in caplog.text
    )


def test_no_network(params, tmp_path, monkeypatch):
    monkeypatch.setattr("fmri2img.datasets.fetching.bucket._ATTEMPTS", 2)
    with pytest.raises(
        UnavailableError,
        match=r"s3://nsd-.* at http://127.0.0.1:9: no connection .* finished parts are kept",
    ):
        fetch(changed(params, endpoint_url="http://127.0.0.1:9"), tmp_path)


def test_no_such_bucket(params, tmp_path):
    with pytest.raises(
        MissingDataError,
        match=r"s3://nobody at .*: not found \(NoSuchBucket\); check datasets.nsd.s3",
    ):
        fetch(changed(params, bucket="nobody"), tmp_path)


def test_a_full_disk_is_told_before_the_first_byte(params, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(
        ConfigError,
        match=r"0.0 GB are still to be downloaded, but only 0.0 GB are free; make room, set "
        r"machine.raw_root",
    ):
        fetch(params, tmp_path / "nsd")
    assert [path.name for path in (tmp_path / "nsd").iterdir()] == [".fetch-subj02.lock"]


def test_real_files_do_not_mix_with_simulated_ones(params, client, bucket, tmp_path):
    client.delete_object(Bucket=bucket, Key="SIMULATED.txt")
    (tmp_path / "SIMULATED.txt").touch()
    with pytest.raises(ConfigError, match=r"holds simulated files; set machine.raw_root"):
        fetch(params, tmp_path)


def test_an_object_uploaded_in_parts(params, client, bucket, miniature, tmp_path):
    content = np.random.default_rng(0).bytes(13 * MIB + 5)
    upload = client.create_multipart_upload(Bucket=bucket, Key=betas_key(miniature))["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(content), 5 * MIB), start=1):
        part = {
            "Bucket": bucket,
            "Key": betas_key(miniature),
            "UploadId": upload,
            "PartNumber": number,
        }
        parts.append(
            {
                "PartNumber": number,
                "ETag": client.upload_part(**part, Body=content[start : start + 5 * MIB])["ETag"],
            }
        )
    client.complete_multipart_upload(
        Bucket=bucket, Key=betas_key(miniature), UploadId=upload, MultipartUpload={"Parts": parts}
    )
    fetch(params, tmp_path)
    assert (tmp_path / betas_key(miniature)).read_bytes() == content
    fetch(params, tmp_path)


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(
    params, client, bucket, miniature, tmp_path, monkeypatch
):
    content = np.random.default_rng(1).bytes(2 * MIB + 5)
    client.put_object(Bucket=bucket, Key=betas_key(miniature), Body=content)
    whole, came, first_is_here = Bucket._fetch, [], threading.Event()

    def watched(self, partial, part, stop, on_bytes):
        whole(self, partial, part, stop, on_bytes)
        came.append((partial.file.path.name, part))

    def unlucky(self, partial, part, stop, on_bytes):
        if partial.file.path.name == "betas_session20.hdf5" and part:
            first_is_here.wait(10)
            raise EndpointConnectionError(endpoint_url="http://cable-pulled")
        watched(self, partial, part, stop, on_bytes)
        if partial.file.path.name == "betas_session20.hdf5":
            first_is_here.set()

    monkeypatch.setattr(Bucket, "_fetch", unlucky)
    with pytest.raises(
        UnavailableError, match=r"no connection .*cable-pulled.*finished parts are kept"
    ):
        fetch(params, tmp_path)
    monkeypatch.setattr(Bucket, "_fetch", watched)
    fetch(params, tmp_path)
    assert [part for name, part in sorted(came) if name == "betas_session20.hdf5"] == [0, 1, 2]
    assert (tmp_path / betas_key(miniature)).read_bytes() == content


def test_killed_in_the_middle_then_resumed_and_verified(
    params, client, bucket, miniature, server, tmp_path
):
    content = np.random.default_rng(2).bytes(64 * MIB)
    client.put_object(Bucket=bucket, Key=betas_key(miniature), Body=content)
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    values["subjects"] = values["population"] = [SUBJECT]
    values["dataset"], nsd = "nsd", values["datasets"]["nsd"]
    nsd["sessions"] = miniature.nsd.sessions
    values["machine"]["n_connections"] = 2
    nsd |= {"source": "s3", "accept_nsd_terms": True}
    nsd["s3"] |= {"bucket": bucket, "endpoint_url": server, "part_mib": 1}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "stages.fetch_raw", "--subject", SUBJECT]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    target = tmp_path / "data" / "raw" / betas_key(miniature)
    journal = target.with_name(target.name + ".part.journal")
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_text().count("\n") > 8):
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = journal.read_text().count("\n") - 1
    assert 8 <= done < 64
    assert not target.exists()
    assert not (tmp_path / "data/receipts" / f"{SUBJECT}.json").exists()
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert target.read_bytes() == content
    checked = subprocess.run([*command, "--check"], cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0
    assert checked.stdout.startswith(f"{SUBJECT}: all ")
    os.truncate(target, len(content) - 1)
    raw = RawFiles(
        Receipt.open(tmp_path / "data/receipts/subj02.json", remedy=""),
        tmp_path / "data/raw",
        Ledger(None),
    )
    with pytest.raises(
        ChangedDataError,
        match=r"1 of \d+ raw files of subj02 are missing or changed; first: "
        r".*betas_session20.hdf5: got",
    ):
        raw.check()


def test_shared_files(params, client, bucket, tmp_path):
    for path in (EXPDESIGN, STIM_INFO, STIMULI):
        client.put_object(Bucket=bucket, Key=str(path), Body=path.name.encode())
    receipt = fetch(params, tmp_path, name="shared")
    assert {record.path for record in receipt.files} == {
        str(EXPDESIGN),
        str(STIM_INFO),
        str(STIMULI),
        "SIMULATED.txt",
    }


@pytest.mark.parametrize("size", [0, 1, MIB, 3 * MIB + 7])
def test_etags_are_md5_of_the_whole_or_of_the_parts(tmp_path, size, caplog):
    content = np.random.default_rng(size).bytes(size)
    (tmp_path / "file").write_bytes(content)
    md5 = lambda data: hashlib.md5(data, usedforsecurity=False)  # noqa: E731
    sha256, etag = hash_with_etag(tmp_path / "file", [size], "0" * 32)
    assert (sha256, etag) == (hashlib.sha256(content).hexdigest(), md5(content).hexdigest())
    sizes = [size // 3, size // 2, size - size // 3 - size // 2]  # of any length
    parts = [
        md5(content[end - one : end]).digest()
        for one, end in zip(sizes, np.cumsum(sizes), strict=True)
    ]
    assert hash_with_etag(tmp_path / "file", sizes, "0" * 32 + "-3") == (
        sha256,
        f"{md5(b''.join(parts)).hexdigest()}-3",
    )
    assert not caplog.records
    for unknown, listed in ((None, "0" * 32 + "-3"), ([size], "not-a-checksum")):
        assert hash_with_etag(tmp_path / "file", unknown, listed) == (sha256, listed)
    assert "the size agrees" in caplog.text


def test_an_object_of_unequal_parts_is_verified(params, client, bucket, miniature, tmp_path):
    content = np.random.default_rng(3).bytes(12 * MIB)
    key = {"Bucket": bucket, "Key": betas_key(miniature)}
    upload, parts, bounds = (
        client.create_multipart_upload(**key)["UploadId"],
        [],
        (0, 5 * MIB, 11 * MIB, 12 * MIB),
    )
    for number, (start, end) in enumerate(itertools.pairwise(bounds), start=1):
        answer = client.upload_part(
            **key, UploadId=upload, PartNumber=number, Body=content[start:end]
        )
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    client.complete_multipart_upload(**key, UploadId=upload, MultipartUpload={"Parts": parts})
    fetch(params, tmp_path)
    assert (tmp_path / betas_key(miniature)).read_bytes() == content


def test_a_body_that_breaks_off_is_asked_for_again(params, miniature, tmp_path, monkeypatch):
    whole, broken = StreamingBody.iter_chunks, []

    def cut(self, size):
        for block in whole(self, size):
            if len(block) == MIB and not broken:
                broken.append(True)
                raise ProtocolError("connection reset by peer")
            yield block

    monkeypatch.setattr(StreamingBody, "iter_chunks", cut)
    fetch(params, tmp_path)
    assert broken
    assert (tmp_path / betas_key(miniature)).read_bytes() == (
        miniature.root / betas_key(miniature)
    ).read_bytes()


def test_two_processes_do_not_fetch_the_same_files(params, tmp_path):
    with (
        FileLock(tmp_path / f".fetch-{SUBJECT}.lock"),
        pytest.raises(UnavailableError, match="another process is fetching subj02 into"),
    ):
        fetch(params, tmp_path)


def test_a_bad_endpoint(params, tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"datasets.nsd.s3: Invalid endpoint: nowhere; correct endpoint_url or region",
    ):
        fetch(changed(params, endpoint_url="nowhere"), tmp_path)


def test_a_journal_of_another_object_or_a_cut_line_does_not_count(tmp_path):
    file = RemoteFile(STIMULI, 10, "a" * 32)
    partial = PartialFile.open(tmp_path / "x", file, 4)
    for part in (0, 2):
        partial.note(part)
    assert PartialFile.open(tmp_path / "x", file, 4).missing() == [1]
    with partial.journal_path.open("a") as journal:
        journal.write("1")  # the power went before the end of the line
    assert PartialFile.open(tmp_path / "x", file, 4).missing() == [1]
    assert PartialFile.open(tmp_path / "x", RemoteFile(STIMULI, 10, "b" * 32), 4).missing() == [
        0,
        1,
        2,
    ]

"""The demo, then another source of data, as the page says it."""

import logging
import re

import boto3
import pytest
from moto.server import ThreadedMotoServer

from conftest import REPOSITORY, SUBJECT
from miniature import changed_params, clone
from pipeline.projects import run

BUCKET = "natural-scenes-dataset"


@pytest.fixture
def endpoint(pair_template, monkeypatch):
    """A server that holds the raw files of the finished miniature as NSD's public bucket does."""
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "anything")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=address, region_name="us-east-2")
    place = {"LocationConstraint": "us-east-2"}
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place, ACL="public-read")
    raw = pair_template / "data/raw"
    for path in sorted(raw.rglob("*")):
        if path.is_file() and "coco" not in path.parts:
            key = path.relative_to(raw).as_posix()
            client.upload_file(str(path), BUCKET, key, ExtraArgs={"ACL": "public-read"})
    yield address
    server.stop()


def commands_of_the_page():
    """The commands below "The public bucket", for the miniature's subject."""
    text = (REPOSITORY / "docs/real-nsd.md").read_text(encoding="utf-8")
    block = re.search(r"## The public bucket\n.*?```console\n(.*?)```", text, re.DOTALL)[1]
    lines = [line.removeprefix("$ ").partition("#")[0] for line in block.splitlines()]
    return [line.replace("subj01", SUBJECT).split() for line in lines]


@pytest.mark.slow
def test_the_public_bucket_after_the_demo(pair_template, endpoint, tmp_path):
    project = clone(pair_template, tmp_path / "project")
    with changed_params(project) as params:
        params["dataset"] = "nsd"
        nsd = params["datasets"]["nsd"]
        nsd |= {"source": "s3", "accept_nsd_terms": True, "sessions": [20]}
        # Some megabytes in one part: this server reads the whole of a file for each.
        nsd["s3"] |= {"endpoint_url": endpoint, "part_mib": 512}
        params["machine"]["raw_root"] = str(tmp_path / "nsd")
    listing, fetching, checking = commands_of_the_page()
    assert f"{SUBJECT}, total" in run(project, *listing).stderr
    assert not (tmp_path / "nsd").exists()
    result = run(project, *fetching)
    assert result.returncode == 0, result.stderr
    assert run(project, *checking).stdout.startswith(f"{SUBJECT}: all ")
    result = run(project, "fmri2img", "repro")
    assert result.returncode == 0, result.stderr[-3000:]
    assert (project / "reports/comparison.md").read_text(encoding="utf-8").count("simulated") > 0
    assert run(project, "fmri2img", "why").stdout.endswith("stages are up to date\n")
    # Without the files of locks.
    fetched = {path.name for path in (tmp_path / "nsd").rglob("[!.]*") if path.is_file()}
    held = {path.name for path in (project / "data/raw").rglob("*") if path.is_file()}
    assert fetched <= held | {"SIMULATED.txt"}

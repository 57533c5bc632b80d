"""A real S3 server on loopback."""

import json
import logging

import boto3
import pytest
from moto.server import ThreadedMotoServer

KEYS = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anything"}


@pytest.fixture(scope="module")
def server():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def client(server):
    return boto3.client("s3", endpoint_url=server, region_name="us-east-2", **KEYS)


@pytest.fixture(scope="module")
def make_bucket(client):
    """A function that makes a bucket that everybody may read."""

    def make(name):
        where = {"LocationConstraint": "us-east-2"}
        client.create_bucket(Bucket=name, CreateBucketConfiguration=where)
        everybody = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": f"arn:aws:s3:::{name}/*",
        }
        policy = {"Version": "2012-10-17", "Statement": [everybody]}
        client.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))

    return make

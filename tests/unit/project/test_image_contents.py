"""What goes into the container image, named files and nothing of a dataset; who may do what in
the team's server.
"""

import fnmatch
import json
import re
import subprocess
from pathlib import PurePosixPath

import pytest
import yaml

from conftest import REPOSITORY

RULES = [
    line
    for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def matches(path, pattern):
    """Whether a pattern names a path or a folder above it, as Docker reads patterns."""
    parts = PurePosixPath(path).parts
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatchcase(part, pattern[3:]) for part in parts)
    depth = len(PurePosixPath(pattern).parts)
    heads = zip(parts[:depth], PurePosixPath(pattern).parts, strict=False)
    return len(parts) >= depth and all(fnmatch.fnmatchcase(*pair) for pair in heads)


def is_in_image(path):
    """The last rule that matches decides."""
    kept = True
    for rule in RULES:
        if matches(path, rule.removeprefix("!")):
            kept = rule.startswith("!")
    return kept


@pytest.mark.parametrize(
    "path",
    [
        "data/raw/nsddata/ppdata/subj01/x.nii.gz",
        "data/receipts/subj01.json",
        "data/rois/subj01.nii.gz",
        "data/voxels/subj01.h5",
        "data/examples/subj01.h5",
        "data/truth/subj01.h5",
        "data/prior/subj01.h5",
        "data/latents/subj01.h5",
        "data/captions/subj01/takagi.json",
        "data/targets/subj01/takagi.h5",
        "data/reconstructions/subj01/ridge.h5",
        "data/splits/subj01.json",
        "data/fingerprints/train.txt",
        "reports/runs/subj01/ridge.html",
        "reports/gallery/subj01/ridge.html",
        "reports/comparison.html",
        "reports/index.html",
        "reports/comparison.png",
        "reports/scores/subj01/ridge.csv",
        "reports/repetitions/subj01/ridge.csv",
        "reports/latent_maps/subj01/ridge.csv",
        "models/subj01/ridge/model.safetensors",
        "rois/subj01/lh.mine.mgz",
        "rois/mine.nii.gz",
        "demo_remote/files/md5/00/11",
        "demo_remote.new/a",
        "exports/subj01.npz",
        "mlflow.db",
        "mlruns/1/a",
        "mlartifacts/1/a",
        ".checkpoints/subj01/a.safetensors",
        ".verified/subj01.json",
        "logs/subj01/ridge.jsonl",
        ".env",
        ".dvc/config.local",
        ".dvc/cache/files/md5/00/11",
        ".dvc/tmp/lock",
        ".venv/bin/python",
        "accepted.json",
        "optuna.db",
        "notes.txt",
        "subj01_betas.npy",
        "src/fmri2img.egg-info/PKG-INFO",
        "src/fmri2img/__pycache__/a.pyc",
        ".ruff_cache/a",
    ],
)
def test_what_a_used_checkout_holds_stays_out(path):
    assert not is_in_image(path)


@pytest.mark.functional
def test_what_the_project_needs_goes_in_or_comes_from_git():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    absent = {path for path in listed if not is_in_image(path)}
    from_git = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    [restored] = [line for line in from_git.splitlines() if line.startswith("RUN git restore ")]
    folders = restored.split()[3:]
    assert {path.split("/")[0] for path in absent} == set(folders)


def test_the_team_servers_user_may_touch_its_bucket_only():
    """SeaweedFS takes identities from a file, and refuses whoever is not in it."""
    text = (REPOSITORY / "compose.yaml").read_text(encoding="utf-8")
    compose = yaml.safe_load(text)
    filled_in = re.sub(r"\$\{(\w+)[^}]*\}", r"\1", compose["configs"]["s3"]["content"])
    [user] = json.loads(filled_in)["identities"]
    assert user["credentials"] == [{"accessKey": "STORAGE_USER", "secretKey": "STORAGE_PASSWORD"}]
    assert {action.partition(":")[2] for action in user["actions"]} == {"mlflow"}
    assert not {"Admin"} & {action.partition(":")[0] for action in user["actions"]}
    assert "ROOT" not in text
    served = compose["services"]["mlflow"]["environment"]["MLFLOW_S3_ENDPOINT_URL"]
    assert served == "http://storage:8333"
    assert "-s3.port=8333" in compose["services"]["storage"]["command"]


def test_images_are_pinned():
    text = (REPOSITORY / "compose.yaml").read_text(encoding="utf-8")
    images = re.findall(r"image: (\S+)", text)
    assert images
    assert all(re.search(r":[\w.-]*\d", image) for image in images)

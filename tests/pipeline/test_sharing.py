"""A colleague without NSD: push at one place, pull at another, go on from there on the same
bytes.
"""

import contextlib
import json
import logging
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from conftest import REPOSITORY
from fmri2img.cli import sharing_verbs
from fmri2img.containers.trial_betas import TrialBetas
from miniature import changed_params
from pipeline.projects import kill_when, run

KEYS = {
    "AWS_ACCESS_KEY_ID": "anybody",
    "AWS_SECRET_ACCESS_KEY": "anything",
    "AWS_DEFAULT_REGION": "us-east-2",
    "AWS_MAX_ATTEMPTS": "1",
}
RAN = re.compile(r"Running stage '([^']+)'")


@pytest.fixture(scope="module")
def server():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(scope="module")
def folder_remote(project, tmp_path_factory):
    """A folder that holds everything the project made."""
    folder = tmp_path_factory.mktemp("lab")
    run(project, "dvc", "remote", "add", "--local", "--force", "lab", str(folder))
    result = run(project, "fmri2img", "share", "--remote", "lab", "--everything")
    assert "MB  in all, remote lab" in result.stdout
    return folder


def clone(project, folder, url=None):
    """The project in another place, with the remote and without any data."""
    run(folder.parent, "git", "clone", "-q", str(project), str(folder))
    if url is not None:
        run(folder, "dvc", "remote", "add", "--local", "lab", url)
    assert not (folder / "data/raw").exists()
    return folder


def why(project):
    return run(project, "fmri2img", "why").stdout.splitlines()


def md5s(project):
    stages = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def test_pulled_files_are_up_to_date_and_registered(project, folder_remote, tmp_path):
    colleague = clone(project, tmp_path / "colleague", str(folder_remote))
    run(colleague, "fmri2img", "pull", "--remote", "lab", "--everything")
    assert "Data and pipelines are up to date." in run(colleague, "dvc", "repro").stdout
    listed = run(colleague, "fmri2img", "list").stdout.splitlines()[1:]
    assert [line.split()[:2] for line in listed] == [
        ["fmri2img-basic_ae-subj02", "1"],
        ["fmri2img-ridge-subj02", "1"],
    ]
    assert sum("champion" in line for line in listed) == 1
    for path in ("data/voxels/subj02.h5", "data/latents/subj02.h5"):
        assert (colleague / path).read_bytes() == (project / path).read_bytes()
    with changed_params(colleague) as params:
        params["train"]["ridge"]["penalties"] = [10, 1000]
    assert (
        why(colleague)[0]
        == "train@subj02-ridge: params.yaml: train.ridge.penalties was [10, 100, 1000, 10000, "
        "100000, 1000000], is [10, 1000]"
    )
    stale = {name for line in why(colleague)[1:] for name in line.partition(": ")[0].split(", ")}
    evaluations = {"evaluate@subj02-ridge", "evaluate@subj02-basic_ae"}  # each after another stage
    others = {"predict@subj02-ridge", "score_references@subj02", "map_voxels@subj02", "compare"}
    assert stale == others | evaluations
    assert not (colleague / "data/raw").exists()


@pytest.mark.slow
def test_pulled_files_are_up_to_date_and_a_change_reruns_only_what_it_touches(
    project, folder_remote, tmp_path
):
    colleague = clone(project, tmp_path / "colleague", str(folder_remote))
    run(colleague, "fmri2img", "pull", "--remote", "lab", "--everything")
    assert "Data and pipelines are up to date." in run(colleague, "dvc", "repro").stdout
    with changed_params(colleague) as params:
        params["train"]["ridge"]["penalties"] = [10, 1000]
    ran = RAN.findall(run(colleague, "dvc", "repro").stdout)
    of_ridge = ["train@subj02-ridge", "predict@subj02-ridge", "score_references@subj02"]
    evaluations = ["evaluate@subj02-ridge", "evaluate@subj02-basic_ae"]
    assert sorted(ran) == sorted([*of_ridge, *evaluations, "map_voxels@subj02", "compare"])
    before, after = md5s(project), md5s(colleague)
    changed = {path for path in before if before[path] != after[path]}
    assert changed
    # Every table has ridge as a row, so the other encoder's table changes too; nothing that it was
    # made from does.
    of_tables = {
        "reports/index.html",
        "reports/headlines.json",
        "reports/metrics/subj02/basic_ae.json",
        "reports/runs/subj02/basic_ae.html",
        "reports/references/subj02.json",
    }
    assert all("ridge" in path or "comparison" in path for path in changed - of_tables)
    assert not (colleague / "data/raw").exists()


def test_without_trained_models_training_follows_and_nothing_above_it(
    project, folder_remote, tmp_path
):
    colleague = clone(project, tmp_path / "colleague", str(folder_remote))
    run(colleague, "fmri2img", "pull", "--remote", "lab")
    assert not (colleague / "models/subj02").exists()
    assert not RAN.findall(run(colleague, "dvc", "repro", "encode_latents").stdout)
    status = json.loads(run(colleague, "dvc", "status", "--json").stdout)
    assert {name.split("@")[0] for name in status} == {
        "fit_encoding_model",
        "train",
        "predict",
        "score_references",
        "evaluate",
        "map_voxels",
        "compare",
    }


def test_s3_round_trip(project, server, tmp_path, monkeypatch):
    for key, value in KEYS.items():
        monkeypatch.setenv(key, value)
    client = boto3.client("s3", endpoint_url=server)
    client.create_bucket(
        Bucket="lab", CreateBucketConfiguration={"LocationConstraint": "us-east-2"}
    )
    colleague = clone(project, tmp_path / "colleague", "s3://lab/voxels")
    run(project, "dvc", "remote", "add", "--local", "cloud", "s3://lab/voxels")
    for place, name in ((project, "cloud"), (colleague, "lab")):
        run(place, "dvc", "remote", "modify", "--local", name, "endpointurl", server)
    run(project, "fmri2img", "share", "--remote", "cloud", "--everything")
    keys = [
        item["Key"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket="lab")
        for item in page["Contents"]
    ]
    assert {key.split("/md5/")[1].replace("/", "") for key in keys} >= {
        md5s(project)["data/voxels/subj02.h5"]
    }
    run(colleague, "fmri2img", "pull", "--remote", "lab", "--everything")
    assert "Data and pipelines are up to date." in run(colleague, "dvc", "repro").stdout
    assert md5s(colleague) == md5s(project)


def test_a_tampered_object_is_refused_and_named(project, folder_remote, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(folder_remote, damaged)
    md5 = md5s(project)["data/voxels/subj02.h5"]
    path = damaged / "files/md5" / md5[:2] / md5[2:]
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    colleague = clone(project, tmp_path / "colleague", str(damaged))
    result = run(colleague, "fmri2img", "pull", "--remote", "lab", check=False)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        "error: remote lab: the object of data/voxels/subj02.h5 does not have the recorded bytes"
    )
    assert not (colleague / "data/voxels/subj02.h5").exists()


def has_objects(folder):
    return any(folder.rglob("files/md5/*/*"))


def test_a_killed_push_and_a_killed_pull_are_resumed(project, tmp_path):
    remote = tmp_path / "slow"
    run(project, "dvc", "remote", "add", "--local", "--force", "slow", str(remote))
    share = ["fmri2img", "share", "--remote", "slow", "--everything"]
    assert kill_when(lambda: has_objects(remote), project, *share)
    run(project, *share)
    colleague = clone(project, tmp_path / "colleague", str(remote))
    pull = ["fmri2img", "pull", "--remote", "lab", "--everything"]
    assert kill_when(lambda: has_objects(colleague / ".dvc/cache"), colleague, *pull)
    run(colleague, *pull)
    assert "Data and pipelines are up to date." in run(colleague, "dvc", "repro").stdout
    for path in ("data/voxels/subj02.h5", "data/latents/subj02.h5"):
        assert (colleague / path).read_bytes() == (project / path).read_bytes()


def test_a_remote_that_lacks_a_file_is_told_and_the_rest_arrives(project, folder_remote, tmp_path):
    lacking = tmp_path / "lacking"
    shutil.copytree(folder_remote, lacking)
    md5 = md5s(project)["data/latents/subj02.h5"]
    (lacking / "files/md5" / md5[:2] / md5[2:]).unlink()
    colleague = clone(project, tmp_path / "colleague", str(lacking))
    result = run(colleague, "fmri2img", "pull", "--remote", "lab", check=False)
    assert result.returncode == 1
    assert (
        "1 files are not there, first data/latents/subj02.h5; check the remote"
        in result.stderr.splitlines()[-1]
    )
    assert (colleague / "data/voxels/subj02.h5").exists()
    run(colleague, "dvc", "remote", "modify", "--local", "lab", "url", str(folder_remote))
    run(colleague, "fmri2img", "pull", "--remote", "lab")
    assert (colleague / "data/latents/subj02.h5").read_bytes() == (
        project / "data/latents/subj02.h5"
    ).read_bytes()


def test_a_push_without_all_files_is_no_success(project, folder_remote, tmp_path):
    colleague = clone(project, tmp_path / "colleague", str(folder_remote))
    run(colleague, "fmri2img", "pull", "--remote", "lab")
    md5 = md5s(project)["data/latents/subj02.h5"]
    (colleague / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    run(colleague, "dvc", "remote", "add", "--local", "new", str(tmp_path / "new"))
    result = run(colleague, "fmri2img", "share", "--remote", "new", check=False)
    assert result.returncode == 1
    assert (
        "1 files are neither in DVC's cache here nor in remote new, first data/latents/subj02.h5"
        in result.stderr.splitlines()[-1]
    )


def test_a_pull_does_not_overwrite_what_is_saved_nowhere_else(project, folder_remote, tmp_path):
    colleague = clone(project, tmp_path / "colleague", str(folder_remote))
    (colleague / "data/splits").mkdir(parents=True)
    (colleague / "data/splits/subj02.json").write_text("mine")
    result = run(colleague, "fmri2img", "pull", "--remote", "lab", check=False)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        "error: data/splits/subj02.json: its bytes here are not the recorded ones"
    )
    assert (colleague / "data/splits/subj02.json").read_text() == "mine"


def test_other_parameters_upstream_are_told_and_cost_nothing(project, folder_remote, tmp_path):
    colleague = clone(project, tmp_path / "colleague", str(folder_remote))
    params = (colleague / "params.yaml").read_text()
    (colleague / "params.yaml").write_text(
        params.replace("func_space: func1pt8mm", "func_space: func1mm")
    )
    result = run(colleague, "fmri2img", "pull", "--remote", "lab")
    assert (
        "note: params.yaml differs from that of the pulled files: datasets.simulated.func_space "
        "was func1pt8mm, is func1mm; to use them, restore it" in result.stderr
    )
    before = (colleague / "data/voxels/subj02.h5").read_bytes()
    result = run(colleague, "dvc", "repro", check=False)
    assert result.returncode != 0
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(
        "error: data/voxels/subj02.h5 came without raw files and is kept, but params.yaml has "
        "changed since ("
    )
    words = "datasets.simulated.func_space was func1pt8mm, is func1mm): to use it, undo the change"
    assert words in line
    result = run(colleague, "dvc", "repro", "--single-item", "extract_betas@subj02", check=False)
    assert result.returncode != 0
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert f"data/voxels/subj02.h5 is kept, but params.yaml has changed since ({words}" in line
    assert (colleague / "data/voxels/subj02.h5").read_bytes() == before


def test_extracting_anew_gives_the_bytes_that_the_remote_holds(project, folder_remote):
    md5 = md5s(project)["data/voxels/subj02.h5"]
    (project / "data/voxels/subj02.h5").unlink()
    run(project, "dvc", "repro", "--force", "--single-item", "extract_betas@subj02")
    assert md5s(project)["data/voxels/subj02.h5"] == md5
    assert (folder_remote / "files/md5" / md5[:2] / md5[2:]).read_bytes() == (
        project / "data/voxels/subj02.h5"
    ).read_bytes()


def test_raw_files_do_not_travel(project, folder_remote):
    receipts = [json.loads(path.read_text()) for path in (project / "data/receipts").glob("*.json")]
    raw_sizes = {
        record["size"]
        for receipt in receipts
        for record in receipt["files"]
        if record["size"] > 1 << 20
    }
    assert raw_sizes
    assert not raw_sizes & {path.stat().st_size for path in folder_remote.rglob("files/md5/*/*")}


def test_components_of_nsd_do_not_leave_the_group(project, folder_remote, tmp_path):
    colleague = clone(project, tmp_path / "colleague", str(folder_remote))
    run(colleague, "fmri2img", "pull", "--remote", "lab")
    receipt = colleague / "data/receipts/subj02.json"
    receipt.write_text(receipt.read_text().replace('"simulated"', '"nsd"'))
    result = run(colleague, "fmri2img", "share", "--remote", "lab", check=False)
    assert result.returncode == 1
    assert "it is not known whose data these are, and so who may have them" in result.stderr
    lock = (colleague / "dvc.lock").read_text()
    (colleague / "dvc.lock").write_text(
        lock.replace(md5s(project)["data/receipts/subj02.json"], "0" * 32, 1)
    )
    result = run(colleague, "fmri2img", "share", "--remote", "lab", check=False)
    assert (
        "was made from a different data/receipts/subj02.json than dvc.lock names now"
        in result.stderr
    )
    (colleague / "dvc.lock").write_text(lock)
    run(colleague, "dvc", "remote", "add", "--local", "demo", str(tmp_path / "demo"))
    result = run(colleague, "fmri2img", "share", "--remote", "demo", "--members-only", check=False)
    assert "the remote demo is part of the repository, which anybody may read" in result.stderr
    assert not (tmp_path / "demo").exists()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    """A folder as anybody's web server gives it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def objects_in(folder):
    return {path.parent.name + path.name for path in (folder / "files/md5").glob("*/*")}


def test_what_everybody_may_have_goes_over_plain_http(project, tmp_path, monkeypatch):
    monkeypatch.setattr(sharing_verbs, "data_source_of", lambda: "laion")
    public = tmp_path / "public"
    run(project, "dvc", "remote", "add", "--local", "--force", "everybody", str(public))
    told = run(project, "fmri2img", "share", "--remote", "everybody", "--public").stdout
    assert "public: receipts, regions and voxels, nothing else: responses are CC0" in told
    there, made = objects_in(public), md5s(project)
    responses = ("data/receipts/", "data/rois/", "data/voxels/")
    assert {made[path] for path in made if path.startswith(responses)} <= there
    private = ("data/examples/", "data/truth/", "data/latents/", "data/prior/", "models/")
    assert not {made[path] for path in made if path.startswith(private)} & there
    with served(public) as url:
        stranger = clone(project, tmp_path / "stranger", url)
        run(stranger, "fmri2img", "pull", "--remote", "lab", "--responses")
    for path in ("data/voxels/subj02.h5", "data/rois/subj02.nii.gz"):
        assert (stranger / path).read_bytes() == (project / path).read_bytes()
    assert not (stranger / "data/examples/subj02.h5").exists()


def test_nsd_is_never_public(project, tmp_path, monkeypatch):
    monkeypatch.setattr(sharing_verbs, "data_source_of", lambda: "nsd")
    public = tmp_path / "public"
    run(project, "dvc", "remote", "add", "--local", "--force", "everybody", str(public))
    for more in ((), ("--dry-run",)):
        result = run(
            project, "fmri2img", "share", "--remote", "everybody", "--public", *more, check=False
        )
        assert result.returncode == 1
        assert result.stderr.startswith("error: --public: ")
        assert "with --members-only" in result.stderr
    assert not public.exists()


def test_a_remote_that_does_not_answer(project, tmp_path, monkeypatch):
    for key, value in KEYS.items():
        monkeypatch.setenv(key, value)
    colleague = clone(project, tmp_path / "colleague", "s3://lab/voxels")
    run(colleague, "dvc", "remote", "modify", "--local", "lab", "endpointurl", "http://127.0.0.1:9")
    result = run(colleague, "fmri2img", "pull", "--remote", "lab", check=False)
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "no reason given" not in line
    assert "failed to pull data from the cloud" in line


def test_a_remote_inside_the_project_is_refused(project):
    run(project, "dvc", "remote", "add", "--local", "--force", "inside", "somewhere/inside")
    result = run(project, "fmri2img", "share", "--remote", "inside", "--members-only", check=False)
    assert result.returncode == 1
    assert (
        "lies inside the project, and so in its repository; choose a folder outside"
        in result.stderr
    )


def test_no_such_remote(project):
    result = run(project, "fmri2img", "pull", "--remote", "nobody", check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: .dvc/config: there is no remote 'nobody', only ")


def test_lineage_goes_back_to_the_receipts_and_on_to_the_results(project):
    back = run(project, "fmri2img", "lineage", "data/voxels/subj02.h5").stdout
    assert (
        f"data/voxels/subj02.h5  md5 {md5s(project)['data/voxels/subj02.h5']}  (same bytes)" in back
    )
    assert re.search(r"first recorded in commit [0-9a-f]{7,40} \d{4}-\d\d-\d\d run", back)
    assert "by python -m stages.extract_betas --subject subj02" in back
    assert re.search(r"code: fingerprint [0-9a-f]{32}\n", back)
    assert re.search(
        r"raw: \d+ files, \d+\.\d\d GB, simulated; each with its SHA-256 in "
        r"data/receipts/subj02.json",
        back,
    )
    assert "  reports/comparison.json" in back.partition("made from it:")[2].splitlines()
    document = json.loads(
        run(project, "fmri2img", "lineage", "reports/gallery/subj02/ridge.html", "--json").stdout
    )
    assert document["made_from"].keys() >= {
        "data/receipts/shared.json",
        "data/receipts/subj02.json",
        "data/voxels/subj02.h5",
        "models/subj02/ridge/model.safetensors",
    }
    weights = json.loads(
        run(
            project, "fmri2img", "lineage", "models/subj02/ridge/model.safetensors", "--json"
        ).stdout
    )
    assert [line.split(" (")[0] for line in weights["runs"]] == ["made by run subj02-ridge"]
    read = run(project, "fmri2img", "lineage", "data/examples/subj02.h5").stdout.partition(
        "in MLflow:"
    )[2]
    assert {line.strip().split(" (")[0] for line in read.strip().splitlines()} >= {
        "read by run subj02-ridge",
        "read by run subj02-basic_ae",
    }
    raw = next((project / "data/raw").rglob("betas_session20.hdf5")).relative_to(project)
    onwards = run(project, "fmri2img", "lineage", str(raw)).stdout
    assert "is listed in data/receipts/subj02.json; made from the files of that receipt:" in onwards
    assert "    data/voxels/subj02.h5" in onwards
    result = run(project, "fmri2img", "lineage", "README.md", check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(
        "error: README.md: neither an output in dvc.lock nor a raw file of a receipt"
    )


def test_provenance_in_the_file_agrees_with_the_lock(project):
    provenance = TrialBetas.open(project / "data/voxels/subj02.h5", remedy="").provenance
    assert provenance["receipts"]["subj02"]["md5"] == md5s(project)["data/receipts/subj02.json"]
    assert provenance["receipts"]["shared"]["md5"] == md5s(project)["data/receipts/shared.json"]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The repository as a stranger has it after cloning: no data, no settings of this machine."""
    folder = tmp_path_factory.mktemp("fresh")
    for name in ("dvc.yaml", "dvc.lock", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(REPOSITORY / name, folder)
    (folder / ".dvc").mkdir()
    shutil.copy(REPOSITORY / ".dvc/config", folder / ".dvc")
    for name in ("src", "rois", "models/demo-vae", "reports/ood", "demo_remote"):
        shutil.copytree(
            REPOSITORY / name,
            folder / name,
            ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
        )
    run(folder, "git", "init", "-q")
    return folder


def test_a_fresh_clone_has_voxels_offline(fresh, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    run(fresh, "dvc", "pull", "extract_betas", "convert_roi")
    page = (REPOSITORY / "docs/sharing.md").read_text()
    code = re.search(r"```python\n(from fmri2img.sharing.*?)```", page, re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 6
    result = subprocess.run([sys.executable, "-c", code], cwd=fresh, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "subj01: " in result.stdout
    assert "SIMULATED DATA" in result.stdout
    quoted = re.search(
        r"```python\nfrom fmri2img.sharing.*?```text\n(.*?)```", page, re.DOTALL
    ).group(1)
    assert result.stdout.strip() == quoted.strip()


def test_the_verb_pulls_what_the_remote_in_git_holds(fresh):
    shutil.rmtree(fresh / "data", ignore_errors=True)
    shutil.rmtree(fresh / ".dvc/cache", ignore_errors=True)
    result = run(fresh, "fmri2img", "pull")
    assert f"in all, remote demo ({fresh / 'demo_remote'})" in result.stdout
    assert sorted(path.name for path in (fresh / "data/voxels").glob("*.h5")) == [
        "subj01.h5",
        "subj02.h5",
    ]


def test_the_remote_in_git_is_small_and_holds_what_the_lock_names():
    objects = list((REPOSITORY / "demo_remote").rglob("files/md5/*/*"))
    assert sum(path.stat().st_size for path in objects) <= 8e6
    wanted = {
        path: md5
        for path, md5 in md5s(REPOSITORY).items()
        if path.startswith(("data/voxels/", "data/rois/"))
    }
    assert {path.parent.name + path.name for path in objects} == set(wanted.values())
    assert "demo_remote/** -text" in (REPOSITORY / ".gitattributes").read_text()
    assert "verify = true" in (REPOSITORY / ".dvc/config").read_text()

"""Edit, ask why, run: what an edit of code or parameters runs again, and which results are kept."""

import hashlib
import json
import re
import shutil

import mlflow
import pytest
import yaml

import fmri2img.provenance.rewritten as rewritten
from commands import without_code
from conftest import REPOSITORY
from fmri2img.provenance.lineage import LockLoader
from fmri2img.provenance.reach import Program, Reach, is_excused
from fmri2img.provenance.rewritten import fingerprint_md5
from fmri2img.provenance.stage_fingerprints import fingerprints
from miniature import changed_params, clone
from pipeline.projects import repro, run

UP_TO_DATE = re.compile(r"all \d+ stages are up to date")
READER = "src/fmri2img/datasets/nsd/betas.py"


def ran(result):
    return re.findall(r"Running stage '([^']+)'", result.stdout)


def edit(project, file, old, new):
    path = project / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def why(project, *stage):
    return run(project, "fmri2img", "why", *stage).stdout.splitlines()


@pytest.fixture
def without_raw(copied):
    """A colleague's project: everything but raw files."""
    shutil.rmtree(copied / "data/raw")
    return copied


NOT_BY_NAME = (".<module>", ".__post_init__")


def called_by_what_counts(calls):
    """The functions that ran, but those which only excused ones called (MLflow's mirror reads files
    of its own), or which an import called for a name that nobody may use. ``__post_init__`` is
    called by code that dataclasses makes, and counts with whoever names the class.
    """
    found, waiting = set(), [called for caller, called in calls if not caller]
    while waiting:
        name = waiting.pop()
        if name not in found and not is_excused(name) and not name.endswith(NOT_BY_NAME):
            found.add(name)
            waiting += [called for caller, called in calls if caller == name]
    return found


def test_every_function_that_a_stage_ran_is_in_its_reach(template):
    """The reach holds whatever ran: nothing that can change an output is overlooked."""
    program = Program.read(REPOSITORY / "src")
    traced = json.loads(template.with_name("traced.json").read_text())
    assert sum(map(len, traced.values())) > 1000
    del traced["fingerprint"]  # it is what tells of the others
    for stage, calls in traced.items():
        script, _, item = stage.partition("@")
        for ending in ("_shared", "_pixels", "_diffusion"):
            script = script.removesuffix(ending)
        model = item.partition("-")[2] or item
        chosen = {"fmri2img.datasets.": "fmri2img.datasets.simulated_dataset"}
        if f"fmri2img.models.{model}" in program.modules:
            chosen["fmri2img.models."] = f"fmri2img.models.{model}"
        reached = Reach(program, [f"stages.{script}.main"], chosen).definitions
        missed = []
        for name in called_by_what_counts(calls):
            module, definition = program.resolve(name)
            if definition is None or module == "fmri2img.project.config":
                # the text of a module or class as it is imported; sections that a stage checks and
                # does not use
                continue
            method = f"{module}.{'.'.join(name.removeprefix(f'{module}.').split('.')[:2])}"
            expected = (
                method
                if method.removeprefix(f"{module}.") in program.modules[module].definitions
                else definition.dotted
            )
            if expected not in reached and not is_excused(expected):
                missed.append(expected)
        assert not missed, f"{stage}: {missed}"


def test_nothing_is_stale_in_one_line(project):
    (line,) = why(project)
    assert UP_TO_DATE.fullmatch(line)
    assert why(project, "train@subj02-ridge") == ["train@subj02-ridge is up to date"]


def test_comments_run_the_fingerprint_and_nothing_else(copied):
    for file in (
        "containers/storage.py",
        "containers/stored.py",
        "project/config.py",
        "models/ridge.py",
    ):
        path = copied / "src/fmri2img" / file
        path.write_text(
            "# A remark.\n"
            + path.read_text().replace('"""', '"""In other words: ', 1)
            + "\n\n# The end.\n"
        )
    edit(copied, "src/fmri2img/viz/report.html.jinja", "<main>", "<main>\n{# A remark. #}")
    edit(copied, "src/fmri2img/viz/base.html.jinja", "<body>", "<body>\n{# A remark. #}")
    (line,) = why(copied)
    assert UP_TO_DATE.match(line)
    assert line.endswith("; source files differ from those of the last run in spelling only")
    assert ran(repro(copied)) == ["fingerprint"]
    assert "up to date" in run(copied, "dvc", "status").stdout
    assert UP_TO_DATE.fullmatch(*why(copied))


def test_a_change_is_told_from_what_to_what_and_runs_what_it_reaches(copied):
    edit(
        copied,
        "src/fmri2img/evaluation/comparisons.py",
        "_RESAMPLES_AT_ONCE = ",
        "_RESAMPLES_AT_ONCE = 1 + ",
    )
    assert why(copied) == [
        "compare: code changed: _RESAMPLES_AT_ONCE (src/fmri2img/evaluation/comparisons.py)"
    ]
    with changed_params(copied) as params:
        params["train"]["basic_ae"]["epochs"] = 2
    lines = why(copied)
    assert "train@subj02-basic_ae: params.yaml: train.basic_ae.epochs was 3, is 2" in lines
    assert "predict@subj02-basic_ae: train@subj02-basic_ae runs before it" in why(
        copied, "predict@subj02-basic_ae"
    )
    assert not any(line.startswith("train@subj02-ridge") for line in lines)
    assert ran(repro(copied, "train")) == ["fingerprint", "train@subj02-basic_ae"]


def test_what_is_missing_changed_or_never_ran_is_told(copied):
    (copied / "data/truth/subj02.h5").unlink()
    (copied / "models/demo-vae/config.json").write_text(
        (copied / "models/demo-vae/config.json").read_text() + "\n"
    )
    with changed_params(copied) as params:
        params["models"]["latents"].append("low_level")
    lines = why(copied)
    assert (
        "collect_truth@subj02: an output is not here; bring back what is recorded with dvc "
        "checkout or fmri2img pull" in lines
    )
    assert any(
        line.endswith(": models/demo-vae/config.json has changed since it last ran")
        for line in lines
    )
    assert any(
        line.startswith("train@subj02-low_level") and line.endswith("it has not run yet")
        for line in lines
    )
    assert (
        "collect_truth@subj02: its output data/truth/subj02.h5 is not here; bring back what is "
        "recorded with dvc checkout or fmri2img pull" in why(copied, "collect_truth")
    )


def test_an_unknown_stage_gets_near_names(project):
    result = run(project, "fmri2img", "why", "trainn", check=False)
    assert (result.returncode, without_code(result.stderr)) == (
        1,
        "error: trainn: no such stage in dvc.yaml; did you mean: train, train@subj02-ridge, "
        "fetch_raw?\n",
    )
    result = run(project, "fmri2img", "accept", "train@subj01-ridge", check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(
        "error: train@subj01-ridge: no such stage in dvc.yaml; did you mean: train@subj02-ridge"
    )


def test_a_lock_in_a_merge_conflict_gets_a_remedy_that_works(copied):
    """Two branches that trained differently, merged."""
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@localhost")
    lock = (copied / "dvc.lock").read_text()
    run(copied, *git, "checkout", "-q", "-b", "other")
    (copied / "dvc.lock").write_text(lock.replace("schema: '2.0'", "schema: '2.0' # theirs"))
    run(copied, *git, "commit", "-qam", "theirs")
    run(copied, *git, "checkout", "-q", "-")
    (copied / "dvc.lock").write_text(lock.replace("schema: '2.0'", "schema: '2.0' # ours"))
    run(copied, *git, "commit", "-qam", "ours")
    assert run(copied, *git, "merge", "other", check=False).returncode != 0
    for verb in (("why",), ("accept",), ("lineage", "data/voxels/subj02.h5")):
        result = run(copied, "fmri2img", *verb, check=False)
        assert result.returncode == 1
        assert result.stderr.startswith(
            "error: dvc.lock: holds the conflict marks of an unfinished merge; take one side whole "
            "("
        )
    for command in re.findall(r"git checkout --ours dvc.lock|git add dvc.lock", result.stderr):
        run(copied, *command.split())
    assert UP_TO_DATE.match(why(copied)[0])


def test_where_raw_files_are_changed_code_is_not_accepted(copied):
    edit(copied, READER, "def read_session_betas(", "CHANGED = 1\n\n\ndef read_session_betas(")
    # A constant that nobody uses.
    assert "nothing to accept" in run(copied, "fmri2img", "accept").stdout
    make_real_change(copied)
    before = (copied / "dvc.lock").read_text()
    result = run(copied, "fmri2img", "accept", "extract_betas", check=False)
    assert result.returncode == 1
    assert re.search(
        r"error: extract_betas@subj02 cannot be accepted: code changed: .*read_session_betas "
        r"\(src/fmri2img/datasets/nsd/betas.py\)",
        result.stderr,
    )
    assert (
        "raw files are here, so it can run again: dvc repro extract_betas@subj02" in result.stderr
    )
    assert (copied / "dvc.lock").read_text() == before
    assert not (copied / "accepted.json").exists()


def make_real_change(project):
    """Change how betas are read, for real."""
    path = project / READER
    text = path.read_text()
    start = text.index("def read_session_betas(")
    body = text.index('"""', text.index('"""', start) + 3) + 3
    path.write_text(f"{text[:body]}\n    print('reads differently')\n{text[body:]}")


def test_without_raw_files_a_changed_reader_is_accepted_and_training_goes_on(without_raw):
    project = without_raw
    voxels = (project / "data/voxels/subj02.h5").read_bytes()
    make_real_change(project)
    failed = run(project, "dvc", "repro", "train@subj02-ridge", check=False)
    assert failed.returncode != 0
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert (
        "data/voxels/subj02.h5 is kept, but its code has changed since (fmri2img why "
        "extract_betas@subj02)" in line
    )
    assert line.endswith("to keep using it, run fmri2img accept")
    result = run(project, "fmri2img", "accept")
    assert re.search(
        r"kept extract_betas@subj02: code changed: .*read_session_betas .*; no raw files are here "
        r"to run it again",
        result.stdout,
    )
    with changed_params(project) as params:
        params["train"]["ridge"]["penalties"] = [10, 1000]
    assert ran(repro(project, "train@subj02-ridge")) == ["train@subj02-ridge"]
    assert (project / "data/voxels/subj02.h5").read_bytes() == voxels
    # What follows says which code read the raw files.
    said = run(project, "fmri2img", "lineage", "models/subj02/ridge/model.safetensors").stdout
    md5 = re.search(
        r"made by fingerprint ([0-9a-f]{32}); kept although today's code differs in: "
        r".*read_session_betas",
        said,
    ).group(1)
    assert (
        md5
        == hashlib.md5(
            fingerprint_of_last_run(project, "extract_betas"), usedforsecurity=False
        ).hexdigest()
    )
    client = mlflow.MlflowClient(
        tracking_uri=f"sqlite:///{project}/mlflow.db", registry_uri=f"sqlite:///{project}/mlflow.db"
    )
    newest = client.search_runs(
        [client.get_experiment_by_name("fmri2img").experiment_id],
        order_by=["attributes.start_time DESC"],
    )[0]
    assert newest.data.tags["code.accepted"].startswith(
        f"extract_betas@subj02 made by fingerprint {md5}, kept under fingerprint "
    )


def test_rewritten_code_with_the_same_golden_results_is_accepted(copied, monkeypatch):
    """Raw files are here: it is the golden results that make it unnecessary to read them again."""
    was = fingerprint_of_last_run(copied, "extract_betas").decode()
    make_real_change(copied)
    now = fingerprints(Program.read(copied / "src"))["extract_betas/simulated"]
    entry = {"now": fingerprint_md5(now), "earlier": {fingerprint_md5(was): "0.1"}}
    monkeypatch.setattr(rewritten, "_entries", lambda: {"extract_betas/simulated": entry})
    words = "its code was rewritten since version 0.1 with bit-identical golden results"
    assert why(copied, "extract_betas@subj02")[0] == (
        f"extract_betas@subj02: {words}: to keep the results, run fmri2img accept"
    )
    said = run(copied, "fmri2img", "accept", check=False).stdout
    assert f"kept extract_betas@subj02: {words}" in said
    # The results are those of today's code: there is nothing to note.
    assert not (copied / "accepted.json").exists()
    assert why(copied, "extract_betas@subj02") == ["extract_betas@subj02 is up to date"]


def fingerprint_of_last_run(project, stage):
    """The fingerprint as the first commit of the project has it in its cache."""
    lock = yaml.safe_load(run(project, "git", "show", "HEAD:dvc.lock").stdout)["stages"][
        f"{stage}@subj02"
    ]
    (md5,) = [dep["md5"] for dep in lock["deps"] if "fingerprints" in dep["path"]]
    return (project / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).read_bytes()


def test_a_tampered_output_is_not_accepted(without_raw):
    make_real_change(without_raw)
    path = without_raw / "data/voxels/subj02.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    before = (without_raw / "dvc.lock").read_text()
    result = run(without_raw, "fmri2img", "accept", check=False)
    assert result.returncode == 1
    assert re.match(
        r"error: data/voxels/subj02.h5: its bytes have MD5 \w{32}, expected \w{32} as in dvc.lock; "
        r"nothing was accepted",
        result.stderr,
    )
    assert (without_raw / "dvc.lock").read_text() == before


def test_a_lock_of_version_0_1_is_taken_over_by_one_command(template, tmp_path):
    """It names the source files of each stage one by one, with their MD5."""
    project = clone(template, tmp_path / "project")
    lock = yaml.load((project / "dvc.lock").read_text(), LockLoader)  # noqa: S506
    names = [
        "src/stages/train.py",
        "src/fmri2img/containers/storage.py",
        "src/fmri2img/models/ridge.py",
    ]
    files = [
        {
            "path": name,
            "hash": "md5",
            "md5": md5_of(project / name),
            "size": (project / name).stat().st_size,
        }
        for name in names
    ]
    del lock["stages"]["fingerprint"]
    for stage in lock["stages"].values():
        stage["deps"] = [
            *files,
            *(dep for dep in stage["deps"] if "fingerprints" not in dep["path"]),
        ]
    (project / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    for path in (
        *(project / "data").glob("raw"),
        project / "data/fingerprints",
        project / "data/reconstructions",
    ):
        shutil.rmtree(path)
    edit(project, "src/fmri2img/containers/storage.py", '"""', '"""Said differently: ')
    (line,) = [line for line in why(project) if "source files" in line]
    assert line.endswith("they mean the same: to keep the results, run fmri2img accept")
    result = run(project, "fmri2img", "accept")
    kept = r"kept fetch_raw_shared, .*compare, map_voxels@subj02: the code means the same"
    assert re.search(kept, result.stdout)
    assert not (project / "accepted.json").exists()
    status = yaml.safe_load(run(project, "dvc", "status", "--json").stdout)
    assert not [
        entry
        for stage in status.values()
        for entry in stage
        if isinstance(entry, dict) and "fingerprints" in str(entry)
    ]
    assert not ran(run(project, "dvc", "repro", "train"))


def md5_of(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()

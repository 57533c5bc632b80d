"""The finished miniature project: one subject, one session, every model; made once for all tests,
and cloned by links.

Stages run in this process, which imports their libraries once; DVC then records what they made.
"""

import cProfile
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import numpy as np
import yaml

from fmri2img.provenance.lineage import LockLoader

REPOSITORY = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SUBJECT, SESSION, N_SAMPLES = "subj02", 20, 2
PAIR = ["ridge", "basic_ae"]
BY_KIND = {
    "latents": ["ridge", "bayes", "basic_ae", "low_level"],
    "population": [],
    "pixels": [],
    "diffusion": ["takagi"],
}
MODELS = [model for models in BY_KIND.values() for model in models]
# What a user has before anything has run.
_FILES = ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", "data/.gitignore")
_FETCHING = ("fetch_raw", "fetch_ood")  # scripts with further options
_FOLDERS = ("src", "rois", "models/demo-vae", "reports/ood")
_SMALL = {
    "basic_ae": {"hidden_sizes": [64], "epochs": 3, "n_seeds": 2},
    "low_level": {
        "hidden_size": 64,
        "n_blocks": 1,
        "channels": 16,
        "contrastive_size": 32,
        "epochs": 3,
        "n_seeds": 2,
    },
    "bayes": {
        "window_sizes": [1.0],
        "n_folds": 2,
        "prior_shrinkages": [0.2],
        "noise_shrinkages": [0.75],
        "noise_scales": [0.5, 1.0, 3.0],
    },
}


def environment():
    found = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    found.pop("MLFLOW_TRACKING_URI", None)
    return found


def run(project, *command, check=True):
    return subprocess.run(
        command, cwd=project, capture_output=True, text=True, check=check, env=environment()
    )


@contextmanager
def inside(folder):
    """The block runs in a folder, as a command started there does, without the store that a
    caller may have named.
    """
    before, store = Path.cwd(), os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        if store is not None:
            os.environ["MLFLOW_TRACKING_URI"] = store


@contextmanager
def changed_params(project):
    """The project's params, written back when the block has changed them."""
    path = project / "params.yaml"
    params = yaml.safe_load(path.read_text())
    yield params
    path.unlink()  # it may be a link to another project's
    path.write_text(yaml.safe_dump(params))


def copy_project(source, folder):
    """What a user has of a project before anything has run; ``folder`` may be there, and has no
    repository yet.
    """
    (folder / "data").mkdir(parents=True)
    for name in _FILES:
        shutil.copy(source / name, folder / name)
    for name in _FOLDERS:
        shutil.copytree(
            source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    return folder


def small_project(folder, **simulation):
    """A project with one subject of few voxels and one session, not run yet."""
    copy_project(REPOSITORY, folder)
    with changed_params(folder) as params:
        params["subjects"] = params["population"] = [SUBJECT]
        simulated = params["datasets"]["simulated"]
        simulated["sessions"] = [SESSION]
        simulated["simulation"] |= {
            "volume_scale": 0.2,
            "n_visual_voxels": 150,
            "beta_formats": ["hdf5"],
        } | simulation
        params["evaluate"] |= {"n_permutations": 99, "n_bootstrap": 100}
    return folder


def diffusion_of(template):
    """The folder of the Stable Diffusion of a finished miniature, which stands beside it."""
    return template.with_name("project-diffusion")


def make_miniature(folder):
    """Run the whole pipeline on the miniature, and commit it.

    ``traced.json`` beside it says which functions of this project each stage ran.
    """
    # Diffusers takes seconds to load, and most tests do without.
    from tiny_diffusion import (
        write_tiny_diffusion,
    )

    traced = {}
    # Without attention among the words of a caption, which would take as long as all the rest.
    diffusion = write_tiny_diffusion(diffusion_of(folder), text_layers=0)
    small_project(folder)
    with changed_params(folder) as params:
        params["models"] = BY_KIND
        # Few test images: most of the time goes into decoding and scoring them.
        params["split_examples"] |= {"kind": "random", "n_train_random": 558}
        params["convert_roi"]["roi"] = "streams"
        params["extract_betas"]["labels"] = ["early", "ventral"]
        params["diffusion"]["source"] = str(diffusion)
        params["generate"] |= {"n_steps": 2, "strength": 0.5, "n_samples": N_SAMPLES}
        params["make_targets"]["batch_size"] = 32
        params["predict"] |= {"n_train_images": 2, "n_posterior_images": 2}
        params["predict"]["n_posterior_samples"] = 2
        for model, changes in _SMALL.items():
            params["train"][model] |= changes
    with inside(folder):
        for name, script, options in stages():
            main = import_module(f"stages.{script}").main
            with _traced() as calls:
                main(**options)
            traced[name] = sorted(
                {
                    (_name_of(caller), _name_of(called))
                    for caller, called in calls
                    if _name_of(called)
                }
            )
        from dvc.repo import Repo

        with Repo() as repo:
            repo.commit(force=True)
    folder.with_name("traced.json").write_text(json.dumps(traced))
    for command in (
        ("add", "-A"),
        ("-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-qm", "run"),
    ):
        run(folder, "git", *command)
    return folder


@contextmanager
def _traced():
    """Yield the set of all calls that this thread makes in the block: who calls, and what is
    called.
    """
    calls = set()
    profile = cProfile.Profile(builtins=False)  # in C: a trace function would take twice as long
    profile.enable()
    try:
        yield calls
    finally:
        profile.disable()
        entries = profile.getstats()
        calls.update((entry.code, called.code) for entry in entries for called in entry.calls or ())
        called_here = {called for _, called in calls}
        calls.update((None, entry.code) for entry in entries if entry.code not in called_here)


def _name_of(code):
    """Return the dotted name of a function of this project, or of the one that it is in; nothing
    for others.
    """
    if not hasattr(code, "co_filename") or "/src/fmri2img/" not in code.co_filename:
        return ""
    module = (
        code.co_filename.partition("/src/")[2]
        .removesuffix(".py")
        .removesuffix("/__init__")
        .replace("/", ".")
    )
    return f"{module}.{code.co_qualname.partition('.<locals>')[0]}"


def stages():
    """Return every stage of the project in this folder (name, script, options), each after those
    that it needs.
    """
    from dvc.repo import Repo
    from networkx import topological_sort

    with Repo() as repo:
        ordered = list(topological_sort(repo.index.graph))[::-1]
        found = []
        for stage in ordered:
            words = stage.cmd.split()
            options = dict(
                zip((word.removeprefix("--") for word in words[3::2]), words[4::2], strict=True)
            )
            script = words[2].partition(".")[2]
            found.append(
                (
                    stage.addressing,
                    script,
                    options | ({"check": False, "dry_run": False} if script in _FETCHING else {}),
                )
            )
        return found


def make_pair(source, folder):
    """The finished project with two of its models, as if there had never been others: light
    enough to push and pull many times.
    """
    clone(source, folder)
    others = [model for model in MODELS if model not in PAIR]
    with changed_params(folder) as params:
        params["models"] = {"latents": PAIR, "population": [], "pixels": [], "diffusion": []}
    lock = yaml.load((folder / "dvc.lock").read_text(), LockLoader)  # noqa: S506
    lock["stages"] = {
        name: stage for name, stage in lock["stages"].items() if not name.endswith(tuple(others))
    }
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    for model in others:
        left = [
            path
            for below in ("data/*/*", "reports/*/*")
            for path in folder.glob(f"{below}/{model}.*")
        ]
        for path in left:
            if "fingerprints" not in path.parts:
                path.unlink()
        shutil.rmtree(folder / "models" / SUBJECT / model)
    with inside(folder):
        import_module("stages.map_voxels").main(SUBJECT)
        import_module("stages.compare").main()
        from dvc.repo import Repo

        with Repo() as repo:
            repo.commit(f"map_voxels@{SUBJECT}", force=True)
            repo.commit("compare", force=True)
    for command in (
        ("add", "-A"),
        ("-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-qm", "two models"),
    ):
        run(folder, "git", *command)
    return folder


def keep_only_fingerprints(project):
    """Forget in the lock what ran, for a project that goes on with another dataset: DVC writes the
    whole lock anew after each stage.
    """
    lock = yaml.load((project / "dvc.lock").read_text(), LockLoader)  # noqa: S506
    lock["stages"] = {"fingerprint": lock["stages"]["fingerprint"]}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


def keep_images(path, image_ids):
    """Leave the trials of some images in an export of voxels, and no others."""
    with np.load(path) as whole:
        arrays = dict(whole)
    kept, n_trials = np.isin(arrays["image_ids_0based"], image_ids), len(arrays["image_ids_0based"])
    np.savez(
        path,
        **{
            name: values[kept] if values.ndim and len(values) == n_trials else values
            for name, values in arrays.items()
        },
    )


def clone(source, folder):
    """The finished project in another place: what stages write whole is linked, what others
    write into is copied.
    """
    shutil.copytree(source, folder, copy_function=_link_or_copy, symlinks=True)
    move_store(folder / "mlflow.db", source, folder)
    return folder


def _link_or_copy(source, target):
    """Link what is large and always replaced as a whole; what a test may write into is its own."""
    if (
        Path(source).suffix in (".h5", ".hdf5", ".gz", ".safetensors", ".png")
        or "/.dvc/cache/" in source
    ):
        return os.link(source, target)
    return shutil.copy2(source, target)


def move_store(database, old, new):
    """Let a store of MLflow that was copied find its files in the new place: it holds absolute
    paths.
    """
    connection = sqlite3.connect(database)
    with connection:
        tables = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            for _, column, kind, *_ in list(connection.execute(f'PRAGMA table_info("{table}")')):
                if "CHAR" in kind.upper() or "TEXT" in kind.upper():
                    change = f'SET "{column}" = replace("{column}", ?, ?) WHERE "{column}" LIKE ?'
                    values = (str(old), str(new), f"%{old}%")
                    connection.execute(f'UPDATE "{table}" {change}', values)
    connection.close()

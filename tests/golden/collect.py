"""What goldens hold: a description of what the project makes, one function for each file in
``data/``.
"""

import ast
import contextlib
import hashlib
import io
import json
import os
import re
from pathlib import Path
from unittest import mock

import h5py
import nibabel
import numpy as np
from safetensors.numpy import load_file

from fmri2img.evaluation.table_rows import ROWS
from fmri2img.project.error_codes import error_templates
from golden.machine import sketch
from miniature import MODELS, REPOSITORY, SUBJECT

GOLDEN = Path(__file__).parent
_NOT_SCORES = ("settings", "versions", "weights", "about")


def describe_array(values):
    """Return shape, type, hash of the bytes, and numbers to compare by on another processor."""
    values = np.ascontiguousarray(values)
    if values.dtype.kind in "OSU":
        content, numbers = json.dumps(values.astype(str).tolist()).encode(), []
    else:
        content, numbers = values.tobytes(), [] if values.dtype.kind == "b" else sketch(values)
    digest = hashlib.sha256(content).hexdigest()
    return {
        "shape": list(values.shape),
        "dtype": str(values.dtype),
        "sha256": digest,
        "sketch": numbers,
    }


def arrays_of(path):
    """Return every array of a file by name."""
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".gz":
        return {"data": np.asarray(nibabel.load(path).dataobj), "affine": nibabel.load(path).affine}
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def describe_files(root, paths):
    """Return a description of every array of several files, by path and name."""
    return {
        f"{path.relative_to(root).as_posix()}: {name}": describe_array(values)
        for path in sorted(paths)
        for name, values in sorted(arrays_of(path).items())
    }


def collect_miniature(template):
    """Every array of every container of the finished miniature, and of its encoders."""
    patterns = (
        "data/rois/*.gz",
        "data/*.h5",
        "data/*/*.h5",
        "data/*/*/*.h5",
        "models/subj*/*.h5",
        "models/subj*/*/*.safetensors",
    )
    return describe_files(
        template,
        [
            path
            for pattern in patterns
            for path in template.glob(pattern)
            if "raw" not in path.parts
        ],
    )


def collect_metrics(template):
    """The scores of every model on the miniature, to six digits, and what else its documents
    say.
    """
    documents = {}
    for model in MODELS:
        text = (template / f"reports/metrics/{SUBJECT}/{model}.json").read_text()
        documents[model] = as_0_1(
            json.loads(re.sub(r'"/[^"]*/project-diffusion"', '"project-diffusion"', text))
        )
    for name in ("encoding", "references"):
        documents[name] = json.loads((template / f"reports/{name}/{SUBJECT}.json").read_text())
    documents["references"] = as_0_1(documents["references"])
    documents["comparison"] = json.loads((template / "reports/comparison.json").read_text())
    documents["splits"] = json.loads((template / f"data/splits/{SUBJECT}.json").read_text())
    return {key: value for key, value in flatten(documents).items() if not _is_machine(key)}


def as_0_1(document):
    """A metrics document as version 0.1 wrote it, so that its golden numbers stay as they were
    made.
    """
    old = {ROWS[row].key: values_of(scores) for row, scores in document["rows"].items()}
    old["interval"] = {
        ROWS[row].key: ends for row, scores in document["rows"].items() if (ends := ends_of(scores))
    }
    old["about"] = document["about"] | {"absent": document["absent"]}
    if not document["families"]:
        return old
    kept = ("latent", "repetitions", "seeds", "brain")
    old |= {name: document[name] for name in kept}
    old |= {f"retrieval_{name}": values for name, values in document["retrieval"].items()}
    if document["halves"]:
        steering = ("halves", "identification_by_samples")
        old |= {name: document[name] for name in steering}
    return old | {"p": document["families"]["permutation"]["p"]}


def values_of(scores):
    return {metric: score["value"] for metric, score in scores.items()}


def ends_of(scores):
    return {
        metric: [score["low"], score["high"]] for metric, score in scores.items() if "low" in score
    }


def _is_machine(key):
    """Whether an entry tells of the machine, or of files whose bytes another machine makes
    differently.
    """
    return any(
        part in ("versions", "autoencoder", "encoder", "weights", "diffusion")
        or part.endswith(("sha256", "md5"))
        for part in key.split("/")
    )


def flatten(values, prefix=""):
    if isinstance(values, dict):
        return {
            key: value
            for name, inner in values.items()
            for key, value in flatten(inner, f"{prefix}/{name}").items()
        }
    if (
        isinstance(values, list)
        and values
        and not all(isinstance(item, int | float) for item in values)
    ):
        return {
            key: value
            for number, inner in enumerate(values)
            for key, value in flatten(inner, f"{prefix}/{number}").items()
        }
    return {prefix.lstrip("/"): values}


def collect_raw(template):
    """The simulated raw tree: size and SHA-256 of each file, as the receipts have them."""
    receipts = (
        json.loads(path.read_text()) for path in sorted((template / "data/receipts").glob("*.json"))
    )
    return {
        record["path"]: [record["size"], record["sha256"]]
        for receipt in receipts
        for record in receipt["files"]
    }


def collect_help():
    """What ``--help`` prints for the command, every verb and every stage."""
    from fmri2img.cli.main import main, make_parser

    texts = {"fmri2img": _help(lambda: main(["--help"]))}
    for verb in make_parser()[1]:
        texts[f"fmri2img {verb}"] = _help(lambda verb=verb: main([verb, "--help"]))
    from importlib import import_module

    from fmri2img.pipeline.stage import run_stage

    for script in sorted((REPOSITORY / "src/stages").glob("[a-z]*.py")):
        stage = import_module(f"stages.{script.stem}").main
        texts[f"python -m stages.{script.stem}"] = _help(
            lambda stage=stage: run_stage(stage, ["--help"])
        )
    return texts


def _help(work):
    out = io.StringIO()
    with (
        mock.patch.dict(os.environ, COLUMNS="100"),
        contextlib.redirect_stdout(out),
        contextlib.suppress(SystemExit),
    ):
        work()
    return re.sub(r"^usage: \S+", "usage: ...", out.getvalue()).splitlines()


def collect_errors():
    """The template of every error line: what is raised with which words, values left open."""
    found = set()
    for path in (REPOSITORY / "src").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        found |= {f"{kind}: {words}" for kind, words in error_templates(source)}
    return sorted(found)


def collect_tests():
    """The names of all test functions."""
    found = set()
    for path in (REPOSITORY / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text())
        names = (
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        )
        found |= {f"{path.relative_to(REPOSITORY).as_posix()}::{name}" for name in names}
    return sorted(found)

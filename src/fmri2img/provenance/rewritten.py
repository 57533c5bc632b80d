"""Code that was rewritten and gives the same results: which earlier fingerprints count as today's.

``rewritten.json`` is written by ``tests/golden/rewritten.py`` after the golden results were found
bit-equal or, where sums are taken in another order, equal except for rounding. An entry counts only
for the code that it was written for: it no longer applies once the stage is edited.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

NAME = "rewritten.json"
# Today's names of models whose earlier names a commit used: until version 0.2.0, `bayes` was the
# encoder that is `bayes_independent` now.
_EARLIER_MODELS = {"default": "bayes_independent", "bayes": "bayes_independent"}
_RENAMED_WITH = "fmri2img/models/bayes_independent.py"
_EARLIER_STAGES = {"fetch_nsd": "fetch_raw"}
# Stages whose code depends on the dataset, and the datasets that version 0.1 had.
_OF_DATASETS = (
    *("fetch_raw", "convert_roi", "extract_betas", "create_examples", "collect_truth"),
    *("fetch_captions", "make_targets"),
)
_DATASETS_OF_0_1 = ("nsd", "simulated")


def fingerprint_md5(text: str) -> str:
    """Return the MD5 of a fingerprint's text, as ``dvc.lock`` has it."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def earlier_models(files: Iterable[str]) -> dict[str, str]:
    """Return today's names of models that had another at a commit.

    Parameters
    ----------
    files : iterable of str
        Paths of its source files.
    """
    return {} if any(file.endswith(_RENAMED_WITH) for file in files) else dict(_EARLIER_MODELS)


def current_fingerprints(name: str, models: dict[str, str]) -> list[str]:
    """Return today's names of an earlier version's fingerprint: one for each dataset if the stage
    reads raw files.

    Parameters
    ----------
    name : str
    models : dict of str to str
        Earlier names of models, and today's.
    """
    stage, _, model = name.partition("/")
    stage = _EARLIER_STAGES.get(stage, stage)
    if stage in _OF_DATASETS:
        if model in _DATASETS_OF_0_1:
            return [name]
        # Today only models that steer Stable Diffusion have these.
        return [f"{stage}/{dataset}" for dataset in _DATASETS_OF_0_1 if model in ("", "takagi")]
    return [f"{stage}/{models.get(model, model)}" if model else stage]


def same_results(name: str, was: str, now: str) -> str:
    """Say since which version a stage's code was rewritten with the same results, exactly, except
    for rounding, or with something added to them.

    Parameters
    ----------
    name : str
        Name of the fingerprint: a stage, or ``stage/model``.
    was, now : str
        MD5s of the texts of `stage_fingerprints.fingerprints`, as ``dvc.lock`` has them.

    Returns
    -------
    str
        A phrase; empty if nothing is known.
    """
    entry = _entries().get(name, {"now": ""})
    if entry["now"] != now:
        return ""
    if version := entry["earlier"].get(was):
        return f"rewritten since version {version} with bit-identical golden results"
    lacking = "; results lack what is new (CHANGELOG.md) until it runs again"
    if version := entry["rounded"].get(was):
        phrase = (
            f"rearranged since version {version}, with golden results equal except for rounding"
        )
        return phrase + (lacking if "extended" in entry else "")
    if version := entry.get("extended", {}).get(was):
        phrase = f"extended since version {version}, with what was in golden results bit-identical"
        return phrase + lacking
    return ""


@cache
def _entries() -> dict[str, dict]:
    path = files("fmri2img.provenance").joinpath(NAME)
    entries: dict[str, dict] = json.loads(path.read_text(encoding="utf-8"))
    return entries

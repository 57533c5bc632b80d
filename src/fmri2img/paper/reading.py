"""Read what a manuscript states from the results themselves: what was done, not what
``params.yaml`` says today.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fmri2img.containers.splits import Split
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.evaluation.table_rows import MODEL
from fmri2img.models.registry import stage_of
from fmri2img.paper.facts import Encoder, Facts, Participant
from fmri2img.project.exceptions import ConfigError, FormatError, MismatchError
from fmri2img.project.files import read_json
from fmri2img.project.layout import (
    comparison_path,
    encoder_folder,
    metrics_path,
    split_path,
    voxels_path,
)
from fmri2img.viz.summary import read_comparison

_SCORED = "fmri2img repro"
# Facts of a voxel file that the text states; files of version 0.1 lack some.
_PROVENANCE = ("data_source", "title", "units", "region", "n_repetitions", "voxel_mm", "selection")
# Facts of a metrics file that the text states.
_ABOUT = (
    *("autoencoder", "n_bootstrap", "n_permutations", "n_test_images", "networks", "preset"),
    *("test_set", "truth_pixels", "versions"),
)


def read_facts(subjects: Sequence[str] = (), models: Sequence[str] = ()) -> Facts:
    """Read everything from the results in this folder.

    Parameters
    ----------
    subjects, models : sequence of str
        Those to write about; all that were compared if empty.

    Raises
    ------
    ConfigError
        If one of them was not compared.
    MissingDataError, FormatError
        If a result is not there, or of another form.
    """
    document, runs = read_comparison(comparison_path("json"), remedy=_SCORED)
    names = [tuple(run["name"].split("/", 1)) for run in runs]
    for asked, there, kind in (
        (subjects, [name[0] for name in names], "subject"),
        (models, [name[-1] for name in names], "model"),
    ):
        if unknown := [name for name in asked if name not in there]:
            raise ConfigError(
                f"{unknown[0]}: no such {kind} in {comparison_path('json')}; choose from: "
                f"{', '.join(dict.fromkeys(there))}"
            )
    encoders = tuple(
        _encoder(run, *name)
        for run, name in zip(runs, names, strict=True)
        if (not subjects or name[0] in subjects) and (not models or name[1] in models)
    )
    if not encoders:
        raise ConfigError(
            f"no encoder of {', '.join(models)} for {', '.join(subjects)} in "
            f"{comparison_path('json')}; choose from: {', '.join('/'.join(name) for name in names)}"
        )
    kept = {(encoder.subject, encoder.model) for encoder in encoders}
    return Facts(
        participants=tuple(
            _participant(subject)
            for subject in dict.fromkeys(encoder.subject for encoder in encoders)
        ),
        encoders=encoders,
        differences=tuple(
            item
            for item in document.get("differences", [])
            if (item["subject"], item["models"].split(" - ")[0]) in kept
        ),
        family_sizes={
            "chance": sum(len(run.get("p_holm", {})) for run in runs),
            "differences": len(document.get("differences", [])),
        },
        autoencoder=encoders[0].about["autoencoder"],
        findings=tuple(document.get("verdict", [])) if len(encoders) == len(runs) else (),
    )


def _encoder(run: dict[str, Any], subject: str, model: str) -> Encoder:
    """Read what an encoder's config and metrics file say, beside its run in the comparison."""
    fields = {"settings": dict, "about": dict, "latent_shape": list}
    config = read_json(
        encoder_folder(subject, model) / "config.json",
        remedy=f"fmri2img pull --models (or dvc repro {stage_of('train', subject, model)})",
        fields=fields,
    )
    path = metrics_path(subject, model)
    document = read_json(path, remedy=_SCORED, fields={"about": dict, "rows": dict})
    if absent := [name for name in _ABOUT if name not in document["about"]]:
        raise FormatError(
            f"{path}: about: {absent[0]}: got nothing, expected what the scores depend on; run: "
            f"dvc repro {stage_of('evaluate', subject, model)}"
        )
    _check_same_scores(path, document["rows"], run["means"][MODEL])
    return Encoder(
        subject=subject,
        model=model,
        is_champion=run["champion"],
        means=run["means"],
        intervals={name: (ends[0], ends[1]) for name, ends in run.get("interval", {}).items()},
        against_reference=run.get("against_ridge", {}),
        n_images=document["about"]["n_test_images"],
        settings=config["settings"],
        latent_shape=tuple(config["latent_shape"]),
        about=document["about"],
    )


def _check_same_scores(path: Path, rows: dict[str, Any], means: dict[str, float]) -> None:
    """Refuse a metrics file of other scores than the comparison's."""
    for metric, value in means.items():
        score = rows.get(MODEL, {}).get(metric, {}).get("value")
        if score != value:
            raise MismatchError(
                f"{path}: {metric}: got {score}, expected {value} as in {comparison_path('json')}; "
                f"run: {_SCORED}"
            )


def _participant(subject: str) -> Participant:
    """Read a subject's voxel file and split.

    Raises
    ------
    MissingDataError, FormatError
        If a file is not there, or does not say what the text has to state.
    """
    path = voxels_path(subject)
    trials = TrialBetas.open(
        path, remedy=f"fmri2img pull (or dvc repro extract_betas@{subject})", on_disk=["betas"]
    )
    if absent := [name for name in _PROVENANCE if name not in trials.provenance]:
        raise FormatError(
            f"{path}: provenance: {absent[0]}: got nothing, expected what a manuscript has to "
            f"state; run: dvc repro extract_betas@{subject}"
        )
    split = Split.open(
        split_path(subject), remedy=f"fmri2img pull (or dvc repro split_examples@{subject})"
    )
    names, counts = np.unique(np.asarray(trials.roi_names), return_counts=True)
    in_order = [str(name) for name in trials.provenance["roi_names"].values()]
    of_name = dict(zip(map(str, names), map(int, counts), strict=True))
    image_ids, repetitions = np.unique(trials.image_ids, return_counts=True)
    times, n_times = np.unique(
        repetitions[np.isin(image_ids, split.ids("test"))], return_counts=True
    )
    return Participant(
        subject=subject,
        regions={name: of_name[name] for name in in_order if name in of_name},
        n_sessions=len(trials.sessions),
        n_trials=len(trials.image_ids),
        n_images=len(image_ids),
        n_train=len(split.train),
        n_validation=len(split.validation),
        n_test=len(split.test),
        split=split.kind,
        shown=dict(zip(map(int, times), map(int, n_times), strict=True)),
        provenance=trials.provenance,
    )

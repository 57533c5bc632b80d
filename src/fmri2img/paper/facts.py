"""What a manuscript has to state, read from the results themselves: what was done, not what
``params.yaml`` says today.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from fmri2img.containers.splits import Split
from fmri2img.evaluation.metrics.catalogue import all_metrics, headline_metrics
from fmri2img.evaluation.metrics.declaration import Metric
from fmri2img.evaluation.table_rows import MODEL
from fmri2img.project.exceptions import ConfigError, FormatError
from fmri2img.project.files import read_json
from fmri2img.project.layout import (
    comparison_path,
    encoder_folder,
    metrics_path,
    split_path,
    voxels_path,
)
from fmri2img.sharing.voxel_file import open_voxels
from fmri2img.viz.summary import read_comparison

_SCORED = "fmri2img repro"
# Facts of a voxel file that the text states; files of version 0.1 lack some.
_PROVENANCE = ("data_source", "title", "units", "region", "n_repetitions", "voxel_mm", "selection")
# Facts of a metrics file that the text states.
_ABOUT = (
    *("autoencoder", "n_bootstrap", "n_permutations", "n_test_images", "networks", "preset"),
    *("test_set", "truth_pixels", "versions"),
)


@dataclass(frozen=True)
class Participant:
    """One subject's data.

    Attributes
    ----------
    subject : str
    regions : dict of str to int
        Number of voxels by region, in the order of the file.
    n_sessions, n_trials, n_images : int
    n_train, n_validation, n_test : int
        Images of each part of the split.
    split : str
        Kind of the split: ``shared`` or ``random``.
    shown : dict of int to int
        How many test images were shown how often.
    provenance : dict
        Of the voxel file.
    """

    subject: str
    regions: dict[str, int]
    n_sessions: int
    n_trials: int
    n_images: int
    n_train: int
    n_validation: int
    n_test: int
    split: str
    shown: dict[int, int]
    provenance: dict[str, Any]

    @property
    def n_voxels(self) -> int:
        """Voxels of all regions."""
        return sum(self.regions.values())

    @classmethod
    def of(cls, subject: str) -> Self:
        """Read a subject's voxel file and split.

        Raises
        ------
        MissingDataError, FormatError
            If a file is not there, or does not say what the text has to state.
        """
        path = voxels_path(subject)
        voxels = open_voxels(path)
        if absent := [name for name in _PROVENANCE if name not in voxels.trials.provenance]:
            raise FormatError(
                f"{path}: provenance: {absent[0]}: got nothing, expected what a manuscript has to "
                f"state; run: dvc repro extract_betas@{subject}"
            )
        split = Split.open(
            split_path(subject), remedy=f"fmri2img pull (or dvc repro split_examples@{subject})"
        )
        names, counts = np.unique(voxels.roi_names, return_counts=True)
        in_order = [str(name) for name in voxels.trials.provenance["roi_names"].values()]
        of_name = dict(zip(map(str, names), map(int, counts), strict=True))
        times, n_times = np.unique(
            voxels.n_repetitions(np.intersect1d(split.ids("test"), voxels.image_ids)),
            return_counts=True,
        )
        return cls(
            subject=subject,
            regions={name: of_name[name] for name in in_order if name in of_name},
            n_sessions=len(voxels.trials.sessions),
            n_trials=len(voxels.trials.image_ids),
            n_images=len(voxels.image_ids),
            n_train=len(split.train),
            n_validation=len(split.validation),
            n_test=len(split.test),
            split=split.kind,
            shown=dict(zip(map(int, times), map(int, n_times), strict=True)),
            provenance=voxels.trials.provenance,
        )


@dataclass(frozen=True)
class Encoder:
    """One encoder and its scores.

    Attributes
    ----------
    subject, model : str
    is_champion : bool
    means : dict of str to dict of str to float
        Row to metric to mean over test images.
    intervals : dict of str to tuple of float
        95 % intervals over images of the encoder's own row, by metric.
    against_reference : dict of str to str
        By metric: better, worse, or no difference shown; empty for ridge itself.
    n_images : int
        Test images.
    settings : dict
        Of its training.
    about : dict
        What its scores depend on, from its metrics file.
    """

    subject: str
    model: str
    is_champion: bool
    means: dict[str, dict[str, float]]
    intervals: dict[str, tuple[float, float]]
    against_reference: dict[str, str]
    n_images: int
    settings: dict[str, Any]
    about: dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """All that a manuscript states.

    Attributes
    ----------
    participants : tuple of Participant
    encoders : tuple of Encoder
        Subject by subject, in the order of the comparison.
    differences : tuple of dict
        Of the comparison: ``subject``, ``models``, ``metric``, ``mean``, ``interval``, ``p_holm``.
    family_sizes : dict of str to int
        Tests that Holm's correction took together, all subjects and models of the comparison:
        against ``chance``, and ``differences`` from ridge.
    autoencoder : dict
        That of the latents: ``name``, ``revision`` and ``sha256``.
    """

    participants: tuple[Participant, ...]
    encoders: tuple[Encoder, ...]
    differences: tuple[dict[str, Any], ...]
    family_sizes: dict[str, int]
    autoencoder: dict[str, Any]

    @property
    def is_simulated(self) -> bool:
        """Whether any of the data are simulated."""
        return any(one.provenance["data_source"] == "simulated" for one in self.participants)

    @property
    def models(self) -> list[str]:
        """Names of the models, each once."""
        return list(dict.fromkeys(encoder.model for encoder in self.encoders))

    @property
    def metrics(self) -> dict[str, Metric]:
        """Headline scores that any encoder has, by name."""
        return {
            name: metric
            for name, metric in headline_metrics().items()
            if any(name in encoder.means[MODEL] for encoder in self.encoders)
        }

    @property
    def tested(self) -> dict[str, Metric]:
        """Scores in which encoders are compared, by name."""
        known, named = all_metrics(), {item["metric"] for item in self.differences}
        return {name: known[name] for name in known if name in named}

    def of_subject(self, subject: str) -> Iterator[Encoder]:
        """Yield the encoders of a subject."""
        return (encoder for encoder in self.encoders if encoder.subject == subject)


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
            Participant.of(subject)
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
    )


def _encoder(run: dict[str, Any], subject: str, model: str) -> Encoder:
    """Read what an encoder's config and metrics file say, beside its run in the comparison."""
    fields = {"settings": dict, "about": dict}
    config = read_json(
        encoder_folder(subject, model) / "config.json",
        remedy=f"fmri2img pull --models (or dvc repro train@{subject}-{model})",
        fields=fields,
    )
    path = metrics_path(subject, model)
    document = read_json(path, remedy=_SCORED, fields={"about": dict})
    if absent := [name for name in _ABOUT if name not in document["about"]]:
        raise FormatError(
            f"{path}: about: {absent[0]}: got nothing, expected what the scores depend on; run: "
            f"dvc repro evaluate@{subject}-{model}"
        )
    return Encoder(
        subject=subject,
        model=model,
        is_champion=run["champion"],
        means=run["means"],
        intervals={metric: tuple(ends) for metric, ends in run.get("interval", {}).items()},
        against_reference=run.get("against_ridge", {}),
        n_images=document["about"]["n_test_images"],
        settings=config["settings"],
        about=document["about"],
    )

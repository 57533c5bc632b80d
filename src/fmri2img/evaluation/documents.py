"""Stored forms of scores: the metrics and encoding documents, and tables as CSV."""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from fmri2img.containers.ids import find_rows
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.splits import Split
from fmri2img.evaluation.metrics.catalogue import CHAMPION_METRIC
from fmri2img.evaluation.metrics.latent_metrics import DIMENSION
from fmri2img.evaluation.metrics.picture_metrics import SSIM
from fmri2img.evaluation.metrics_document import MetricsDocument, Score
from fmri2img.evaluation.predictions import TestTruth
from fmri2img.evaluation.presets import HEADLINE, PRESETS
from fmri2img.evaluation.scores import RowScores, Scores, Steering
from fmri2img.evaluation.table_rows import BRAIN_CORRELATION, MODEL
from fmri2img.project.exceptions import MismatchError

_PLACES = ["channel", "row", "column", "correlation"]
# Below so many images BCa intervals cover too little (86 % with 8 images).
_FEW_IMAGES = 20
OOD_NOTE = (
    "The encoders were trained on images of another kind. Many of these images belong to families "
    "of similar ones: the intervals hold for these families, and are too narrow for others."
)
_SIMULATED = "Simulated data: these numbers come from a simulated brain."
_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-image",
    "torch",
    "torchvision",
    "transformers",
    "pillow",
    "himalaya",
)


def references_document(
    scores: RowScores, truth: TestTruth, subject: str, *, settings: dict[str, Any]
) -> MetricsDocument:
    """Return the scores of the rows that all encoders of a subject share, for
    ``reports/references``.
    """
    intervals = scores.intervals(settings["n_bootstrap"], np.random.default_rng(settings["seed"]))
    return MetricsDocument(
        about={"subject": subject} | _scored_by(scores, truth) | settings,
        rows=_scored_rows(scores, intervals),
        absent=scores.absent,
    )


def ood_document(
    scores: RowScores, truth: TestTruth, about: dict[str, Any], *, settings: dict[str, Any]
) -> MetricsDocument:
    """Return the scores of an encoder on images of another kind, for ``reports/ood``, without
    permutation tests.
    """
    intervals = scores.intervals(settings["n_bootstrap"], np.random.default_rng(settings["seed"]))
    notes = [OOD_NOTE]
    if about["data_source"] == "simulated":
        notes.append(_SIMULATED)
    return MetricsDocument(
        about=about | {"preset": HEADLINE} | _scored_by(scores, truth) | settings,
        rows=_scored_rows(scores, intervals),
        absent=scores.absent,
        notes=tuple(notes),
    )


def _scored_rows(
    scores: RowScores, intervals: dict[str, dict[str, tuple[float, float]]]
) -> dict[str, dict[str, Score]]:
    return {
        row: {
            metric: Score(value, *intervals[row].get(metric, (None, None)))
            for metric, value in means.items()
        }
        for row, means in scores.means.items()
    }


def _scored_by(scores: RowScores, truth: TestTruth) -> dict[str, Any]:
    """Return the properties that scores must share to appear in one table."""
    return {
        "test_ids_sha256": hashlib.sha256(",".join(map(str, truth.image_ids)).encode()).hexdigest(),
        "weights": scores.weights,
        "versions": package_versions(),
    }


def encoding_document(
    regions: dict[str, dict[str, float]],
    provenance: dict[str, Any],
    ceiling_from: str,
    *,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Return the content of ``reports/encoding``: region scores and what they depend on."""
    about = {
        "subject": provenance["subject"],
        "data_source": provenance["data_source"],
        "noise_ceiling_from": ceiling_from,
        **settings,
    }
    return {
        "regions": {region: _rounded(values) for region, values in regions.items()},
        "about": about,
    }


def metrics_document(
    scores: Scores,
    truth: TestTruth,
    reconstructions: Reconstructions,
    split: Split,
    references: MetricsDocument,
    *,
    settings: dict[str, Any],
    steering: Steering | None,
) -> MetricsDocument:
    """Return all numbers, and what they depend on, for ``reports/metrics``.

    Parameters
    ----------
    scores : Scores
    truth : TestTruth
    reconstructions : Reconstructions
    split : Split
    references : MetricsDocument
        Result of `references_document`, whose rows are included.
    settings : dict
        The section ``evaluate`` of params.yaml.
    steering : Steering or None
        Extra scores of an encoder that steers Stable Diffusion; None for other encoders.

    Raises
    ------
    MismatchError
        If the references were scored with other weights, packages or images.
    """
    scored_by = _scored_by(scores.rows, truth)
    subject = reconstructions.provenance["subject"]
    _check_references(references, scored_by | {"absent": scores.rows.absent}, subject)
    n_samples = reconstructions.n_samples
    return MetricsDocument(
        about=_about(truth, reconstructions, split)
        | {
            "constant_reconstructions": scores.n_constant,
            "reconstructions_per_image": max(1, n_samples),
            "scored_reconstruction": "the first; identification_by_samples: all"
            if n_samples
            else "the only one",
        }
        | scored_by
        | settings,
        rows=_scored_rows(scores.rows, scores.intervals) | references.rows,
        absent=scores.rows.absent,
        p_values=scores.p_values,
        latent=scores.latent,
        retrieval=scores.retrieval,
        repetitions={str(count): values for count, values in scores.repetitions.items()},
        seeds={metric: seed_spread(values) for metric, values in scores.seeds.items()},
        brain=scores.brain,
        halves=steering.halves if steering else {},
        samples=steering.samples if steering else {},
        notes=tuple(_notes(reconstructions, scores)),
    )


def _check_references(references: MetricsDocument, scored_by: dict, subject: str) -> None:
    for key, ours in scored_by.items():
        theirs = references.absent if key == "absent" else references.about[key]
        if theirs != ours:
            raise MismatchError(
                f"floors and ceilings of {subject} were scored with different {key}: {theirs}, "
                f"now {ours}; run: dvc repro --force score_references"
            )


def _about(truth: TestTruth, reconstructions: Reconstructions, split: Split) -> dict[str, Any]:
    provenance = reconstructions.provenance
    return {
        "data_source": provenance["data_source"],
        "dataset": provenance.get("title", ""),
        "terms": provenance.get("terms", ""),
        "subject": provenance["subject"],
        "test_set": split.kind,
        "n_test_images": len(split.test),
        "test_images": f"{len(split.test)} shared images"
        if split.kind == "shared"
        else f"{len(split.test)} images drawn at random",
        "sessions": provenance.get("sessions", "all in the voxel file"),
        "preset": HEADLINE,
        "presets_beside": [preset for preset in PRESETS if preset != HEADLINE],
        "antialias": PRESETS[HEADLINE].antialias,
        "repetitions": "betas averaged over the repetitions of each image; single_trial: the first "
        "only",
        "two_way_fixed": "prediction",
        "truth_pixels": list(truth.pictures.shape[1:3]),
        SSIM.name: "two-dimensional, grey, Gaussian window",
        "intervals": f"95 % over images, BCa bootstrap; percentile for {DIMENSION.name}",
        "precision_of_networks": "float32",
        "autoencoder": provenance["autoencoder"],
        "p_of": f"random pairings; PixCorr at {truth.small.shape[1]} x {truth.small.shape[1]}, "
        "SSIM at 64 x 64",
        "retrieval": "cosine of latents",
    }


def _notes(reconstructions: Reconstructions, scores: Scores) -> Iterator[str]:
    """Yield the notes that a reader of the numbers needs."""
    if reconstructions.provenance["data_source"] == "simulated":
        yield _SIMULATED
    n_images = len(reconstructions.rows("test"))
    if n_images < _FEW_IMAGES:
        yield (
            f"Few test images ({n_images}): intervals over so few hold the true mean less often "
            "than 95 times in 100."
        )
    curve = min((values["n_images"] for values in scores.repetitions.values()), default=n_images)
    if curve < min(_FEW_IMAGES, n_images):
        yield (f"Few images behind the curve over repetitions ({curve:.0f}): it is unreliable.")


def seed_spread(values: list[float]) -> dict[str, Any]:
    """Return how a score varies with the training seed: ``values``, ``mean`` and sample ``sd``."""
    return {
        "values": [round(value, 6) for value in values],
        **_rounded({"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}),
    }


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that can change a score."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values.items()}


def score_table(scores: Scores, truth: TestTruth) -> str:
    """Return the model's scores of each test image as CSV, with `BRAIN_CORRELATION` of those that
    were shown again.
    """
    columns = dict(scores.rows.per_image[MODEL])
    if len(scores.brain_of_images):
        brain = np.full(len(truth.image_ids), np.nan)
        rows = find_rows(truth.image_ids, truth.responses.image_ids, "test images")
        brain[rows] = scores.brain_of_images
        columns[BRAIN_CORRELATION] = brain
    return _csv(
        ["image_id", *columns],
        zip(truth.image_ids, *(_cells(values) for values in columns.values()), strict=True),
    )


def repetition_table(scores: Scores) -> str:
    """Return the scores by number of averaged repetitions as CSV."""
    nothing = {"n_images": 0.0, CHAMPION_METRIC: 0.0}
    metrics = list(next(iter(scores.repetitions.values()), nothing))
    lines = (
        [count, *_cells(np.array(list(values.values())))]
        for count, values in scores.repetitions.items()
    )
    return _csv(["repetitions", *metrics], lines)


def latent_map_table(profile: np.ndarray | None) -> str:
    """Return the correlation of each latent number as CSV; profile of shape (channels, h, w), or
    None for an encoder that predicts no latents.
    """
    if profile is None:
        return _csv(_PLACES, ())
    places = np.indices(profile.shape).reshape(3, -1)
    return _csv(
        _PLACES,
        zip(*places.tolist(), _cells(profile.reshape(-1)), strict=True),
    )


def _cells(values: np.ndarray) -> list[str]:
    return [f"{value:.6f}" for value in values]


def _csv(head: list[str], lines: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return text.getvalue()

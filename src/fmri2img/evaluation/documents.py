"""From scores to what is stored: the metrics document, the table of images, pairs of pictures."""

import csv
import hashlib
import io
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from fmri2img.containers import VARIANTS, Reconstructions
from fmri2img.evaluation.brain import ALL_VOXELS
from fmri2img.evaluation.picture_scores import PRESETS
from fmri2img.evaluation.rows import FLOORS, TestTruth
from fmri2img.evaluation.score import HEADLINE, RowScores, Scores
from fmri2img.exceptions import MismatchError
from fmri2img.responses.splits import Split

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

# Row to its name in the metrics document.
SECTIONS = {
    "model": "test",
    "single_trial": "single_trial",
    "ridge": "reference_ridge",
    "vae_ceiling": "ceiling",
    "resize_ceiling": "ceiling_resize",
    **{variant: variant for variant in VARIANTS},
}
SECTIONS |= {row: f"floor_{row}" for row in FLOORS}
# Sections of a document that hold no plain numbers by metric.
_STRUCTURED = (
    "interval",
    "about",
    "repetitions",
    "seeds",
    "brain",
    "halves",
    "identification_by_samples",
)


def references_document(
    scores: RowScores, truth: TestTruth, *, settings: dict[str, Any]
) -> dict[str, Any]:
    """Return the scores of rows for ``reports/references``: a section for each row (`SECTIONS`),
    ``interval``, and ``about``.
    """
    intervals = scores.intervals(settings["n_bootstrap"], np.random.default_rng(settings["seed"]))
    sections: dict[str, Any] = {
        SECTIONS[row]: _rounded(means) for row, means in scores.means.items()
    }
    about = _scored_by(scores, truth) | settings
    return sections | {
        "interval": {SECTIONS[row]: _ends(pairs) for row, pairs in intervals.items()},
        "about": about,
    }


def _scored_by(scores: RowScores, truth: TestTruth) -> dict[str, Any]:
    """Return what must be the same for scores that stand in one table."""
    return {
        "test_ids_sha256": hashlib.sha256(",".join(map(str, truth.image_ids)).encode()).hexdigest(),
        "weights": scores.weights,
        "absent": scores.absent,
        "versions": package_versions(),
    }


def encoding_document(
    regions: dict[str, dict[str, float]],
    provenance: dict[str, Any],
    ceiling_from: str,
    *,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Return what is stored in ``reports/encoding``: each region's numbers, and what they depend
    on.
    """
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
    references: dict[str, Any],
    *,
    settings: dict[str, Any],
    steering: dict[str, dict[str, dict[str, float]]],
) -> dict[str, Any]:
    """Return all numbers, and what they depend on, for ``reports/metrics``; rounded to 6 digits.

    ``steering`` holds ``halves`` and ``identification_by_samples`` (`evaluation.diffusion_scores`)
    of an encoder that steers Stable Diffusion.

    Returns
    -------
    dict
        A section for each row (`SECTIONS`), those of the subject (``references``, from
        `references_document`) among them; then intervals, p-values, what describes the latents,
        retrieval, repetitions, seeds, brain, and ``about``.

    Raises
    ------
    MismatchError
        If the references were scored with other weights, packages or images.
    """
    scored_by = _scored_by(scores.rows, truth)
    for key, ours in scored_by.items():
        if (theirs := references["about"][key]) != ours:
            raise MismatchError(
                f"floors and ceilings of {reconstructions.provenance['subject']} were scored with "
                "other "
                f"{key}: {theirs}, now {ours}; "
                "run: dvc repro --force score_references"
            )
    rows = {SECTIONS[row]: _rounded(means) for row, means in scores.rows.means.items()}
    shared = {
        section: values
        for section, values in references.items()
        if section not in ("interval", "about")
    }
    intervals = {SECTIONS[row]: _ends(pairs) for row, pairs in scores.intervals.items()}
    about = {
        "data_source": reconstructions.provenance["data_source"],
        "subject": reconstructions.provenance["subject"],
        "test_set": split.kind,
        "n_test_images": len(split.test),
        "test_images": f"{len(split.test)} shared images"
        if split.kind == "shared"
        else f"{len(split.test)} images drawn at random",
        "sessions": reconstructions.provenance.get("sessions", "all that the voxel file holds"),
        "preset": HEADLINE,
        "presets_beside": [preset for preset in PRESETS if preset != HEADLINE],
        "antialias": PRESETS[HEADLINE].antialias,
        "repetitions": "betas averaged over the repetitions of each image; single_trial: the first "
        "only",
        "reconstructions_per_image": max(1, reconstructions.samples.shape[1]),
        "scored_reconstruction": "the first; identification_by_samples: all"
        if reconstructions.samples.shape[1]
        else "the only one",
        "constant_reconstructions": scores.n_constant,
        "two_way_fixed": "prediction",
        "truth_pixels": list(truth.pictures.shape[1:3]),
        "ssim": "two-dimensional, grey, Gaussian window",
        "intervals": "95 % over images, BCa bootstrap; percentile for dimension_correlation",
        "precision_of_networks": "float32",
        "autoencoder": reconstructions.provenance["autoencoder"],
        "p_of": f"random pairings; PixCorr at {truth.small.shape[1]} x {truth.small.shape[1]}, "
        "SSIM at 64 x 64",
        "retrieval": "cosine of latents",
        **scored_by,
        **settings,
    }
    return {
        **rows,
        **shared,
        "interval": intervals | references["interval"],
        "p": _rounded(scores.p_values),
        "latent": _rounded(scores.latent),
        "retrieval_raw": _rounded(scores.retrieval["raw"]),
        "retrieval_centred": _rounded(scores.retrieval["centred"]),
        "repetitions": {
            str(count): _rounded(values) for count, values in scores.repetitions.items()
        },
        "seeds": {metric: seed_spread(values) for metric, values in scores.seeds.items()},
        "brain": {
            region: {row: _rounded(values) for row, values in rows.items()}
            for region, rows in scores.brain.items()
        },
        **{
            name: {part: _rounded(values) for part, values in parts.items()}
            for name, parts in steering.items()
        },
        "about": about,
    }


def seed_spread(values: list[float]) -> dict[str, Any]:
    """Return how a score varies with the seed of training: ``values``, their ``mean`` and ``sd``
    (of the sample).
    """
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


def _ends(intervals: dict[str, tuple[float, float]]) -> dict[str, list[float]]:
    return {metric: [round(end, 6) for end in ends] for metric, ends in intervals.items()}


def flat_metrics(
    document: dict[str, Any], regions: dict[str, dict[str, float]]
) -> dict[str, float]:
    """Return ``section/metric`` to value, the names used in MLflow; of intervals the model's, of
    regions all voxels together.

    Parameters
    ----------
    document : dict
        The metrics document, as `metrics_document` makes it.
    regions : dict of str to dict of str to float
        The regions of an encoding document, as `encoding_document` makes it.
    """
    rows = {name: values for name, values in document.items() if name not in _STRUCTURED}
    rows |= {f"repetitions_{count}": values for count, values in document["repetitions"].items()}
    rows["seeds_sd"] = {metric: spread["sd"] for metric, spread in document["seeds"].items()}
    flat = {
        f"{row}/{metric}": value for row, means in rows.items() for metric, value in means.items()
    }
    for metric, (low, high) in document["interval"]["test"].items():
        flat |= {f"interval/{metric}_low": low, f"interval/{metric}_high": high}
    flat |= {
        f"brain/{row}": values["mean"]
        for row, values in document["brain"].get(ALL_VOXELS, {}).items()
    }
    flat |= {
        f"halves/{half}_{metric}": value
        for half, values in document.get("halves", {}).items()
        for metric, value in values.items()
    }
    samples = document.get("identification_by_samples", {})
    flat |= {
        f"identification_by_samples/{layer}_{metric}": value
        for layer, values in samples.items()
        for metric, value in values.items()
    }
    return flat | {f"encoding/{metric}": value for metric, value in regions[ALL_VOXELS].items()}


def score_table(scores: RowScores, image_ids: np.ndarray) -> str:
    """Return the model's scores of each test image as CSV."""
    model = scores.per_image["model"]
    return _csv(
        ["image_id", *model],
        zip(image_ids, *(_cells(values) for values in model.values()), strict=True),
    )


def repetition_table(scores: Scores) -> str:
    """Return the scores by number of averaged repetitions as CSV."""
    metrics = list(
        next(iter(scores.repetitions.values()), {"n_images": 0.0, "pattern_correlation": 0.0})
    )
    lines = (
        [count, *_cells(np.array(list(values.values())))]
        for count, values in scores.repetitions.items()
    )
    return _csv(["repetitions", *metrics], lines)


def latent_map_table(profile: np.ndarray) -> str:
    """Return the correlation of each latent number as CSV; profile of shape (channels, h, w)."""
    places = np.indices(profile.shape).reshape(3, -1)
    return _csv(
        ["channel", "row", "column", "correlation"],
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

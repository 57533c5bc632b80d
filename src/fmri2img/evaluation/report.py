"""From scores to what is stored: the metrics document, the table of images, pairs of pictures."""

import csv
import hashlib
import io
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from fmri2img.containers import Reconstructions
from fmri2img.evaluation.inference import bootstrap_intervals, holm, sign_flip_p
from fmri2img.evaluation.pixels import PRESETS
from fmri2img.evaluation.score import FLOORS, HEADLINE, Scores, TestSet
from fmri2img.responses.splits import Split

_N_PICTURES = 8
_COMPARED = ("pixcorr", "ssim", "pattern_correlation", "two_way")


# Row to its name in the metrics document.
SECTIONS = {
    "model": "test",
    "single_trial": "single_trial",
    "ridge": "reference_ridge",
    "vae_ceiling": "ceiling",
    "resize_ceiling": "ceiling_resize",
}
SECTIONS |= {row: f"floor_{row}" for row in FLOORS}


def metrics_document(scores: Scores, test: TestSet, found: Reconstructions, split: Split, *, settings: dict[str, Any]) -> dict[str, Any]:
    """Return all numbers, and what they depend on, for ``reports/metrics``; rounded to 6 digits.

    Returns
    -------
    dict
        A section for each row (`SECTIONS`); then intervals, p-values, what describes the latents, retrieval, repetitions, and ``about``.
    """
    rows = {SECTIONS[row]: _rounded(means) for row, means in scores.means.items()}
    test_ids = ",".join(map(str, split.test))
    about = {
        "data_source": found.provenance["data_source"],
        "subject": found.provenance["subject"],
        "test_set": split.kind,
        "n_test_images": len(split.test),
        "test_ids_sha256": hashlib.sha256(test_ids.encode()).hexdigest(),
        "preset": HEADLINE,
        "presets_beside": [preset for preset in PRESETS if preset != HEADLINE],
        "repetitions": "betas averaged over the repetitions of each image; single_trial: the first only",
        "reconstructions_per_image": 1,
        "constant_reconstructions": scores.n_constant,
        "two_way_fixed": "prediction",
        "truth_pixels": list(test.truth.shape[1:3]),
        "ssim": "two-dimensional, grey, Gaussian window",
        "intervals": "95 % over images, BCa bootstrap; percentile for dimension_correlation",
        "autoencoder": found.provenance["autoencoder"],
        "versions": {package: version(package) for package in ("numpy", "scipy", "torch", "pillow")},
        **settings,
    }
    return {
        **rows,
        "interval": {metric: [round(end, 6) for end in ends] for metric, ends in scores.intervals.items()},
        "p": _rounded(scores.p_values),
        "latent": _rounded(scores.latent),
        "retrieval_raw": _rounded(scores.retrieval["raw"]),
        "retrieval_centred": _rounded(scores.retrieval["centred"]),
        "repetitions": {str(count): _rounded(values) for count, values in scores.repetitions.items()},
        "about": about,
    }


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values.items()}


def flat_metrics(document: dict[str, Any]) -> dict[str, float]:
    """Return ``section/metric`` to value, the names used in MLflow."""
    rows = {name: values for name, values in document.items() if name not in ("interval", "about", "repetitions")}
    rows |= {f"repetitions_{count}": values for count, values in document["repetitions"].items()}
    flat = {f"{row}/{metric}": value for row, means in rows.items() for metric, value in means.items()}
    for metric, (low, high) in document["interval"].items():
        flat |= {f"interval/{metric}_low": low, f"interval/{metric}_high": high}
    return flat


def score_table(scores: Scores, test: TestSet) -> str:
    """Return the scores of each test image as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    model = scores.per_image["model"]
    writer.writerow(["image_id", *model])
    for row, image_id in enumerate(test.image_ids):
        writer.writerow([image_id, *(f"{values[row]:.6f}" for values in model.values())])
    return text.getvalue()


def paired_differences(tables: dict[str, dict[str, pd.DataFrame]], *, n_resamples: int = 10_000, seed: int = 0) -> list[dict[str, Any]]:
    """Compare every model with ridge on the same images.

    Parameters
    ----------
    tables : dict of str to dict of str to DataFrame
        Subject to model to the scores of each image (`score_table`).
    n_resamples, seed : int
        Of the bootstrap and of the sign flips.

    Returns
    -------
    list of dict
        ``subject``, ``models``, ``metric``, ``mean`` difference, 95 % ``interval``, sign-flip ``p`` and ``p_holm`` over the whole list.
    """
    rng = np.random.default_rng(seed)
    found: list[dict[str, Any]] = []
    for subject, scores in tables.items():
        reference = scores["ridge"].set_index("image_id")
        for model, table in scores.items():
            if model == "ridge":
                continue
            for metric in _COMPARED:
                difference = (table.set_index("image_id")[metric] - reference[metric]).to_numpy()
                ((low, high),) = bootstrap_intervals(difference[None], n_resamples, rng)
                p_value = sign_flip_p(difference, n_resamples, rng)
                item = {"subject": subject, "models": f"{model} - ridge", "metric": metric, "mean": round(float(difference.mean()), 6)}
                found.append(item | {"interval": [round(float(low), 6), round(float(high), 6)], "p": round(p_value, 6)})
    adjusted = holm({str(number): item["p"] for number, item in enumerate(found)})
    return [item | {"p_holm": round(adjusted[str(number)], 6)} for number, item in enumerate(found)]


def picture_pairs(test: TestSet) -> dict[str, np.ndarray]:
    """Return the first test images, truth | autoencoder alone | reconstruction, under keys that are the same in every run."""
    seen, ceiling, reconstructed = (test.pictures[row] for row in ("resize_ceiling", "vae_ceiling", "model"))
    gap = np.full((seen.shape[1], 4, 3), 255, dtype=np.uint8)
    pictures = zip(seen, ceiling, reconstructed, strict=True)
    rows = list(pictures)[:_N_PICTURES]
    return {
        f"seen_ceiling_reconstructed/{number:02d}": np.concatenate([truth, gap, ceiling, gap, predicted], axis=1).repeat(2, 0).repeat(2, 1)
        for number, (truth, ceiling, predicted) in enumerate(rows, start=1)
    }

"""From scores to what is stored: the metrics document, the table of images, pairs of pictures."""

import csv
import hashlib
import io
from typing import Any

import numpy as np

from fmri2img.containers import Examples, Latents, Reconstructions
from fmri2img.evaluation.score import CEILING, Scores, TestSet
from fmri2img.responses.splits import Split

_N_PICTURES = 8


def collect_test_set(examples: Examples, split: Split, latents: Latents, found: Reconstructions) -> TestSet:
    """Join truth and predictions of the test images by 73k id, and compute the training mean picture."""
    rows = found.rows("test")
    image_ids = found.image_ids[rows]
    train_images = examples.images[examples.rows_of(split.ids("train"))]
    return TestSet(
        images=examples.images[examples.rows_of(image_ids)],
        predicted_images=found.images[rows],
        ceiling_images=found.ceiling[rows],
        latents=latents.of(image_ids),
        predicted_latents=found.latents[rows],
        train_mean_image=train_images.mean(axis=0).round().astype(np.uint8),
        mean_decoded=found.mean_decoded,
        train_mean_latent=found.mean_latent,
    )


def metrics_document(scores: Scores, found: Reconstructions, split: Split, *, settings: dict[str, Any]) -> dict[str, Any]:
    """Return all numbers, and what they depend on, for ``reports/metrics``; rounded to 6 digits.

    Returns
    -------
    dict
        ``test`` holds the encoder's means, ``floor_<name>`` and ``ceiling`` the rows beside it; then intervals and p-values.
    """
    titles = {"model": "test", CEILING: "ceiling"}
    rows = {titles.get(row, f"floor_{row}"): _rounded(means) for row, means in scores.means.items()}
    test_ids = ",".join(map(str, split.test))
    about = {
        "data_source": found.provenance["data_source"],
        "test_set": split.kind,
        "n_test_images": len(split.test),
        "test_ids_sha256": hashlib.sha256(test_ids.encode()).hexdigest(),
        "repetitions": "betas averaged over the repetitions of each image",
        "reconstructions_per_image": 1,
        "two_way_fixed": "prediction",
        "truth_pixels": "pictures of the examples, brought to 425 x 425 as the reconstructions are",
        "ssim": "two-dimensional, grey, Gaussian window",
        "intervals": "95 % over images, BCa bootstrap; percentile for dimension_correlation",
        "autoencoder": found.provenance["autoencoder"],
        **settings,
    }
    intervals = {metric: [round(end, 6) for end in ends] for metric, ends in scores.intervals.items()}
    return {**rows, "interval": intervals, "p": _rounded(scores.p_values), "about": about}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values.items()}


def flat_metrics(document: dict[str, Any]) -> dict[str, float]:
    """Return ``section/metric`` to value, the names used in MLflow."""
    flat = {
        f"{row}/{metric}": value for row, means in document.items() if row not in ("interval", "about") for metric, value in means.items()
    }
    for metric, (low, high) in document["interval"].items():
        flat |= {f"interval/{metric}_low": low, f"interval/{metric}_high": high}
    return flat


def score_table(scores: Scores, split: Split) -> str:
    """Return the scores of each test image as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", *scores.per_image])
    for row, image_id in enumerate(split.test):
        writer.writerow([image_id, *(f"{values[row]:.6f}" for values in scores.per_image.values())])
    return text.getvalue()


def picture_pairs(test: TestSet) -> dict[str, np.ndarray]:
    """Return the first test images, truth | autoencoder alone | reconstruction, under keys that are the same in every run."""
    gap = np.full((test.images.shape[1], 4, 3), 255, dtype=np.uint8)
    pictures = zip(test.images, test.ceiling_images, test.predicted_images, strict=True)
    rows = list(pictures)[:_N_PICTURES]
    return {
        f"seen_ceiling_reconstructed/{number:02d}": np.concatenate([truth, gap, ceiling, gap, predicted], axis=1).repeat(2, 0).repeat(2, 1)
        for number, (truth, ceiling, predicted) in enumerate(rows, start=1)
    }

"""Records of a training: the log while it runs, the curve and the scores when it is done."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.splits import Split
from fmri2img.evaluation.metrics.catalogue import (
    CHAMPION_METRIC,
    CHAMPION_SCORE,
    VALIDATION_LOSS,
)
from fmri2img.project.files import write_text
from fmri2img.project.layout import LOGS
from fmri2img.training.checkpoints import EpochRecord
from fmri2img.training.data import TrainingResult
from fmri2img.training.loop import latent_correlations
from fmri2img.training.processes import is_main_process


class EpochLog:
    """Appends each epoch to a JSONL file and shows it; the file is complete however the process
    ends.

    Parameters
    ----------
    path : Path
        File of the log; emptied first.
    label : str
        Shown before the scores.
    then : callable, optional
        Called with each epoch once it is on disk.
    """

    def __init__(
        self, path: Path, label: str, then: Callable[[dict[str, float]], None] | None = None
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
        self.path, self.then = path, then
        self.bar = tqdm(desc=label, unit=" epochs", disable=None)

    def __call__(self, record: EpochRecord) -> None:
        """Record one epoch."""
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(record)) + "\n")
        if self.then is not None:
            self.then(asdict(record))
        self.bar.update()
        self.bar.set_postfix_str(
            f"validation loss {record.validation_loss:.4f}, pattern r "
            f"{record.validation_pattern_correlation:.3f}"
        )


def epoch_log(
    subject: str, name: str, then: Callable[[dict[str, float]], None] | None = None
) -> Callable[[EpochRecord], None]:
    """Return the log of one training in this project; only the main process writes."""
    if not is_main_process():
        return lambda _: None
    return EpochLog(LOGS / subject / f"{name}.jsonl", label=f"{subject} {name}", then=then)


def write_curve(path: Path, history: list[EpochRecord]) -> None:
    """Write the learning curve as CSV, one row per epoch."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([item.name for item in fields(EpochRecord)])
    for record in history:
        epoch, *scores = asdict(record).values()
        writer.writerow([epoch, *(f"{score:.6f}" for score in scores)])
    write_text(path, text.getvalue())


def validation_table(scores: torch.Tensor, split: Split) -> str:
    """Return the score of each validation image, shape (n,), as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", CHAMPION_METRIC])
    writer.writerows(
        (image_id, f"{score:.6f}")
        for image_id, score in zip(split.validation, scores.tolist(), strict=True)
    )
    return text.getvalue()


def judge_by_latents(
    result: TrainingResult, truth: np.ndarray, encoded_again: np.ndarray, train_mean: np.ndarray
) -> tuple[TrainingResult, torch.Tensor]:
    """Score an encoder that predicts other targets by the project's latents of its pictures.

    Parameters
    ----------
    result : TrainingResult
        Result of the training; the scores of the encoder's own predictions are kept as facts.
    truth, encoded_again : ndarray, shape (n_images, 4, h, w)
        True latents of validation images, and latents of the encoder's pictures.
    train_mean : ndarray, shape (4, h, w)

    Returns
    -------
    result : TrainingResult
        The same result with the scores of the latents instead.
    scores : Tensor, shape (n_images,)
        Pattern correlations.
    """
    scores = latent_correlations(
        *(torch.from_numpy(values) for values in (truth, encoded_again, train_mean))
    )
    facts_of_own = {
        "own_validation_loss": result.validation_loss,
        f"own_validation_{CHAMPION_METRIC}": result.validation_pattern_correlation,
    }
    loss, correlation = float(((truth - encoded_again) ** 2).mean()), float(scores.mean())
    # In closed form there is one record.
    history = [
        replace(record, validation_loss=loss, validation_pattern_correlation=correlation)
        for record in result.history
    ]
    judged = TrainingResult(history, result.facts | facts_of_own, loss, correlation)
    return judged, scores


def training_metrics(result: TrainingResult) -> dict[str, float]:
    """Return the numbers that describe a training, rounded so that they compare equal across
    runs.
    """
    metrics = {
        VALIDATION_LOSS: result.validation_loss,
        CHAMPION_SCORE: result.validation_pattern_correlation,
        **{f"training/{name}": value for name, value in result.facts.items()},
    }
    return {name: round(value, 6) for name, value in metrics.items()}


def describe_encoder(
    examples: Examples, split: Split, latents: Latents, roi: str
) -> dict[str, Any]:
    """Return what an encoder was made from; recorded in its config and as tags of its run."""
    provenance = examples.provenance
    return {
        "subject": provenance["subject"],
        "data.source": provenance["data_source"],
        "roi": roi,
        "func_space": provenance["func_space"],
        "beta_version": provenance["beta_version"],
        "n_repetitions": examples.n_repetitions,
        "sessions": len(examples.sessions),
        "split": split.kind,
        "n_train_images": len(split.train),
        "n_validation_images": len(split.validation),
        "autoencoder": latents.provenance["autoencoder"]["name"],
        "autoencoder.revision": latents.provenance["autoencoder"]["revision"],
        "autoencoder.sha256": latents.provenance["autoencoder"]["sha256"],
    }

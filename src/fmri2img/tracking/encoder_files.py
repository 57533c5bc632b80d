"""The files of one encoder, as its MLflow run shows them."""

import csv
import io
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag

from fmri2img.containers.examples import Examples
from fmri2img.containers.ids import id_name
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.evaluation.metrics.catalogue import CHAMPION_METRIC, CHAMPION_SCORE
from fmri2img.models.registry import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    model_class,
    read_config,
    stage_of,
)
from fmri2img.project.exceptions import FormatError, MismatchError
from fmri2img.project.files import hash_file, read_json, read_text
from fmri2img.project.layout import (
    encoder_folder,
    examples_path,
    latents_path,
    reconstructions_path,
    split_path,
    training_path,
    validation_path,
)
from fmri2img.provenance.notes import accepted_for
from fmri2img.tracking.versions import CONFIG_TAG, MD5_TAG
from fmri2img.training.targets.kinds import targets_of

_N_PICTURES = 8
_ROUNDING = 2e-6  # both files hold six digits


def training_scores(subject: str, model: str) -> tuple[dict[str, Any], str]:
    """Return the scores of a training, and the table of its validation images as text.

    Neither file names whose it is; that they belong together shows in the mean.

    Raises
    ------
    MissingDataError, FormatError
        If a file is not there, or of another form.
    MismatchError
        If they are of two trainings.
    """
    path, table = training_path(subject, model), validation_path(subject, model)
    remedy = f"dvc repro {stage_of('train', subject, model)}"
    scores = read_json(path, remedy=remedy, fields={CHAMPION_SCORE: float})
    text = read_text(table, remedy=remedy)
    try:
        rows = list(csv.DictReader(io.StringIO(text)))
        mean = float(np.mean([float(row[CHAMPION_METRIC]) for row in rows]))
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise FormatError(
            f"{table}: expected a column {CHAMPION_METRIC} of numbers; run: {remedy}"
        ) from error
    if not abs(mean - scores[CHAMPION_SCORE]) <= _ROUNDING:
        raise MismatchError(
            f"{path}: {CHAMPION_SCORE} is {scores[CHAMPION_SCORE]:.6f}, expected {mean:.6f}, the "
            f"mean of {table}; one of them is of another training: bring both back (git checkout "
            f"{path}; dvc checkout {table}), or run: {remedy}"
        )
    return scores, text


@dataclass(frozen=True)
class EncoderFiles:
    """The files of one encoder on disk.

    Attributes
    ----------
    subject, model : str
    config : dict
    md5 : dict of str to str
        Tags with the MD5 of weights and config, which together identify the encoder.
    """

    subject: str
    model: str
    config: dict[str, Any]
    md5: dict[str, str]

    @classmethod
    def of(cls, subject: str, model: str) -> "EncoderFiles":
        """Read the config of an encoder, and hash its files.

        Raises
        ------
        MissingDataError
            If weights or config are not there.
        """
        folder = encoder_folder(subject, model)
        config = read_config(folder, subject=subject)  # the model may have an earlier name
        return cls(subject, model, config, md5_tags(folder))

    @property
    def tags(self) -> dict[str, str]:
        """What the encoder is and was made from, as text."""
        about = {key: str(value) for key, value in self.config["about"].items()}
        # Results that were kept although code has changed since they were made (fmri2img accept).
        accepted = (
            {"code.accepted": "; ".join(phrases)} if (phrases := accepted_for(self.subject)) else {}
        )
        return {**about, **accepted, "model": self.model, **self.md5}


def md5_tags(folder: Path) -> dict[str, str]:
    """Return the MD5 of an encoder's weights and config, which ``dvc.lock`` records too, as
    tags.
    """
    return {
        MD5_TAG: hash_file(folder / WEIGHTS_NAME, "md5"),
        CONFIG_TAG: hash_file(folder / CONFIG_NAME, "md5"),
    }


def dataset_inputs(subject: str, model: str) -> list[DatasetInput]:
    """Describe the files that training read; the digest of each is its MD5 in ``dvc.lock``."""
    paths = {
        "examples": examples_path(subject),
        "split": split_path(subject),
        "latents": latents_path(subject),
    }
    further = targets_of(model_class(model)).files(subject, model)
    paths |= {path.parts[1]: path for path in further if path.parts[1] == "targets"}
    return [
        DatasetInput(
            Dataset(
                f"{kind}-{subject}",
                hash_file(path, "md5"),
                "local",
                json.dumps({"uri": path.as_posix()}),
            ),
            [InputTag("mlflow.data.context", "training")],
        )
        for kind, path in paths.items()
        if path.exists()
    ]


def picture_pairs(subject: str, model: str) -> dict[str, np.ndarray]:
    """Return the first test images, seen | autoencoder alone | reconstructed, (h, w, 3), uint8.

    The key is the image's id: it stands for the same picture in every subject's run.
    """
    reconstructions = Reconstructions.open(
        reconstructions_path(subject, model),
        remedy=f"dvc repro {stage_of('predict', subject, model)}",
    )
    examples = Examples.open(
        examples_path(subject),
        remedy=f"dvc repro create_examples@{subject}",
        on_disk=["images", "betas"],
    )
    rows = reconstructions.rows("test")[:_N_PICTURES]
    gap = np.full((reconstructions.images.shape[1], 4, 3), 255, dtype=np.uint8)
    pictures = {}
    for row, image_id in zip(rows, reconstructions.image_ids[rows], strict=True):
        truth = examples.images[examples.rows_of(np.array([image_id]))[0]]
        wide = np.concatenate(
            [truth, gap, reconstructions.ceiling[row], gap, reconstructions.images[row]], axis=1
        )
        pictures[f"pictures/{id_name(image_id)}"] = wide.repeat(2, 0).repeat(2, 1)
    return pictures


def lineage_tags(files: EncoderFiles) -> dict[str, str]:
    """Return tags that lead from a run to the bytes it used and the code that ran."""
    subject = files.subject
    inputs = [examples_path(subject), split_path(subject), latents_path(subject)]
    inputs += targets_of(model_class(files.model)).files(subject, files.model)
    tags = {"dvc.stage": stage_of("train", subject, files.model)}
    tags |= {
        f"dvc.dep.{path.as_posix()}": hash_file(path, "md5") for path in inputs if path.exists()
    }
    if Path("params.yaml").exists():
        tags["params.sha256"] = hash_file(Path("params.yaml"))
    if name := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.exp_name"] = name
    if commit := _git("rev-parse", "HEAD"):
        tags["git.commit"] = commit
        tags["git.dirty"] = str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower()
    return tags


def _git(*arguments: str) -> str:
    """Return what git prints, or nothing where there is no git or no repository."""
    try:
        return subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""

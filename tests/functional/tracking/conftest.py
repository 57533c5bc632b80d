"""Encoders on disk as the stage ``train`` leaves them, in a project with a store of its own."""

import shutil
import sys
from dataclasses import dataclass

import mlflow
import numpy as np
import pytest
import torch
import yaml

from conftest import REPOSITORY
from fmri2img.models.registry import check_settings, model_class, save_encoder
from fmri2img.project.files import write_json, write_text
from fmri2img.project.layout import (
    curve_path,
    encoder_folder,
    examples_path,
    training_path,
    validation_path,
)
from fmri2img.tracking.encoder_files import md5_tags
from fmri2img.tracking.runs import log_encoder
from fmri2img.tracking.store import open_store
from miniature import inside, move_store

SETTINGS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"]
ABOUT = {
    "subject": "subj01",
    "data.source": "simulated",
    "roi": "V1",
    "func_space": "func1pt8mm",
    "beta_version": "b3",
    "sessions": 2,
    "split": "shared",
    "n_train_images": 40,
    "n_validation_images": 30,
    "autoencoder": str(REPOSITORY / "models" / "demo-vae"),
    "autoencoder.revision": "folder",
    "autoencoder.sha256": "0" * 64,
}
N_VOXELS = 9


@dataclass(frozen=True)
class Project:
    """A folder with ``data/``, ``models/`` and ``reports/``; stages run in it."""

    root: object

    def train(
        self,
        model="ridge",
        subject="subj01",
        *,
        weight=0.0,
        score=0.3,
        images=range(100, 130),
        epochs=2,
        **about,
    ):
        """Leave the files of one training; ``weight`` makes encoders differ, ``score`` is their
        mean on validation images.
        """
        encoder = model_class("ridge")(
            N_VOXELS, (4, 16, 16), check_settings("ridge", SETTINGS["ridge"])
        ).eval()
        torch.nn.init.constant_(encoder.linear.weight, weight)
        torch.nn.init.zeros_(encoder.linear.bias)
        encoder.settings = check_settings(model, SETTINGS[model])  # its config is the model's own
        save_encoder(
            encoder, model, encoder_folder(subject, model), ABOUT | {"subject": subject} | about
        )
        write_json(
            training_path(subject, model),
            {"validation/loss": 0.4, "validation/pattern_correlation": score},
        )
        rows = [
            f"{epoch},{1 / epoch:.3f},{0.5 / epoch:.3f},{0.1 * epoch:.3f}"
            for epoch in range(1, epochs + 1)
        ]
        header = "epoch,train_loss,validation_loss,validation_pattern_correlation"
        write_text(curve_path(subject, model), "\n".join([header, *rows]) + "\n")
        noise = np.random.default_rng(0).normal(0, 0.02, len(images))
        noise -= noise.mean()
        scores = [
            f"{image},{score + wobble:.6f}" for image, wobble in zip(images, noise, strict=True)
        ]
        write_text(
            validation_path(subject, model),
            "\n".join(["image_id,pattern_correlation", *scores]) + "\n",
        )
        if not examples_path(subject).exists():
            examples_path(subject).parent.mkdir(parents=True, exist_ok=True)
            examples_path(subject).write_bytes(b"voxels")
        return encoder

    def train_and_log(self, *args, **changes):
        """Train, and log as the stage does; returns the tags that tell the encoder."""
        self.train(*args, **changes)
        model, subject = (*args, "ridge", "subj01")[:2] if len(args) != 1 else (args[0], "subj01")
        log_encoder(subject, model, is_new=True, evaluation=False)
        return md5_tags(encoder_folder(subject, model))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A store with the project's experiment and no run: to make one takes seconds, to copy it
    none.
    """
    folder = tmp_path_factory.mktemp("store")
    with inside(folder):
        open_store()
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch, empty_store):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store / "mlflow.db", tmp_path)
    move_store(tmp_path / "mlflow.db", empty_store, tmp_path)
    # An encoder that is loaded puts its code first.
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield Project(tmp_path)
    while mlflow.active_run():
        mlflow.end_run()

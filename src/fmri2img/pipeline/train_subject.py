"""Train one encoder for one subject, and save it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fmri2img.containers.latents import Latents
from fmri2img.containers.splits import Split
from fmri2img.models.base import Encoder
from fmri2img.models.registry import check_settings, model_class, save_seeds, save_verified
from fmri2img.pipeline.subject import SubjectData, open_population, open_prior
from fmri2img.pipeline.training_records import (
    describe_encoder,
    epoch_log,
    judge_by_latents,
    training_metrics,
    validation_table,
    write_curve,
)
from fmri2img.project.config import AutoencoderParams, Params, ProjectParams
from fmri2img.project.files import replacing_together, write_json, write_text
from fmri2img.project.layout import (
    CHECKPOINTS,
    curve_path,
    encoder_folder,
    training_path,
    validation_path,
)
from fmri2img.tracking.live import LiveCurve, live_curve
from fmri2img.training.data import TrainingResult, TrainingSet, ValidationTensors
from fmri2img.training.fit import fit_encoder, fit_other_seeds, remove_checkpoints
from fmri2img.training.loop import predict_validation, validation_scores
from fmri2img.training.processes import is_main_process, launch_again
from fmri2img.training.targets.kinds import Sources, targets_of

if TYPE_CHECKING:
    from fmri2img.pretrained.autoencoder import FrozenAutoencoder

_BATCH = 8
_N_TRIED = 4  # averages that test a saved encoder before it replaces another


@dataclass(frozen=True)
class _Task:
    """One training, without its data.

    Attributes
    ----------
    subject, model : str
    kind : subclass of Encoder
    settings : Params
        Settings of the model.
    autoencoder : AutoencoderParams
    latents : Latents
        Latents of the subject's pictures.
    split : Split
    about : dict
        What the encoder is made from; part of its config.
    owner : str
        Subject, model and voxels in words.
    side : int
        Side of the subject's pictures, in pixels.
    """

    subject: str
    model: str
    kind: type[Encoder]
    settings: Params
    autoencoder: AutoencoderParams
    latents: Latents
    split: Split
    about: dict[str, Any]
    owner: str
    side: int

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished training is kept."""
        return CHECKPOINTS / self.subject / f"{self.model}.safetensors"

    def load_decoder(self) -> "FrozenAutoencoder":
        """Load the frozen autoencoder of the subject's latents."""
        # Takes seconds; only a pixel loss needs it.
        from fmri2img.pretrained.autoencoder import check_same_autoencoder, load_autoencoder

        autoencoder = load_autoencoder(self.autoencoder.source, self.autoencoder.revision)
        return check_same_autoencoder(self.latents.provenance["autoencoder"], autoencoder)


def train_subject(subject: str, model: str, params: ProjectParams) -> str | None:
    """Train an encoder, with its other seeds; write weights, scores and curve.

    Parameters
    ----------
    subject, model : str
    params : ProjectParams

    Returns
    -------
    str or None
        Id of the MLflow run that already has the curve, or empty; None in a process other than the
        main one.
    """
    settings, kind = check_settings(model, params.train[model]), model_class(model)
    if kind.trained_by_gradient:
        launch_again(params.machine.launch)
    task, data = _collect(SubjectData(subject), model, kind, settings, params)
    validation = data.validation
    with _followed_live(task) as live:
        encoder, result = _fit(task, data, live)
        others = fit_other_seeds(
            task.kind,
            task.settings,
            data,
            load_decoder=task.load_decoder,
            checkpoint=task.checkpoint,
            on_epoch=epoch_log(subject, f"{model}-seeds"),
            owner=task.owner,
        )
    if not is_main_process():
        return None
    del data  # writing weights takes their memory a second time
    judged = _judge(task, encoder, result, validation)
    with replacing_together():
        save_verified(
            encoder,
            model,
            encoder_folder(subject, model),
            task.about,
            validation.image_betas[:_N_TRIED],
        )
        _save(task, others, *judged)
    remove_checkpoints(task.checkpoint)
    return live.close() if live else ""


def _collect(
    data: SubjectData,
    model: str,
    kind: type[Encoder],
    settings: Params,
    params: ProjectParams,
) -> tuple[_Task, TrainingSet]:
    """Collect what training may see; the subject's other files are closed again."""
    examples, split, latents = data.examples(on_disk=["images"]), data.split(), data.latents()
    roi = data.region()["roi"]
    about = describe_encoder(examples, split, latents, roi)
    sources = Sources(
        examples,
        split,
        latents,
        settings,
        lambda: open_prior(params.population),
        data.encoder(model).targets,
        lambda: open_population(params.population, data.subject, model),
    )
    targets = targets_of(kind).collect(sources)
    about |= targets.about
    region = " + ".join(roi) if isinstance(roi, list) else roi
    task = _Task(
        subject=data.subject,
        model=model,
        kind=kind,
        settings=settings,
        autoencoder=params.autoencoder,
        latents=latents,
        split=split,
        about=about,
        owner=f"{data.subject}/{model} on {examples.n_voxels} voxels of {region}",
        side=examples.images.shape[1],
    )
    return task, targets.data


@contextmanager
def _followed_live(task: _Task) -> Iterator[LiveCurve | None]:
    """Send epochs to MLflow while the block runs; None if there are none to send."""
    if not (task.kind.trained_by_gradient and is_main_process()):
        yield None
        return
    with live_curve(task.subject, task.model, task.about) as live:
        yield live


def _fit(task: _Task, data: TrainingSet, live: LiveCurve | None) -> tuple[Encoder, TrainingResult]:
    return fit_encoder(
        task.kind,
        task.settings,
        data,
        load_decoder=task.load_decoder,
        checkpoint=task.checkpoint,
        on_epoch=epoch_log(task.subject, task.model, live.add if live else None),
        owner=task.owner,
    )


def _judge(
    task: _Task, encoder: Encoder, result: TrainingResult, validation: ValidationTensors
) -> tuple[TrainingResult, torch.Tensor]:
    """Score the validation images in the project's latents, where all encoders are comparable."""
    if targets_of(task.kind).are_latents:
        return result, validation_scores(encoder, validation)
    # Late: renderers load networks, which most trainings do not need.
    from fmri2img.features.vae_latents import encode_pictures
    from fmri2img.generation.renderers.renderer import renderer_of

    predicted = predict_validation(encoder, validation).numpy()
    pictures = renderer_of(task.kind).preview(predicted, task.about, task.side)
    encoded_again = encode_pictures(pictures, task.load_decoder(), batch_size=_BATCH)
    truth = task.latents.of(task.split.ids("validation"))
    mean = task.latents.of(task.split.ids("train")).mean(axis=0)
    return judge_by_latents(result, truth, encoded_again, mean)


def _save(
    task: _Task,
    others: list[Encoder],
    result: TrainingResult,
    scores: torch.Tensor,
) -> None:
    """Write curve, validation scores and other seeds."""
    subject, model, folder = task.subject, task.model, encoder_folder(task.subject, task.model)
    write_curve(curve_path(subject, model), result.history)
    write_json(training_path(subject, model), training_metrics(result))
    write_text(validation_path(subject, model), validation_table(scores, task.split))
    save_seeds(others, folder)

"""Reconstruct the test images with one encoder, and show them beside the truth."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.evaluation.correlation import pixel_correlations
from fmri2img.evaluation.metrics.latent_metrics import PATTERN, pattern_correlations
from fmri2img.evaluation.metrics.picture_metrics import PIXCORR
from fmri2img.evaluation.metrics_document import data_sentence
from fmri2img.features.vae_latents import encode_pictures
from fmri2img.generation.reconstruct import unsure_places
from fmri2img.generation.renderers.renderer import Inputs, Renderer, Task, renderer_of
from fmri2img.models.base import Encoder
from fmri2img.models.registry import load_encoder, load_seeds, stage_of
from fmri2img.pipeline.subject import SubjectData
from fmri2img.pretrained.autoencoder import load_autoencoder
from fmri2img.project.config import ProjectParams
from fmri2img.project.files import replacing_together, write_text
from fmri2img.project.layout import (
    encoder_folder,
    gallery_path,
    generated_folder,
    reconstructions_path,
)
from fmri2img.project.progress import progress
from fmri2img.viz.gallery import UnsureMap, gallery_items, gallery_page

log = logging.getLogger(__name__)


def reconstruct_subject(subject: str, model: str, params: ProjectParams) -> None:
    """Write the reconstructions of an encoder and their gallery.

    Parameters
    ----------
    subject, model : str
    params : ProjectParams
    """
    data, folder = SubjectData(subject), encoder_folder(subject, model)
    encoder, config = load_encoder(folder, subject=subject, model=model)
    autoencoder = load_autoencoder(params.autoencoder.source, params.autoencoder.revision)
    batch_size = params.predict.batch_size
    examples, split = data.examples(), data.split()
    examples.rows_of(split.ids("test"))  # else the split is another subject's
    inputs = Inputs(
        encoder=encoder,
        examples=examples,
        split=split,
        latents=data.latents(),
        autoencoder=autoencoder,
        encode_pictures=lambda pictures: encode_pictures(
            pictures, autoencoder, batch_size=batch_size
        ),
        n_train_images=params.predict.n_train_images,
        batch_size=batch_size,
        seed=params.predict.seed,
        n_posterior_images=params.predict.n_posterior_images,
        n_posterior_samples=params.predict.n_posterior_samples,
        progress=progress("decoding, batches"),
    )
    wanted = params.predict.n_posterior_images * params.predict.n_posterior_samples
    if wanted and encoder.states_its_spread and encoder.deviations(1, 1) is None:
        log.info(
            "%s of %s was trained before encoders kept samples from their posterior, so its page "
            "will show none; run: dvc repro --force %s",
            *(model, subject, stage_of("train", subject, model)),
        )
    renderer = renderer_of(type(encoder))
    rendered = renderer.reconstruct(
        inputs,
        Task(
            about=config["about"],
            load_other_seeds=lambda: load_seeds(folder),
            open_targets=data.encoder(model).targets,
            settings=params.generate,
            batch=params.machine.generation_batch,
            folder=generated_folder(subject, model),
            progress=progress(f"{subject} {model} pictures"),
        ),
    )
    reconstructions = _with_facts(rendered.reconstructions, encoder)
    with replacing_together():
        reconstructions.save(reconstructions_path(subject, model))
        page = _gallery(inputs, rendered.reconstructions, model, config, renderer)
        write_text(gallery_path(subject, model), page)
    rendered.forget()


def _with_facts(reconstructions: Reconstructions, encoder: Encoder) -> Reconstructions:
    """Add what maps of voxels and the page of scores need of the encoder."""
    weights = encoder.voxel_weights()
    return replace(
        reconstructions,
        voxel_weights=None if weights is None else weights.numpy(),
        provenance=reconstructions.provenance | {"states_its_spread": encoder.states_its_spread},
    )


def _gallery(
    inputs: Inputs,
    reconstructions: Reconstructions,
    model: str,
    config: dict[str, Any],
    renderer: Renderer,
) -> str:
    """Return the page that shows true pictures beside reconstructions."""
    about = config["about"]
    truth = inputs.examples.images[inputs.examples.rows_of(reconstructions.image_ids)]
    facts = {
        "region": about["roi"],
        "voxels": str(config["n_voxels"]),
        "betas": about["beta_version"],
        "sessions": str(about["sessions"]),
        "autoencoder": about["autoencoder"],
    }
    facts |= renderer.facts(about)
    places: dict[str, np.ndarray] = {}
    if renderer.states_errors_of_latents:
        places = unsure_places(inputs.encoder, inputs.examples, inputs.split, inputs.latents)
    return gallery_page(
        gallery_items(reconstructions, truth, _scores(inputs, reconstructions, truth)),
        subject=about["subject"],
        model=model,
        data_source=about["data.source"],
        facts=facts,
        unsure=[UnsureMap(title, shares) for title, shares in places.items()],
        origin=data_sentence(
            inputs.examples.provenance["title"], inputs.examples.provenance["terms"]
        ),
    )


def _scores(
    inputs: Inputs, reconstructions: Reconstructions, truth: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the scores of each picture that the gallery shows, by title."""
    scores = {PIXCORR.title: pixel_correlations(truth, reconstructions.images)}
    if reconstructions.latents is None:
        return scores
    latents = inputs.latents.of(reconstructions.image_ids).reshape(len(truth), -1)
    predicted = reconstructions.latents.reshape(len(truth), -1)
    mean = reconstructions.mean_latent.reshape(-1)
    return scores | {PATTERN.title: pattern_correlations(latents, predicted, mean)}

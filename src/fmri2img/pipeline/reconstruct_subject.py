"""Reconstruct the test images with one encoder, and show them beside the truth."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fmri2img.config import ProjectParams
from fmri2img.containers import Reconstructions
from fmri2img.evaluation.correlation import pixel_correlations
from fmri2img.evaluation.metrics.latent_metrics import pattern_correlations
from fmri2img.features.vae_latents import encode_images
from fmri2img.files import write_text
from fmri2img.generation.reconstruct import Inputs, reconstruct, unsure_places
from fmri2img.layout import (
    encoder_folder,
    gallery_path,
    generated_folder,
    reconstructions_path,
)
from fmri2img.models.registry import load_encoder, load_seeds
from fmri2img.pipeline.stage import progress
from fmri2img.pipeline.subject import EncoderData, SubjectData
from fmri2img.pretrained.autoencoder import load_autoencoder
from fmri2img.viz.gallery import UnsureMap, gallery_items, gallery_page

if TYPE_CHECKING:
    from fmri2img.generation.diffusion_pictures import MadePictures


def reconstruct_subject(subject: str, model: str, params: ProjectParams) -> None:
    """Write the reconstructions of an encoder and their gallery.

    Parameters
    ----------
    subject, model : str
    params : ProjectParams
    """
    data, folder = SubjectData(subject), encoder_folder(subject, model)
    encoder, config = load_encoder(folder)
    autoencoder = load_autoencoder(params.autoencoder.source, params.autoencoder.revision)
    batch_size = params.predict.batch_size
    inputs = Inputs(
        encoder=encoder,
        examples=data.examples(),
        split=data.split(),
        latents=data.latents(),
        autoencoder=autoencoder,
        encode_pictures=lambda pictures: encode_images(
            pictures, autoencoder, batch_size=batch_size
        ),
        n_train_images=params.predict.n_train_images,
        batch_size=batch_size,
        seed=params.predict.seed,
    )
    unfinished = None
    if encoder.uses_diffusion:
        unfinished = _by_diffusion(inputs, data.encoder(model), params, config["about"])
    else:
        reconstruct(inputs, load_seeds(folder)).save(reconstructions_path(subject, model))
    page = _gallery(inputs, data.encoder(model), config)
    write_text(gallery_path(subject, model), page)
    if unfinished is not None:
        unfinished.forget()


def _by_diffusion(
    inputs: Inputs, data: EncoderData, params: ProjectParams, about: dict[str, Any]
) -> "MadePictures":
    """Write the reconstructions of an encoder that steers Stable Diffusion."""
    # Late: these take seconds to load, and most encoders do without.
    from fmri2img.generation.diffusion_pictures import PictureMaker
    from fmri2img.generation.diffusion_reconstructions import reconstruct_by_diffusion
    from fmri2img.pretrained.diffusion import open_diffusion_of

    diffusion, empty = open_diffusion_of(about), data.targets().empty_prompt
    reconstructions, generated = reconstruct_by_diffusion(
        inputs,
        maker=PictureMaker.of(diffusion, params.generate, params.machine.generation_batch, empty),
        folder=generated_folder(data.subject, data.model),
        made_from=diffusion.weights,
        progress=progress(f"{data.subject} {data.model} pictures"),
    )
    reconstructions.save(reconstructions_path(data.subject, data.model))
    return generated


def _gallery(inputs: Inputs, data: EncoderData, config: dict[str, Any]) -> str:
    """Return the page of truth beside reconstruction."""
    reconstructions, about = data.reconstructions(), config["about"]
    truth = inputs.examples.images[inputs.examples.rows_of(reconstructions.image_ids)]
    facts = {
        "region": about["roi"],
        "voxels": str(config["n_voxels"]),
        "betas": about["beta_version"],
        "sessions": str(about["sessions"]),
        "autoencoder": about["autoencoder"],
    }
    places: dict[str, np.ndarray] = {}
    if inputs.encoder.uses_diffusion:
        facts["Stable Diffusion"] = about["diffusion"]
    else:
        places = unsure_places(inputs.encoder, inputs.examples, inputs.split, inputs.latents)
    return gallery_page(
        gallery_items(reconstructions, truth, _scores(inputs, reconstructions, truth)),
        subject=data.subject,
        model=data.model,
        data_source=about["data.source"],
        facts=facts,
        unsure=[UnsureMap(title, shares) for title, shares in places.items()],
    )


def _scores(
    inputs: Inputs, reconstructions: Reconstructions, truth: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the scores of each picture that the gallery shows, by title."""
    latents = inputs.latents.of(reconstructions.image_ids).reshape(len(truth), -1)
    predicted = reconstructions.latents.reshape(len(truth), -1)
    mean = reconstructions.mean_latent.reshape(-1)
    return {
        "PixCorr": pixel_correlations(truth, reconstructions.images),
        "latent pattern r": pattern_correlations(latents, predicted, mean),
    }

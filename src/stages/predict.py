"""Reconstruct the test images, and show them beside the truth."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fmri2img.config import ProjectParams
from fmri2img.containers import DiffusionTargets, Examples, Latents, Reconstructions
from fmri2img.evaluation.latent_scores import pattern_correlations
from fmri2img.evaluation.picture_scores import pixel_correlations
from fmri2img.features.vae_latents import encode_images
from fmri2img.files import write_text
from fmri2img.generation.reconstruct import reconstruct, unsure_places
from fmri2img.layout import (
    encoder_folder,
    examples_path,
    gallery_path,
    generated_folder,
    latents_path,
    reconstructions_path,
    split_path,
    targets_path,
)
from fmri2img.models.catalogue import load_encoder, load_seeds
from fmri2img.params_file import load_params
from fmri2img.pipeline.stage import progress, run_stage
from fmri2img.pretrained.autoencoder import load_autoencoder
from fmri2img.responses.splits import Split
from fmri2img.viz.gallery import UnsureMap, gallery_items, gallery_page

if TYPE_CHECKING:
    from fmri2img.generation.diffusion_pictures import MadePictures


def main(subject: str, model: str) -> None:
    """Write reconstructions and the gallery of one encoder."""
    params = load_params()
    examples = Examples.open(examples_path(subject), remedy=f"dvc repro create_examples@{subject}")
    split = Split.open(split_path(subject), remedy=f"dvc repro split_examples@{subject}")
    latents = Latents.open(latents_path(subject), remedy=f"dvc repro encode_latents@{subject}")
    encoder, config = load_encoder(encoder_folder(subject, model))
    autoencoder = load_autoencoder(params.autoencoder.source, params.autoencoder.revision)
    what: tuple[Any, ...] = (encoder, examples, split, latents, autoencoder)
    how: dict[str, Any] = {
        "n_train_images": params.predict.n_train_images,
        "batch_size": params.predict.batch_size,
        "rng": np.random.default_rng(params.predict.seed),
        "encode_pictures": lambda pictures: encode_images(
            pictures, autoencoder, batch_size=params.predict.batch_size
        ),
    }
    path = reconstructions_path(subject, model)
    made = None
    if encoder.uses_diffusion:
        made = _steer(subject, model, params, config["about"], what, how)
    else:
        reconstruct(*what, **how, other_seeds=load_seeds(encoder_folder(subject, model))).save(path)
    found = Reconstructions.open(path, remedy=f"dvc repro predict@{subject}-{model}")
    truth = examples.images[examples.rows_of(found.image_ids)]
    seen, predicted = (
        values.reshape(len(truth), -1) for values in (latents.of(found.image_ids), found.latents)
    )
    scores = {
        "PixCorr": pixel_correlations(truth, found.images),
        "latent pattern r": pattern_correlations(seen, predicted, found.mean_latent.reshape(-1)),
    }
    about = config["about"]
    facts = {
        "region": about["roi"],
        "voxels": str(config["n_voxels"]),
        "betas": about["beta_version"],
        "sessions": str(about["sessions"]),
        "autoencoder": about["autoencoder"],
    } | ({"Stable Diffusion": about["diffusion"]} if encoder.uses_diffusion else {})
    places = {} if encoder.uses_diffusion else unsure_places(encoder, examples, split, latents)
    page = gallery_page(
        gallery_items(found, truth, scores),
        subject=subject,
        model=model,
        data_source=about["data.source"],
        facts=facts,
        unsure=[UnsureMap(title, shares) for title, shares in places.items()],
    )
    write_text(gallery_path(subject, model), page)
    if made is not None:
        made.forget()


def _steer(
    subject: str, model: str, params: ProjectParams, about: dict, what: tuple, how: dict
) -> "MadePictures":
    # Late: these take seconds to load, and most encoders do without.
    from fmri2img.generation.diffusion_pictures import PictureMaker
    from fmri2img.generation.diffusion_reconstructions import reconstruct_by_diffusion
    from fmri2img.pretrained.diffusion import open_diffusion_of

    targets = DiffusionTargets.open(
        targets_path(subject, model), remedy=f"dvc repro make_targets@{subject}-{model}"
    )
    diffusion = open_diffusion_of(about)
    maker = PictureMaker.of(
        diffusion, params.generate, params.machine.generation_batch, targets.empty_prompt
    )
    found, made = reconstruct_by_diffusion(
        *what,
        maker=maker,
        **how,
        folder=generated_folder(subject, model),
        made_from=diffusion.weights,
        progress=progress(f"{subject} {model} pictures"),
    )
    found.save(reconstructions_path(subject, model))
    return made


if __name__ == "__main__":
    run_stage(main)

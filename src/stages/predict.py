"""Reconstruct the test images, and show them beside the truth."""

import numpy as np

from fmri2img.command import run_stage
from fmri2img.config import load_params
from fmri2img.containers import Examples, Latents
from fmri2img.evaluation.latents import pattern_correlations
from fmri2img.evaluation.pixels import pixel_correlations
from fmri2img.features.latents import encode_images
from fmri2img.files import write_text
from fmri2img.generation.predict import reconstruct, unsure_places
from fmri2img.layout import encoder_folder, examples_path, gallery_path, latents_path, reconstructions_path, split_path
from fmri2img.models.registry import load_encoder, load_seeds
from fmri2img.pretrained.autoencoder import load_autoencoder
from fmri2img.responses.splits import Split
from fmri2img.viz.gallery import GalleryItem, UnsureMap, gallery_page


def main(subject: str, model: str) -> None:
    """Write reconstructions and the gallery of one encoder."""
    params = load_params()
    examples = Examples.open(examples_path(subject), remedy=f"dvc repro create_examples@{subject}")
    split = Split.open(split_path(subject), remedy=f"dvc repro split_examples@{subject}")
    latents = Latents.open(latents_path(subject), remedy=f"dvc repro encode_latents@{subject}")
    encoder, config = load_encoder(encoder_folder(subject, model))
    autoencoder = load_autoencoder(params.autoencoder.source, params.autoencoder.revision)
    found = reconstruct(
        encoder,
        examples,
        split,
        latents,
        autoencoder,
        n_train_images=params.predict.n_train_images,
        batch_size=params.predict.batch_size,
        rng=np.random.default_rng(params.predict.seed),
        encode_pictures=lambda pictures: encode_images(pictures, autoencoder, batch_size=params.predict.batch_size),
        other_seeds=load_seeds(encoder_folder(subject, model)),
    )
    found.save(reconstructions_path(subject, model))
    truth = examples.images[examples.rows_of(found.image_ids)]
    seen, predicted = (values.reshape(len(truth), -1) for values in (latents.of(found.image_ids), found.latents))
    scores = {
        "PixCorr": pixel_correlations(truth, found.images),
        "latent pattern r": pattern_correlations(seen, predicted, found.mean_latent.reshape(-1)),
    }
    items = [
        GalleryItem(
            image_id=int(image_id),
            split=found.split[row].decode(),
            truth=truth[row],
            ceiling=found.ceiling[row],
            reconstruction=found.images[row],
            scores={title: float(values[row]) for title, values in scores.items()},
        )
        for row, image_id in enumerate(found.image_ids)
    ]
    about = config["about"]
    facts = {
        "region": about["roi"],
        "voxels": str(config["n_voxels"]),
        "betas": about["beta_version"],
        "sessions": str(about["sessions"]),
        "autoencoder": about["autoencoder"],
    }
    places = unsure_places(encoder, examples, split, latents)
    unsure = [UnsureMap(title, shares) for title, shares in places.items()]
    page = gallery_page(
        items,
        subject=subject,
        model=model,
        data_source=about["data.source"],
        facts=facts,
        unsure=unsure,
    )
    write_text(gallery_path(subject, model), page)


if __name__ == "__main__":
    run_stage(main)

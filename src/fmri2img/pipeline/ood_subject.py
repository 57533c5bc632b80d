"""Score an encoder on images of another kind than those it was trained on (out of distribution).

The encoder is applied as it is: nothing about the further session, not even its mean, is used to
adapt it.
"""

from typing import Any

import numpy as np

from fmri2img.containers.examples import Examples
from fmri2img.evaluation.documents import ood_document
from fmri2img.evaluation.network_features import open_networks
from fmri2img.evaluation.predictions import (
    MeasuredResponses,
    Predictions,
    TestTruth,
    derangement,
)
from fmri2img.evaluation.presets import HEADLINE
from fmri2img.evaluation.row_predictions import grey_picture, mean_picture, training_statistics
from fmri2img.evaluation.score import score_rows
from fmri2img.evaluation.table_rows import CEILING, MODEL, SHUFFLED
from fmri2img.features.vae_latents import encode_pictures
from fmri2img.generation.decode import decode_latents
from fmri2img.generation.reconstruct import predict_latents
from fmri2img.generation.renderers.renderer import renderer_of
from fmri2img.models.registry import WEIGHTS_NAME, load_encoder, stage_of
from fmri2img.pipeline.subject import SubjectData
from fmri2img.pretrained.autoencoder import FrozenAutoencoder, load_autoencoder
from fmri2img.project.config import ProjectParams
from fmri2img.project.exceptions import MismatchError
from fmri2img.project.files import hash_file, write_json
from fmri2img.project.layout import encoder_folder, ood_metrics_path


def evaluate_ood(subject: str, model: str, test: str, params: ProjectParams) -> None:
    """Write the scores of one encoder on a further test set.

    Parameters
    ----------
    subject, model, test : str
    params : ProjectParams

    Raises
    ------
    MismatchError
        If the encoder was trained on other voxels.
    """
    data, settings = SubjectData(subject), params.evaluate
    examples = data.ood(test)
    autoencoder = load_autoencoder(params.autoencoder.source, params.autoencoder.revision)
    truth, rows = _shared_rows(data, test, examples, autoencoder, params.predict.batch_size)
    folder = encoder_folder(subject, model)
    encoder, config = load_encoder(folder, subject=subject, model=model)
    if encoder.n_voxels != examples.n_voxels:
        raise MismatchError(
            f"{folder}: the encoder was trained on {encoder.n_voxels} voxels, {test} of {subject} "
            f"has {examples.n_voxels}; run: dvc repro {stage_of('train', subject, model)}"
        )
    predicted = predict_latents(encoder, examples, examples.image_ids)
    renderer, side = renderer_of(type(encoder)), examples.images.shape[1]
    if renderer.needs_latents:
        pictures = decode_latents(predicted, autoencoder, batch_size=params.predict.batch_size)
    else:
        pictures = renderer.preview(predicted, config["about"], side)
    shuffle = derangement(len(pictures), np.random.default_rng(settings.seed))
    latents = {}
    if renderer.needs_latents:
        flat = predicted.reshape(len(predicted), -1)
        latents = rows.latents | {MODEL: flat, SHUFFLED: flat[shuffle]}
    scores = score_rows(
        truth,
        Predictions(
            pictures=rows.pictures | {MODEL: pictures, SHUFFLED: pictures[shuffle]},
            latents=latents,
            shuffles={SHUFFLED: (MODEL, shuffle)},
        ),
        open_networks(settings.networks, params.machine.weights_folder),
        presets=(HEADLINE,),
    )
    about = _about(examples, test, model, hash_file(folder / WEIGHTS_NAME, "md5"))
    document = ood_document(scores, truth, about, settings=settings.model_dump())
    write_json(ood_metrics_path(subject, model, test), document.to_json())


def _shared_rows(
    data: SubjectData,
    test: str,
    examples: Examples,
    autoencoder: FrozenAutoencoder,
    batch_size: int,
) -> tuple[TestTruth, Predictions]:
    """Return the truth, and the rows that all encoders of a subject share; floors come from the
    training images of the main experiment.
    """
    image_ids, small = examples.image_ids, examples.images
    latents = encode_pictures(small, autoencoder, batch_size=batch_size)
    flat, shape = latents.reshape(len(latents), -1), latents.shape[1:]
    main, train_ids = data.examples(on_disk=["images", "betas"]), data.split().ids("train")
    train_mean, train_sd = training_statistics(data.latents(), train_ids)
    truth = TestTruth(
        image_ids=image_ids,
        pictures=data.ood_pictures(test).of(image_ids),
        small=small,
        latents=flat,
        train_mean=train_mean,
        train_sd=train_sd,
        responses=MeasuredResponses.none(examples.n_voxels),
        n_repetitions=examples.repetitions_of(image_ids),
    )
    mean_latent = train_mean.reshape(1, *shape)
    rows = Predictions(
        pictures={
            "grey": grey_picture(small.shape[1])[None],
            "train_mean": mean_picture(main, train_ids)[None],
            "mean_latent": decode_latents(mean_latent, autoencoder, batch_size=1),
            CEILING: decode_latents(latents, autoencoder, batch_size=batch_size),
        },
        latents={"mean_latent": np.broadcast_to(train_mean, flat.shape), CEILING: flat},
    )
    return truth, rows


def _about(examples: Examples, test: str, model: str, weights: str) -> dict[str, Any]:
    repetitions = examples.repetitions_of(examples.image_ids)
    return {
        "subject": examples.provenance["subject"],
        "model": model,
        "model_md5": weights,
        "data_source": examples.provenance["data_source"],
        "dataset": examples.provenance["title"],
        "terms": examples.provenance["terms"],
        "test_set": test,
        "n_test_images": len(examples.image_ids),
        "n_left_out": examples.provenance["left_out"],
        "repetitions": [int(repetitions.min()), int(repetitions.max())],
    }

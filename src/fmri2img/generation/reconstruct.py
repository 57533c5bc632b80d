"""An encoder's predictions from averaged betas, decoded to pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.repetitions import average_repetitions, averaged_betas
from fmri2img.containers.splits import Split
from fmri2img.generation.decode import decode_latents
from fmri2img.generation.renderers.renderer import Inputs
from fmri2img.models.base import Encoder
from fmri2img.pretrained.autoencoder import FrozenAutoencoder, check_same_autoencoder
from fmri2img.project.exceptions import MismatchError


def reconstruct(inputs: Inputs, other_seeds: Sequence[Encoder] = ()) -> Reconstructions:
    """Reconstruct all test images and some training images.

    Parameters
    ----------
    inputs : Inputs
    other_seeds : sequence of Encoder
        The same encoder trained from other seeds.

    Returns
    -------
    Reconstructions

    Raises
    ------
    MismatchError
        If the autoencoder did not make the latents, or the encoder has other voxels.
    """
    check_fit(inputs.encoder, inputs.examples, inputs.latents, inputs.autoencoder)
    encoder, examples, test_ids = inputs.encoder, inputs.examples, inputs.split.ids("test")
    groups = (ids for ids in (test_ids, inputs.train_ids) if len(ids))
    predicted = np.concatenate([predict_latents(encoder, examples, ids) for ids in groups])
    repetitions = torch.from_numpy(examples.repetitions_of(inputs.image_ids))
    by_seed = [predict_latents(other, examples, test_ids) for other in other_seeds]
    images = inputs.decode(predicted)
    return Reconstructions(
        image_ids=inputs.image_ids,
        split=inputs.parts,
        latents=predicted,
        latent_sd=encoder.spread(len(repetitions), repetitions).numpy(),
        images=images,
        **pictures_alone(inputs),
        **_from_some_repetitions(inputs),
        seed_latents=np.stack(by_seed) if by_seed else None,
        seed_images=np.stack([inputs.decode(latents) for latents in by_seed]) if by_seed else None,
        **_from_the_posterior(inputs, predicted),
        provenance={**examples.provenance, "autoencoder": inputs.autoencoder.identity},
    )


def _from_the_posterior(inputs: Inputs, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Return pictures of draws from the posterior, in the form of `Reconstructions`; nothing if
    the encoder has none. The test images are spread evenly, so that no score chooses them.
    """
    test_ids, n_draws = inputs.split.ids("test"), inputs.n_posterior_samples
    n_images = min(inputs.n_posterior_images, len(test_ids))
    rows = np.linspace(0, len(test_ids) - 1, n_images).round().astype(int)
    repetitions = torch.from_numpy(inputs.examples.repetitions_of(test_ids[rows]))
    deviations = inputs.encoder.deviations(n_images, n_draws, repetitions)
    if deviations is None or not n_images * n_draws:
        return {}
    draws = predicted[rows][:, None] + deviations.numpy()  # (n_images, n_draws, 4, h, w)
    pictures = inputs.decode(draws.reshape(-1, *predicted.shape[1:]))
    return {
        "posterior_image_ids": test_ids[rows],
        "posterior_images": pictures.reshape(n_images, n_draws, *pictures.shape[1:]),
    }


def reconstruct_pictures(
    inputs: Inputs,
    other_seeds: Sequence[Encoder],
    to_pictures: Callable[[np.ndarray], np.ndarray],
) -> Reconstructions:
    """Reconstruct the same images with an encoder that predicts pictures instead of latents.

    Parameters
    ----------
    inputs : Inputs
    other_seeds : sequence of Encoder
    to_pictures : callable
        Turns predictions into pictures, shape (n, side, side, 3), uint8.
    """
    check_fit(inputs.encoder, inputs.examples, inputs.latents, inputs.autoencoder)
    encoder, examples, test_ids = inputs.encoder, inputs.examples, inputs.split.ids("test")
    groups = (ids for ids in (test_ids, inputs.train_ids) if len(ids))
    images = to_pictures(
        np.concatenate([predict_latents(encoder, examples, ids) for ids in groups])
    )
    by_seed = [to_pictures(predict_latents(other, examples, test_ids)) for other in other_seeds]
    partial = predict_partial(encoder, examples, test_ids)
    partial_images = to_pictures(partial.pop("partial_latents"))
    cells = inputs.latents.values.shape[1:]
    return Reconstructions(
        image_ids=inputs.image_ids,
        split=inputs.parts,
        images=images,
        found_latents=inputs.encode_pictures(images),
        **pictures_alone(inputs),
        **partial,
        partial_images=partial_images,
        partial_seen=inputs.encode_pictures(partial_images)
        if len(partial_images)
        else np.zeros((0, *cells), np.float32),
        seed_images=np.stack(by_seed) if by_seed else None,
        provenance={**examples.provenance, "autoencoder": inputs.autoencoder.identity},
    )


def _from_some_repetitions(inputs: Inputs) -> dict[str, np.ndarray]:
    """Return what is predicted from some repetitions, in the form of `Reconstructions`."""
    partial = predict_partial(inputs.encoder, inputs.examples, inputs.split.ids("test"))
    images = inputs.decode(partial["partial_latents"])
    again = inputs.encode_pictures(images) if len(images) else partial["partial_latents"]
    return {**partial, "partial_images": images, "partial_seen": again}


def check_fit(
    encoder: Encoder, examples: Examples, latents: Latents, autoencoder: FrozenAutoencoder
) -> None:
    """Check that the autoencoder made the latents and that the encoder has the examples' voxels.

    Raises
    ------
    MismatchError
        If either is not the case.
    """
    check_same_autoencoder(latents.provenance["autoencoder"], autoencoder)
    if encoder.n_voxels != examples.n_voxels:
        raise MismatchError(
            f"the encoder was trained on {encoder.n_voxels} voxels, the examples of "
            f"{examples.provenance['subject']} have "
            f"{examples.n_voxels}; run: dvc repro train"
        )


def pictures_alone(inputs: Inputs) -> dict[str, np.ndarray]:
    """Return the parts of `Reconstructions` that need no encoder: the images through the
    autoencoder alone (``ceiling``, shape (n, side, side, 3)), and the mean latent of training
    images with its picture.
    """
    train = inputs.latents.of(inputs.split.ids("train"))
    mean_latent = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    mean_decoded = decode_latents(mean_latent[None], inputs.autoencoder, batch_size=1)[0]
    return {
        "ceiling": inputs.decode(inputs.latents.of(inputs.image_ids)),
        "mean_latent": mean_latent,
        "mean_decoded": mean_decoded,
        "mean_seen": inputs.encode_pictures(mean_decoded[None])[0],
    }


@dataclass(frozen=True)
class PartialBetas:
    """Averages of some of the repetitions of images that were shown more often.

    Attributes
    ----------
    image_ids : ndarray, shape (m,), int64
        Image of each row; images recur.
    first, count : ndarray, shape (m,), int8
        First averaged repetition, from 0, and number of repetitions averaged: the first alone, the
        second alone, the first two, and so on.
    betas : ndarray, shape (m, n_voxels), float32
        Averages, in the dataset's unit.
    """

    image_ids: np.ndarray
    first: np.ndarray
    count: np.ndarray
    betas: np.ndarray


def partial_betas(examples: Examples, image_ids: np.ndarray) -> PartialBetas:
    """Average some of the repetitions of each image, ``image_ids`` of shape (n,)."""
    shown = examples.repetitions_of(image_ids)
    parts = [
        PartialBetas(
            image_ids[:0],
            np.zeros(0, np.int8),
            np.zeros(0, np.int8),
            np.zeros((0, examples.n_voxels), np.float32),
        )
    ]
    more = range(2, int(shown.max(initial=0)))
    for first, count in ((0, 1), (1, 1), *((0, count) for count in more)):
        # Averages of all repetitions are left out.
        ids = image_ids[shown > max(count, first)]
        if not len(ids):
            continue
        trials = examples.trials_of(ids)  # by image, then in time order
        starts = np.searchsorted(examples.trial_image_ids[trials], ids)
        chosen = trials[(starts[:, None] + first + np.arange(count)).ravel()]
        betas = average_repetitions(
            examples.in_units(chosen), examples.trial_image_ids[chosen], ids
        )
        parts.append(
            PartialBetas(
                ids,
                np.full(len(ids), first, dtype=np.int8),
                np.full(len(ids), count, dtype=np.int8),
                betas,
            )
        )
    return PartialBetas(
        *(
            np.concatenate([getattr(part, item.name) for part in parts])
            for item in fields(PartialBetas)
        )
    )


def predict_partial(
    encoder: Encoder, examples: Examples, image_ids: np.ndarray
) -> dict[str, np.ndarray]:
    """Predict from some of the repetitions of each image that was shown more than once, in the
    form of `containers.Reconstructions`; ``image_ids`` has shape (n,).
    """
    part = partial_betas(examples, image_ids)
    latents = predict_from(encoder, part.betas, part.count.astype(np.int64))
    return {
        "partial_image_ids": part.image_ids,
        "partial_first": part.first,
        "partial_count": part.count,
        "partial_latents": latents,
    }


@torch.no_grad()
def predict_from(encoder: Encoder, betas: np.ndarray, repetitions: np.ndarray) -> np.ndarray:
    """Predict latents (n, 4, h, w) or pictures (n, 3, side, side) from betas in percent
    (n, n_voxels), averages of ``repetitions`` trials (n,).
    """
    if not len(betas):
        return np.zeros((0, *encoder.latent_shape), dtype=np.float32)
    return encoder(torch.from_numpy(betas), torch.from_numpy(repetitions)).numpy()


def predict_latents(encoder: Encoder, examples: Examples, image_ids: np.ndarray) -> np.ndarray:
    """Predict latents, shape (n_images, 4, h, w), from betas averaged over the repetitions of each
    image.
    """
    betas = averaged_betas(examples, image_ids)
    return predict_from(encoder, betas, examples.repetitions_of(image_ids))


def unsure_places(
    encoder: Encoder, examples: Examples, split: Split, latents: Latents
) -> dict[str, np.ndarray]:
    """Return the encoder's stated uncertainty in each cell of the latent grid, as a share of the
    spread over pictures.

    Returns
    -------
    dict of str to ndarray, shape (h, w)
        One map for each number of repetitions among the test images, or one for all if they are
        equal: over the four channels, RMS of the stated SD as a share of the SD of training images.
        1: nothing is known about the cell.
    """
    numbers = np.unique(examples.repetitions_of(split.ids("test")))
    stated = encoder.spread(len(numbers), torch.from_numpy(numbers)).numpy()  # (n, 4, h, w)
    shares = np.sqrt(
        (stated**2).mean(axis=1) / latents.of(split.ids("train")).var(axis=0).mean(axis=0)
    )
    if (shares == shares[0]).all():
        return {"all pictures": shares[0]}
    return {
        f"{number} repetition{'s' if number > 1 else ''}": share
        for number, share in zip(numbers, shares, strict=True)
    }

"""What an encoder makes of averaged betas, decoded to pictures."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from fmri2img.containers import Examples, Latents, Reconstructions
from fmri2img.exceptions import MismatchError
from fmri2img.generation.decode import decode_latents
from fmri2img.models.base import Encoder
from fmri2img.pretrained.autoencoder import FrozenAutoencoder, check_same_autoencoder
from fmri2img.responses.repetitions import average_repetitions
from fmri2img.responses.splits import Split


def reconstruct(
    encoder: Encoder,
    examples: Examples,
    split: Split,
    latents: Latents,
    autoencoder: FrozenAutoencoder,
    *,
    n_train_images: int,
    batch_size: int,
    rng: np.random.Generator,
    encode_pictures: Callable[[np.ndarray], np.ndarray],
    other_seeds: Sequence[Encoder] = (),
) -> Reconstructions:
    """Reconstruct all test images and some training images.

    Parameters
    ----------
    encoder : Encoder
    examples, split, latents
        The subject's.
    autoencoder : FrozenAutoencoder
        The one that made ``latents``.
    n_train_images : int
    batch_size : int
    rng : Generator
        Chooses the training images.
    encode_pictures : callable
        Pictures, uint8, to the autoencoder's latents (`features.latents.encode_images`).
    other_seeds : sequence of Encoder
        The same encoder trained from other seeds.

    Returns
    -------
    Reconstructions

    Raises
    ------
    MismatchError
        If the autoencoder is not the one of the latents, or the encoder is one of other voxels.
    """
    check_same_autoencoder(latents.provenance["autoencoder"], autoencoder)
    if encoder.n_voxels != examples.n_voxels:
        raise MismatchError(
            f"the encoder was trained on {encoder.n_voxels} voxels, the examples of {examples.provenance['subject']} have "
            f"{examples.n_voxels}; run: dvc repro train"
        )
    train_ids = split.ids("train")
    shown = np.sort(rng.choice(train_ids, size=min(n_train_images, len(train_ids)), replace=False))
    image_ids = np.concatenate([split.ids("test"), shown])
    predicted = np.concatenate([predict_latents(encoder, examples, ids) for ids in (split.ids("test"), shown) if len(ids)])
    spread = encoder.spread(len(image_ids), torch.from_numpy(examples.repetitions_of(image_ids))).numpy()
    partial = predict_partial(encoder, examples, split.ids("test"))
    by_seed = [predict_latents(other, examples, split.ids("test")) for other in other_seeds]
    seed_images = [decode_latents(values, autoencoder, batch_size=batch_size) for values in by_seed]
    images = decode_latents(predicted, autoencoder, batch_size=batch_size)
    n_test = len(split.test)
    mean_latent = latents.of(train_ids).mean(axis=0, dtype=np.float64).astype(np.float32)
    mean_decoded = decode_latents(mean_latent[None], autoencoder, batch_size=1)[0]
    partial_images = decode_latents(partial["partial_latents"], autoencoder, batch_size=batch_size)
    return Reconstructions(
        image_ids=image_ids,
        split=np.array([b"test"] * len(split.test) + [b"train"] * len(shown)),
        latents=predicted,
        latent_sd=spread,
        images=images,
        ceiling=decode_latents(latents.of(image_ids), autoencoder, batch_size=batch_size),
        mean_latent=mean_latent,
        mean_decoded=mean_decoded,
        mean_seen=encode_pictures(mean_decoded[None])[0],
        **partial,
        partial_images=partial_images,
        partial_seen=encode_pictures(partial_images) if len(partial_images) else partial["partial_latents"],
        seed_latents=np.stack(by_seed) if by_seed else np.zeros((0, n_test, *predicted.shape[1:]), np.float32),
        seed_images=np.stack(seed_images) if seed_images else np.zeros((0, n_test, *images.shape[1:]), np.uint8),
        provenance={**examples.provenance, "autoencoder": autoencoder.identity},
    )


# First repetition and number of repetitions of what is predicted beside the average of all.
_PARTIAL = ((0, 1), (1, 1), (0, 2))


def predict_partial(encoder: Encoder, examples: Examples, image_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Predict from some of the repetitions of each image that was shown more often, as `containers.Reconstructions` keeps them."""
    shown = np.array([np.count_nonzero(examples.trial_image_ids == image_id) for image_id in image_ids])
    found: dict[str, list] = {"ids": [], "first": [], "count": [], "latents": []}
    for first, count in _PARTIAL:
        # Two of two are all of them.
        ids = image_ids[shown > max(count, first)]
        if not len(ids):
            continue
        trials = examples.trials_of(ids)  # by image, then in time order
        starts = np.searchsorted(examples.trial_image_ids[trials], ids)
        chosen = trials[(starts[:, None] + first + np.arange(count)).ravel()]
        betas = average_repetitions(examples.percent(chosen), examples.trial_image_ids[chosen], ids)
        found["ids"].append(ids)
        found["first"].append(np.full(len(ids), first, dtype=np.int8))
        found["count"].append(np.full(len(ids), count, dtype=np.int8))
        found["latents"].append(encode(encoder, betas, np.full(len(ids), count)))
    if not found["ids"]:
        empty = np.zeros(0, dtype=np.int8)
        shape = (0, *encoder.latent_shape)
        return {
            "partial_image_ids": np.zeros(0, dtype=np.int64),
            "partial_first": empty,
            "partial_count": empty,
            "partial_latents": np.zeros(shape, dtype=np.float32),
        }
    return {
        "partial_image_ids": np.concatenate(found["ids"]),
        "partial_first": np.concatenate(found["first"]),
        "partial_count": np.concatenate(found["count"]),
        "partial_latents": np.concatenate(found["latents"]),
    }


@torch.no_grad()
def encode(encoder: Encoder, betas: np.ndarray, repetitions: np.ndarray) -> np.ndarray:
    """Return the encoder's latents, shape (n, 4, h, w), of betas in percent (n, n_voxels), averages of ``repetitions`` trials (n,)."""
    return encoder(torch.from_numpy(betas), torch.from_numpy(repetitions)).numpy()


def predict_latents(encoder: Encoder, examples: Examples, image_ids: np.ndarray) -> np.ndarray:
    """Predict latents from betas averaged over the repetitions of each image, shape (n_images, 4, h, w)."""
    trials = examples.trials_of(image_ids)
    betas = average_repetitions(examples.percent(trials), examples.trial_image_ids[trials], image_ids)
    return encode(encoder, betas, examples.repetitions_of(image_ids))


def unsure_places(encoder: Encoder, examples: Examples, split: Split, latents: Latents) -> dict[str, np.ndarray]:
    """Return how much of the pictures' spread an encoder says that it leaves open in each cell of the latent grid.

    Returns
    -------
    dict of str to ndarray, shape (h, w)
        For each number of repetitions among the test images, or once if the encoder does not tell them apart: over the four channels,
        RMS of the stated SD as a share of the SD of training images. 1: it knows nothing about the cell.
    """
    numbers = np.unique(examples.repetitions_of(split.ids("test")))
    stated = encoder.spread(len(numbers), torch.from_numpy(numbers)).numpy()  # (n, 4, h, w)
    shares = np.sqrt((stated**2).mean(axis=1) / latents.of(split.ids("train")).var(axis=0).mean(axis=0))
    if (shares == shares[0]).all():
        return {"all pictures": shares[0]}
    return {f"{number} repetition{'s' if number > 1 else ''}": share for number, share in zip(numbers, shares, strict=True)}

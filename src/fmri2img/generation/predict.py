"""What an encoder makes of averaged betas, decoded to pictures."""

import numpy as np
import torch

from fmri2img.containers import Examples, Latents, Reconstructions
from fmri2img.generation.decode import decode_latents
from fmri2img.models.base import Encoder
from fmri2img.pretrained import FrozenAutoencoder, check_same_autoencoder
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

    Returns
    -------
    Reconstructions

    Raises
    ------
    MismatchError
        If the autoencoder is not the one of the latents.
    """
    check_same_autoencoder(latents.provenance["autoencoder"], autoencoder)
    train_ids = split.ids("train")
    shown = np.sort(rng.choice(train_ids, size=min(n_train_images, len(train_ids)), replace=False))
    image_ids = np.concatenate([split.ids("test"), shown])
    predicted = np.concatenate([predict_latents(encoder, examples, ids) for ids in (split.ids("test"), shown) if len(ids)])
    mean_latent = latents.of(train_ids).mean(axis=0, dtype=np.float64).astype(np.float32)
    return Reconstructions(
        image_ids=image_ids,
        split=np.array([b"test"] * len(split.test) + [b"train"] * len(shown)),
        latents=predicted,
        images=decode_latents(predicted, autoencoder, batch_size=batch_size),
        ceiling=decode_latents(latents.of(image_ids), autoencoder, batch_size=batch_size),
        mean_latent=mean_latent,
        mean_decoded=decode_latents(mean_latent[None], autoencoder, batch_size=1)[0],
        provenance={**examples.provenance, "autoencoder": autoencoder.identity},
    )


@torch.no_grad()
def predict_latents(encoder: Encoder, examples: Examples, image_ids: np.ndarray) -> np.ndarray:
    """Predict latents from betas averaged over the repetitions of each image, shape (n_images, 4, h, w)."""
    trials = examples.trials_of(image_ids)
    betas = average_repetitions(examples.percent(trials), examples.trial_image_ids[trials], image_ids)
    return encoder(torch.from_numpy(betas)).numpy()

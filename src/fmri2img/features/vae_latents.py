"""Encode pictures to latents, in batches."""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from fmri2img.pretrained.autoencoder import FrozenAutoencoder
from fmri2img.pretrained.finite import refuse_not_finite

Progress = Callable[[Iterable], Iterable]


def to_network_range(images: np.ndarray) -> torch.Tensor:
    """Turn uint8 pictures (n, h, w, 3) into a float32 tensor (n, 3, h, w) from -1 to 1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1  # (n, 3, h, w)


@torch.no_grad()
def encode_pictures(
    images: np.ndarray,
    autoencoder: FrozenAutoencoder,
    *,
    batch_size: int,
    progress: Progress = iter,
) -> np.ndarray:
    """Encode pictures.

    Parameters
    ----------
    images : ndarray or storage.StoredArray, shape (n, side, side, 3), uint8
        Side divisible by 8; read a batch at a time.
    autoencoder : FrozenAutoencoder
    batch_size : int
    progress : callable
        Wraps the iterable of batches.

    Returns
    -------
    ndarray, shape (n, 4, side / 8, side / 8), float32
        Latents in scaled units.

    Raises
    ------
    MismatchError
        If a latent is not finite.
    """
    starts = range(0, len(images), batch_size)
    latents = []
    for start in progress(starts):
        batch = to_network_range(images[start : start + batch_size]).to(autoencoder.device)
        encoded = autoencoder.encode(batch).float().cpu()
        refuse_not_finite(encoded, "latents", "the autoencoder")
        latents.append(encoded.numpy())
    return np.concatenate(latents)

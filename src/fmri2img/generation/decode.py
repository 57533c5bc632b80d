"""Latents to pictures, in batches."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fmri2img.pretrained.autoencoder import FrozenAutoencoder
from fmri2img.pretrained.finite import refuse_not_finite
from fmri2img.project.exceptions import FormatError
from fmri2img.project.files import replacing
from fmri2img.project.plain_names import leads_elsewhere

Progress = Callable[[Iterable], Iterable]


@torch.no_grad()
def decode_latents(
    latents: np.ndarray,
    autoencoder: FrozenAutoencoder,
    *,
    batch_size: int,
    progress: Progress = iter,
) -> np.ndarray:
    """Decode latents with the frozen decoder.

    Parameters
    ----------
    latents : ndarray, shape (n, 4, h, w), float32
        Latents in the autoencoder's scaled units.
    autoencoder : FrozenAutoencoder
    batch_size : int
    progress : callable
        Wraps the iterable of batches.

    Returns
    -------
    ndarray, shape (n, 8 h, 8 w, 3), uint8
        Clipped to the range of a picture.
    """
    pictures = [np.zeros((0, *(8 * side for side in latents.shape[2:]), 3), dtype=np.uint8)]
    for start in progress(range(0, len(latents), batch_size)):
        batch = torch.from_numpy(latents[start : start + batch_size]).to(autoencoder.device)
        pictures.append(from_network_range(autoencoder.decode(batch)))
    return np.concatenate(pictures)


def from_network_range(pictures: torch.Tensor) -> np.ndarray:
    """Turn a tensor (n, 3, h, w) of -1 to 1 into uint8 pictures (n, h, w, 3), clipping.

    Raises
    ------
    MismatchError
        If it holds a number that is not finite, which would become black.
    """
    refuse_not_finite(pictures, "pictures", "the decoder")
    scaled = (pictures.float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()  # (n, h, w, 3)


def resize_pictures(pictures: np.ndarray, side: int) -> np.ndarray:
    """Resize pictures (n, h, w, 3), uint8, with Pillow's bicubic filter, which averages when it
    shrinks.
    """
    resized = [
        np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
        for picture in pictures
    ]
    return np.stack(resized) if resized else np.zeros((0, side, side, 3), np.uint8)


def write_pictures(pictures: np.ndarray, names: Sequence[str], folder: Path) -> list[Path]:
    """Write pictures (n, h, w, 3), uint8, as PNG files and return their paths; ``names`` have no
    suffix.

    Raises
    ------
    FormatError
        If a name would lead out of the folder.
    """
    if wrong := [name for name in names if leads_elsewhere(f"{name}.png")]:
        raise FormatError(f"{wrong[0]!r} cannot be the name of a picture; rename the image")
    paths = [folder / f"{name}.png" for name in names]
    for path, picture in zip(paths, pictures, strict=True):
        with replacing(path) as partial:
            Image.fromarray(picture).save(partial)
    return paths

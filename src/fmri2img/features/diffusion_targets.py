"""Stable Diffusion's encodings of pictures and captions: targets of decoders that steer it.

As in the code of Takagi & Nishimoto (CVPR 2023): z is the latent of the picture at 320 x 320
(Lanczos), c the text embedding averaged over the captions. Their z is a sample of the encoder's
narrow distribution; here it is the mode, so that the same picture has the same z.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fmri2img.features.vae_latents import to_network_range
from fmri2img.pretrained.autoencoder import FrozenAutoencoder
from fmri2img.pretrained.diffusion import CELL_PIXELS, SCENE_CELLS, FrozenText
from fmri2img.pretrained.finite import refuse_not_finite
from fmri2img.project.files import replacing

logger = logging.getLogger(__name__)
Progress = Callable[..., Iterable]
SCENE_SIDE = SCENE_CELLS * CELL_PIXELS
# part of the targets' identity: raise it when this module computes other targets from the same
# pictures or captions
VERSION = 1
_BLOCK_IMAGES = 64


@torch.no_grad()
def encode_z_latents(
    read: Callable[[np.ndarray], Iterator[np.ndarray]],
    image_ids: np.ndarray,
    autoencoder: FrozenAutoencoder,
    *,
    batch_size: int,
    folder: Path,
    made_from: Any,
    progress: Progress = lambda items, **_: items,
) -> np.ndarray:
    """Encode pictures at 320 x 320.

    Parameters
    ----------
    read : callable
        Yields the pictures of the given ids, each (side, side, 3), uint8.
    image_ids : ndarray, shape (n,)
    autoencoder : FrozenAutoencoder
    batch_size : int
    folder : Path
        Keeps finished blocks, from which a killed run resumes.
    made_from : object of JSON
        Identity of the result; blocks with another identity are not used.
    progress : callable
        Wraps the blocks, with ``total``.

    Returns
    -------
    ndarray, shape (n, 4, 40, 40), float16
        Latents in scaled units.
    """

    def encode(rows: np.ndarray) -> np.ndarray:
        pictures = np.stack([_shrink(picture) for picture in read(image_ids[rows])])
        parts = [
            autoencoder.encode(
                to_network_range(pictures[start : start + batch_size]).to(autoencoder.device)
            )
            .cpu()
            .numpy()
            for start in range(0, len(pictures), batch_size)
        ]
        return np.concatenate(parts).astype(np.float16)

    return np.concatenate(
        list(
            progress(
                _blocks(len(image_ids), encode, folder, made_from),
                total=-(-len(image_ids) // _BLOCK_IMAGES),
            )
        )
    )


def embed_captions(
    captions: Sequence[Sequence[str]],
    text: FrozenText,
    *,
    batch_size: int,
    folder: Path,
    made_from: Any,
    progress: Progress = lambda items, **_: items,
) -> tuple[np.ndarray, int]:
    """Embed the captions of each image and average over them; ``batch_size``, ``folder`` and so on
    as in `encode_z_latents`.

    Parameters
    ----------
    captions : sequence of sequences of str
        At least one caption per image.
    text : FrozenText

    Returns
    -------
    text_embeddings : ndarray, shape (n, 77, 768), float16
    n_truncated : int
        Number of captions whose end was cut off.
    """

    def embed(rows: np.ndarray) -> np.ndarray:
        texts = [caption for row in rows for caption in captions[row]]
        embedded = torch.cat(
            [
                text.embed(texts[start : start + batch_size])
                for start in range(0, len(texts), batch_size)
            ]
        )
        lengths = [len(captions[row]) for row in rows]
        return (
            torch.stack([part.mean(0) for part in embedded.split(lengths)])
            .numpy()
            .astype(np.float16)
        )

    blocks = progress(
        _blocks(len(captions), embed, folder, made_from), total=-(-len(captions) // _BLOCK_IMAGES)
    )
    embeddings = np.concatenate(list(blocks))
    n_truncated = text.n_too_long([caption for texts in captions for caption in texts])
    if n_truncated:
        logger.warning(
            "%d of %d captions are too long for the text encoder; their ends are cut off",
            n_truncated,
            sum(map(len, captions)),
        )
    return embeddings, n_truncated


def _blocks(
    n_rows: int, make: Callable[[np.ndarray], np.ndarray], folder: Path, made_from: Any
) -> Iterator[np.ndarray]:
    """Yield blocks of rows, each computed once and kept until `forget_blocks`.

    Blocks always start at the same rows, even after an interruption, so that the composition of
    batches never changes.
    """
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
    for start in range(0, n_rows, _BLOCK_IMAGES):
        path = folder / f"{key}-{start:06d}.npy"
        block = _read_block(path)
        if block is None:
            block = make(np.arange(start, min(start + _BLOCK_IMAGES, n_rows)))
            refuse_not_finite(torch.from_numpy(block), "targets", "Stable Diffusion")
            with replacing(path) as partial:
                np.save(partial, block)
        yield block


def _read_block(path: Path) -> np.ndarray | None:
    """Return a finished block; None if it is missing or damaged."""
    try:
        block: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return block if np.isfinite(block).all() else None


def _shrink(picture: np.ndarray) -> np.ndarray:
    return np.asarray(
        Image.fromarray(picture).resize((SCENE_SIDE, SCENE_SIDE), Image.Resampling.LANCZOS)
    )


def forget_blocks(folder: Path) -> None:
    """Delete the blocks of `encode_z_latents` and `embed_captions` once their results are saved."""
    shutil.rmtree(folder, ignore_errors=True)

"""Reconstructions from averaged betas by an encoder that steers Stable Diffusion."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fmri2img.containers.ids import id_name, id_number
from fmri2img.containers.reconstructions import Reconstructions
from fmri2img.containers.repetitions import averaged_betas
from fmri2img.containers.storage import StreamedArray
from fmri2img.generation.decode import resize_pictures
from fmri2img.generation.diffusion_pictures import (
    PICTURE_SIDE,
    MadePictures,
    PictureMaker,
    Progress,
    Request,
)
from fmri2img.generation.reconstruct import PartialBetas, check_fit, partial_betas, pictures_alone
from fmri2img.generation.renderers.renderer import Inputs
from fmri2img.models.base import Encoder

_ROWS_AT_ONCE = 256
# Part of a seed: pictures from all repetitions, from c alone and from some repetitions must not
# share noise within an image.
_FROM_BOTH, _FROM_C, _FROM_SOME = 0, 1, 2


def picture_seed(
    seed: int, image_id: int | str, sample: int = 0, kind: int = _FROM_BOTH
) -> tuple[int, ...]:
    """Return the seed of one picture's noise; by default, of the first picture from z and c and
    all repetitions.
    """
    return seed, id_number(image_id), sample, kind


@torch.no_grad()
def decode_both(encoder: Encoder, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decode z (n, 4, 40, 40), float32, and c (n, 77, 768), float16, from betas in percent signal
    change (n, n_voxels).
    """
    parts = [
        torch.from_numpy(betas[start : start + _ROWS_AT_ONCE])
        for start in range(0, len(betas), _ROWS_AT_ONCE)
    ]
    z_latents = [encoder(part).numpy() for part in parts]
    embeddings = [encoder.condition(part).half().numpy() for part in parts]
    return np.concatenate(z_latents), np.concatenate(embeddings)


@dataclass(frozen=True)
class _Decoded:
    """z and c decoded for every image, and for some repetitions of test images.

    Attributes
    ----------
    z_latents : ndarray, shape (n + m, 4, 40, 40), float32
        Rows of ``n`` images, test images first, then of ``m`` averages of some repetitions.
    text_embeddings : ndarray, shape (n + m, 77, 768), float16
    names : list of str
        Name of the first picture of each row.
    seeds : list of tuple of int
        Seed of the noise of each of these pictures.
    """

    z_latents: np.ndarray
    text_embeddings: np.ndarray
    names: list[str]
    seeds: list[tuple[int, ...]]

    def digest(self) -> str:
        """Return the SHA-256 of all decoded values."""
        content = self.z_latents.tobytes() + self.text_embeddings.tobytes()
        return hashlib.sha256(content).hexdigest()


def reconstruct_by_diffusion(
    inputs: Inputs,
    *,
    maker: PictureMaker,
    folder: Path,
    made_from: Any,
    progress: Progress = lambda items, **_: items,
) -> tuple[Reconstructions, MadePictures]:
    """Reconstruct all test images and some training images; ``folder`` keeps finished pictures.

    Each test image gets ``n_samples`` pictures from z and c, and one from c alone; training images
    and averages of some repetitions get one picture each. The 512 x 512 pictures are reduced to the
    examples' size, for comparison with other encoders; their latents are encoded from them with the
    project's autoencoder.

    Parameters
    ----------
    inputs : Inputs
    maker : PictureMaker
    folder : Path
    made_from : object of JSON
        Identity of the networks.
    progress : callable

    Returns
    -------
    reconstructions : Reconstructions
        ``latent_sd`` is NaN: the encoder gives no error for these latents. ``samples`` are read
        from the folder when they are saved.
    generated : MadePictures
        Call `MadePictures.forget` once everything made from ``reconstructions`` is saved.
    """
    check_fit(inputs.encoder, inputs.examples, inputs.latents, inputs.autoencoder)
    partial = partial_betas(inputs.examples, inputs.split.ids("test"))
    decoded = _decode(inputs, partial, maker.settings.seed)
    requests = _requests(inputs.split.ids("test"), decoded, maker)
    key = [made_from, decoded.digest()]
    generated = maker.make_all(requests, folder, key, progress=progress)
    return _collect(inputs, partial, decoded, generated, maker, made_from), generated


def _decode(inputs: Inputs, partial: PartialBetas, seed: int) -> _Decoded:
    """Decode z and c of all images, then of averages of some repetitions."""
    groups = (ids for ids in (inputs.split.ids("test"), inputs.train_ids) if len(ids))
    betas = [averaged_betas(inputs.examples, ids) for ids in groups]
    z_latents, text_embeddings = decode_both(
        inputs.encoder, np.concatenate([*betas, partial.betas])
    )
    names = [f"{id_name(image_id)}-0" for image_id in inputs.image_ids]
    seeds = [picture_seed(seed, image_id) for image_id in inputs.image_ids]
    for image_id, first, count in zip(
        partial.image_ids.tolist(), partial.first.tolist(), partial.count.tolist(), strict=True
    ):
        names.append(f"{id_name(image_id)}-{first}+{count}")
        seeds.append(picture_seed(seed, image_id, 10 * first + count, _FROM_SOME))
    return _Decoded(z_latents, text_embeddings, names, seeds)


def _requests(test_ids: np.ndarray, decoded: _Decoded, maker: PictureMaker) -> list[Request]:
    """Return all pictures to make: one per row, then more samples and c alone of test images."""
    seed, z_latents, embeddings = maker.settings.seed, decoded.z_latents, decoded.text_embeddings
    parts = zip(decoded.names, decoded.seeds, embeddings, z_latents, strict=True)
    requests = [Request(*part) for part in parts]
    for row, image_id in enumerate(test_ids.tolist()):
        for sample in range(1, maker.settings.n_samples):
            name, noise = f"{id_name(image_id)}-{sample}", picture_seed(seed, image_id, sample)
            requests.append(Request(name, noise, embeddings[row], z_latents[row]))
        noise = picture_seed(seed, image_id, 0, _FROM_C)
        requests.append(Request(f"{id_name(image_id)}-c", noise, embeddings[row], None))
    return requests


def _collect(
    inputs: Inputs,
    partial: PartialBetas,
    decoded: _Decoded,
    generated: MadePictures,
    maker: PictureMaker,
    made_from: Any,
) -> Reconstructions:
    """Join the generated pictures, at the examples' size, with the parts that need no encoder."""
    side, test_ids = inputs.examples.images.shape[1], inputs.split.ids("test")
    n_images, n_test, cells = len(inputs.image_ids), len(test_ids), inputs.latents.values.shape[1:]
    first = _resize_each(generated, decoded.names, side)
    variant_images = np.stack(
        [
            resize_pictures(maker.pictures_of_z(decoded.z_latents[:n_test]), side),
            _resize_each(generated, [f"{id_name(image_id)}-c" for image_id in test_ids], side),
        ]
    )
    encoded_again = inputs.encode_pictures(np.concatenate([first, *variant_images]))
    ends = (n_images, len(first), len(first) + n_test)
    latents, of_some, z_alone, c_alone = np.split(encoded_again, ends)
    return Reconstructions(
        image_ids=inputs.image_ids,
        split=inputs.parts,
        latents=latents,
        latent_sd=np.full((n_images, *cells), np.nan, np.float32),
        images=first[:n_images],
        **pictures_alone(inputs),
        partial_image_ids=partial.image_ids,
        partial_first=partial.first,
        partial_count=partial.count,
        partial_latents=of_some,
        partial_images=first[n_images:],
        partial_seen=of_some,
        samples=_samples(generated, test_ids, maker.settings.n_samples),
        z_latents=decoded.z_latents[:n_test].astype(np.float16),
        text_embeddings=decoded.text_embeddings[:n_test],
        variant_images=variant_images,
        variant_latents=np.stack([z_alone, c_alone]),
        provenance={
            **inputs.examples.provenance,
            "autoencoder": inputs.autoencoder.identity,
            "diffusion": made_from,
        },
    )


def _samples(generated: MadePictures, test_ids: np.ndarray, n_samples: int) -> Any:
    """Return all pictures of each test image, read from the folder as they are saved."""

    def blocks() -> Iterator[tuple[int, np.ndarray]]:
        for row, image_id in enumerate(test_ids):
            names = (f"{id_name(image_id)}-{sample}" for sample in range(n_samples))
            yield row, np.stack([generated.read(name) for name in names])

    shape = (len(test_ids), n_samples, PICTURE_SIDE, PICTURE_SIDE, 3)
    return StreamedArray(shape, np.dtype(np.uint8), blocks)


def _resize_each(generated: MadePictures, names: list[str], side: int) -> np.ndarray:
    """Read pictures one by one and make them smaller, shape (n, side, side, 3), uint8."""
    small = [resize_pictures(generated.read(name)[None], side) for name in names]
    return np.concatenate(small) if small else np.zeros((0, side, side, 3), np.uint8)

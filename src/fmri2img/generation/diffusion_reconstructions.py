"""What an encoder that steers Stable Diffusion makes of averaged betas."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fmri2img.containers import Examples, Latents, Reconstructions
from fmri2img.generation.diffusion_pictures import (
    PICTURE_SIDE,
    MadePictures,
    PictureMaker,
    Progress,
    Request,
)
from fmri2img.generation.pictures import resize_pictures
from fmri2img.generation.reconstruct import (
    check_fit,
    choose_shown,
    partial_betas,
    pictures_alone,
)
from fmri2img.models.base import Encoder
from fmri2img.pretrained.autoencoder import FrozenAutoencoder
from fmri2img.responses.repetitions import averaged_betas
from fmri2img.responses.splits import Split
from fmri2img.storage import StreamedArray

_ROWS_AT_ONCE = 256
# In seeds: pictures from all repetitions, from c alone, and from some repetitions, which must not
# share the noise of others of the image.
_FROM_BOTH, _FROM_C, _FROM_SOME = 0, 1, 2


def picture_seed(
    seed: int, image_id: int, sample: int = 0, kind: int = _FROM_BOTH
) -> tuple[int, ...]:
    """Return the seed of one picture's noise, by default that of the first picture of z and c
    from all repetitions.
    """
    return seed, image_id, sample, kind


@torch.no_grad()
def decode_both(encoder: Encoder, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return z (n, 4, 40, 40), float32, and c (n, 77, 768), float16, of betas in percent signal
    change (n, n_voxels).
    """
    parts = [
        torch.from_numpy(betas[start : start + _ROWS_AT_ONCE])
        for start in range(0, len(betas), _ROWS_AT_ONCE)
    ]
    scenes = [encoder(part).numpy() for part in parts]
    prompts = [encoder.condition(part).half().numpy() for part in parts]
    return np.concatenate(scenes), np.concatenate(prompts)


def reconstruct_by_diffusion(
    encoder: Encoder,
    examples: Examples,
    split: Split,
    latents: Latents,
    autoencoder: FrozenAutoencoder,
    *,
    maker: PictureMaker,
    n_train_images: int,
    batch_size: int,
    rng: np.random.Generator,
    encode_pictures: Callable[[np.ndarray], np.ndarray],
    folder: Path,
    made_from: Any,
    progress: Progress = lambda items, **_: items,
) -> tuple[Reconstructions, MadePictures]:
    """Reconstruct all test images and some training images; what is finished is kept in ``folder``.

    Each test image has ``n_samples`` pictures from z and c, and one from c alone; training images,
    and what some of the repetitions give, have one picture. Pictures of 512 x 512 are made as small
    as the examples' to stand beside those of other encoders; their latents are those that the
    project's autoencoder finds in them.

    Parameters
    ----------
    encoder, examples, split, latents, autoencoder, n_train_images, batch_size, rng, encode_pictures
        As `predict.reconstruct` takes them.
    maker : PictureMaker
    folder : Path
    made_from : object of JSON
        Identity of the networks.
    progress : callable

    Returns
    -------
    reconstructions : Reconstructions
        ``latent_sd`` is NaN: the encoder states no error of these latents. ``samples`` are read
        from the folder when they are saved.
    generated : MadePictures
        To be forgotten when all that is made of ``reconstructions`` is saved.
    """
    check_fit(encoder, examples, latents, autoencoder)
    test_ids, train_ids = split.ids("test"), split.ids("train")
    shown = choose_shown(train_ids, n_train_images, rng)
    image_ids, part = np.concatenate([test_ids, shown]), partial_betas(examples, test_ids)
    betas = [averaged_betas(examples, ids) for ids in (test_ids, shown) if len(ids)]
    scenes, prompts = decode_both(encoder, np.concatenate([*betas, part.betas]))
    seed, n_samples = maker.settings.seed, maker.settings.n_samples
    names = [f"{image_id:05d}-0" for image_id in image_ids]
    seeds = [picture_seed(seed, int(image_id)) for image_id in image_ids]
    for image_id, first, count in zip(
        part.image_ids.tolist(), part.first.tolist(), part.count.tolist(), strict=True
    ):
        names.append(f"{image_id:05d}-{first}+{count}")
        seeds.append(picture_seed(seed, image_id, 10 * first + count, _FROM_SOME))
    requests = [
        Request(name, noise_seed, prompt, scene)
        for name, noise_seed, scene, prompt in zip(names, seeds, scenes, prompts, strict=True)
    ]
    for row, image_id in enumerate(test_ids.tolist()):
        requests += [
            Request(
                f"{image_id:05d}-{sample}",
                picture_seed(seed, image_id, sample),
                prompts[row],
                scenes[row],
            )
            for sample in range(1, n_samples)
        ]
        requests.append(
            Request(
                f"{image_id:05d}-c", picture_seed(seed, image_id, 0, _FROM_C), prompts[row], None
            )
        )
    predicted = hashlib.sha256(scenes.tobytes() + prompts.tobytes()).hexdigest()
    generated = maker.make_all(requests, folder, [made_from, predicted], progress=progress)

    side, n_test = examples.images.shape[1], len(test_ids)
    first = _resize_each(generated, names, side)
    images, partial_images = first[: len(image_ids)], first[len(image_ids) :]
    variant_images = np.stack(
        [
            resize_pictures(maker.scene_pictures(scenes[:n_test]), side),
            _resize_each(generated, [f"{image_id:05d}-c" for image_id in test_ids], side),
        ]
    )
    encoded_again = encode_pictures(np.concatenate([first, *variant_images]))
    alone = len(first) + n_test
    cells = latents.values.shape[1:]

    def samples() -> Iterator[tuple[int, np.ndarray]]:
        for row, image_id in enumerate(test_ids):
            yield (
                row,
                np.stack(
                    [generated.read(f"{image_id:05d}-{sample}") for sample in range(n_samples)]
                ),
            )

    stored: Any = StreamedArray(
        (n_test, n_samples, PICTURE_SIDE, PICTURE_SIDE, 3), np.dtype(np.uint8), samples
    )
    reconstructions = Reconstructions(
        image_ids=image_ids,
        split=np.array([b"test"] * n_test + [b"train"] * len(shown)),
        latents=encoded_again[: len(image_ids)],
        latent_sd=np.full((len(image_ids), *cells), np.nan, np.float32),
        images=images,
        **pictures_alone(
            latents, image_ids, train_ids, autoencoder, encode_pictures, batch_size=batch_size
        ),
        partial_image_ids=part.image_ids,
        partial_first=part.first,
        partial_count=part.count,
        partial_latents=encoded_again[len(image_ids) : len(first)],
        partial_images=partial_images,
        partial_seen=encoded_again[len(image_ids) : len(first)],
        seed_latents=np.zeros((0, n_test, *cells), np.float32),
        seed_images=np.zeros((0, n_test, side, side, 3), np.uint8),
        samples=stored,
        scenes=scenes[:n_test].astype(np.float16),
        prompts=prompts[:n_test],
        variant_images=variant_images,
        variant_latents=np.stack([encoded_again[len(first) : alone], encoded_again[alone:]]),
        provenance={
            **examples.provenance,
            "autoencoder": autoencoder.identity,
            "diffusion": made_from,
        },
    )
    return reconstructions, generated


def _resize_each(generated: MadePictures, names: list[str], side: int) -> np.ndarray:
    """Read pictures one by one and make them smaller, shape (n, side, side, 3), uint8."""
    small = [resize_pictures(generated.read(name)[None], side) for name in names]
    return np.concatenate(small) if small else np.zeros((0, side, side, 3), np.uint8)

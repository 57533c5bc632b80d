"""Pictures from decoded z and c by Stable Diffusion, after Takagi & Nishimoto (CVPR 2023).

z is decoded to 320 x 320, enlarged to 512 x 512 and encoded again. Noise is added at the level of
DDIM step ``strength * n_steps``, and as many steps are denoised, with c as the condition and
guidance against the empty prompt. The start has the noise of one step more than the first denoised
step, as in the original sampler (github.com/CompVis/stable-diffusion,
ldm/models/diffusion/ddim.py: ``stochastic_encode``, ``decode``). z alone gives the 320 x 320
picture; c alone is denoised from pure noise, in all steps. These two are this project's reading of
the paper: the authors' code only makes pictures from both together.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from PIL import Image

from fmri2img.generation.decode import decode_latents, from_network_range, resize_pictures
from fmri2img.pretrained.autoencoder import FrozenAutoencoder, pick_device
from fmri2img.pretrained.diffusion import CELL_PIXELS, PICTURE_CELLS, DiffusionFolder
from fmri2img.project.config import GenerateParams
from fmri2img.project.exceptions import UnavailableError
from fmri2img.project.files import replacing

logger = logging.getLogger(__name__)
Progress = Callable[..., Iterable]
PICTURE_SIDE = PICTURE_CELLS * CELL_PIXELS
# Identifies finished pictures; raise it when this module makes others from the same z and c.
_VERSION = 1
# "auto" starts here and is halved until the pictures fit.
_FIRST_BATCH = {"cuda": 16, "cpu": 2}


@dataclass(frozen=True)
class Request:
    """One picture to make.

    Attributes
    ----------
    name : str
        Name of the picture's file; unique.
    seed : tuple of int
        Seed of its noise; it does not depend on order or number of other pictures.
    text_embedding : ndarray, shape (77, 768)
    z_latent : ndarray, shape (4, 40, 40), or None
        None: the picture comes from c alone.
    """

    name: str
    seed: tuple[int, ...]
    text_embedding: np.ndarray
    z_latent: np.ndarray | None


class PictureMaker:
    """Stable Diffusion, ready to make pictures.

    Parameters
    ----------
    unet : UNet2DConditionModel
    scheduler : DDIMScheduler
    autoencoder : FrozenAutoencoder
        Stable Diffusion's own.
    empty_text : ndarray, shape (77, 768)
    settings : GenerateParams
    batch : int or "auto"
        Pictures at a time.
    """

    def __init__(
        self,
        unet: Any,
        scheduler: Any,
        autoencoder: FrozenAutoencoder,
        empty_text: np.ndarray,
        settings: GenerateParams,
        batch: int | Literal["auto"],
    ) -> None:
        self.unet, self.scheduler, self.autoencoder, self.settings = (
            unet,
            scheduler,
            autoencoder,
            settings,
        )
        self.device: torch.device = autoencoder.device
        self.empty_text = torch.from_numpy(empty_text).to(self.device, unet.dtype)
        self._is_fixed = batch != "auto"
        self._batch = _FIRST_BATCH.get(self.device.type, 1) if batch == "auto" else batch

    @classmethod
    def of(
        cls,
        diffusion: DiffusionFolder,
        settings: GenerateParams,
        batch: int | Literal["auto"],
        empty_text: np.ndarray | None = None,
    ) -> "PictureMaker":
        """Load the networks; the empty prompt, shape (77, 768), is embedded if it is not given.

        Raises
        ------
        UnavailableError
            If the GPU has too little memory for the networks alone.
        """
        device = pick_device()
        half = settings.precision == "float16" or (
            settings.precision == "auto" and device.type == "cuda"
        )
        if empty_text is None:
            # In the dtype that targets store.
            empty_text = diffusion.load_text().embed([""])[0].numpy().astype(np.float16)
        try:
            unet = diffusion.load_unet(device, torch.float16 if half else torch.float32)
            return cls(
                unet,
                diffusion.load_scheduler(),
                diffusion.load_autoencoder(device),
                empty_text,
                settings,
                batch,
            )
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            raise UnavailableError(
                f"no memory left on {device} for Stable Diffusion itself; set generate.precision "
                "to float16 in params.yaml, "
                "or run without the GPU: set CUDA_VISIBLE_DEVICES to nothing"
            ) from error

    def pictures_of_z(self, z_latents: np.ndarray) -> np.ndarray:
        """Decode z (n, 4, 40, 40) alone to pictures (n, 320, 320, 3), uint8."""
        return decode_latents(z_latents.astype(np.float32), self.autoencoder, batch_size=1)

    @torch.no_grad()
    def make(self, requests: Sequence[Request]) -> np.ndarray:
        """Make a batch of pictures, shape (n, 512, 512, 3), uint8; all from z and c, or all from
        c alone.
        """
        timesteps = self._timesteps()
        # float32, the same on every device.
        noise = torch.stack([_noise(request.seed) for request in requests]).to(self.device)
        if requests[0].z_latent is None:
            latents = noise
        else:
            n_denoised = self.settings.n_denoised
            # The noise of one step more than is denoised, if there is one.
            first = timesteps[max(0, len(timesteps) - n_denoised - 1)]
            timesteps = timesteps[len(timesteps) - n_denoised :]
            z_latents = np.stack(
                [request.z_latent for request in requests if request.z_latent is not None]
            )
            enlarged = resize_pictures(self.pictures_of_z(z_latents), PICTURE_SIDE)
            pictures = (
                torch.from_numpy(enlarged).permute(0, 3, 1, 2).float().to(self.device) / 127.5 - 1
            )
            latents = self.scheduler.add_noise(
                torch.cat([self.autoencoder.encode(one[None]) for one in pictures]),
                noise,
                first[None],
            )
        embeddings = torch.from_numpy(
            np.stack([request.text_embedding for request in requests])
        ).to(self.device, self.unet.dtype)
        for step in timesteps:
            latents = self.scheduler.step(
                self._guided_noise(latents, embeddings, step), step, latents, eta=0.0
            ).prev_sample
        return np.concatenate(
            [from_network_range(self.autoencoder.decode(one[None])) for one in latents]
        )

    def _timesteps(self) -> torch.Tensor:
        """Return the times of all steps, from noise to picture."""
        self.scheduler.set_timesteps(self.settings.n_steps)
        steps: torch.Tensor = self.scheduler.timesteps
        return steps

    def _guided_noise(
        self, latents: torch.Tensor, embeddings: torch.Tensor, step: torch.Tensor
    ) -> torch.Tensor:
        """Return the predicted noise, (n, 4, 64, 64): unconditional noise, plus ``guidance`` times
        the difference that the condition makes.
        """
        # On a CPU one by one: a batch is no faster there, and would round each picture differently.
        at_once = 1 if self.device.type == "cpu" else len(embeddings)
        noises = []
        for part, wanted in zip(latents.split(at_once), embeddings.split(at_once), strict=True):
            conditions = torch.cat([self.empty_text.expand(len(wanted), -1, -1), wanted])
            both = torch.cat([part, part]).to(self.unet.dtype)
            without, with_it = (
                self.unet(both, step, encoder_hidden_states=conditions).sample.float().chunk(2)
            )
            noises.append(without + self.settings.guidance * (with_it - without))
        return torch.cat(noises)

    def make_all(
        self,
        requests: Sequence[Request],
        folder: Path,
        made_from: Any,
        *,
        progress: Progress = lambda items, **_: items,
    ) -> "MadePictures":
        """Make many pictures, except those already in ``folder`` that were made from the same
        inputs.

        Parameters
        ----------
        requests : sequence of Request
        folder : Path
        made_from : object of JSON
            Identity of encoder, data and networks; pictures of any other are not reused.
        progress : callable
            Wraps the pictures, with ``total`` and ``initial``.

        Raises
        ------
        UnavailableError
            If there is too little memory.
        """
        key = json.dumps(
            [_VERSION, made_from, self.settings.model_dump(), str(self.unet.dtype)], sort_keys=True
        )
        pictures = MadePictures(folder / hashlib.sha256(key.encode()).hexdigest()[:16], folder)
        waiting = [request for request in requests if not pictures.holds(request.name)]
        # All of a batch take the same steps.
        waiting.sort(key=lambda request: request.z_latent is None)
        for _ in progress(
            self._making(waiting, pictures),
            total=len(requests),
            initial=len(requests) - len(waiting),
        ):
            pass
        return pictures

    def _making(self, waiting: list[Request], folder_of_pictures: "MadePictures") -> Iterator[str]:
        start = 0
        while start < len(waiting):
            batch = waiting[start : start + self._batch]
            batch = [
                request
                for request in batch
                if (request.z_latent is None) == (batch[0].z_latent is None)
            ]
            try:
                pictures = self.make(batch)
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                self._take_fewer(error)
                continue
            for request, picture in zip(batch, pictures, strict=True):
                folder_of_pictures.keep(request.name, picture)
                yield request.name
            start += len(batch)

    def _take_fewer(self, error: RuntimeError) -> None:
        if self._is_fixed or self._batch == 1:
            now = str(self._batch) if self._is_fixed else "auto, which fell to 1"
            precision = (
                "" if self.unet.dtype == torch.float16 else ", or set generate.precision to float16"
            )
            raise UnavailableError(
                f"no memory left on {self.device} for {self._batch} "
                f"picture{'s' if self._batch > 1 else ''} at a time; lower "
                f"machine.generation_batch in params.yaml (now {now}){precision}; pictures that "
                "are finished are kept"
            ) from error
        self._batch //= 2
        logger.info(
            "no memory left on %s: %d pictures at a time from here on", self.device, self._batch
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


@dataclass(frozen=True)
class MadePictures:
    """A folder of finished pictures.

    Attributes
    ----------
    folder : Path
    parent : Path
        Folder that holds the pictures of other runs, too.
    """

    folder: Path
    parent: Path

    def holds(self, name: str) -> bool:
        """Whether a complete picture is there."""
        try:
            with Image.open(self._path(name)) as picture:
                picture.load()
        except OSError:
            return False
        return True

    def keep(self, name: str, picture: np.ndarray) -> None:
        """Store a picture, shape (512, 512, 3), uint8."""
        with replacing(self._path(name)) as partial:
            Image.fromarray(picture).save(partial, compress_level=1)

    def read(self, name: str) -> np.ndarray:
        """Return a picture, shape (512, 512, 3), uint8."""
        return np.asarray(Image.open(self._path(name)))

    def forget(self) -> None:
        """Delete all pictures, those of other runs too: their results are saved."""
        shutil.rmtree(self.parent, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.png"


def _noise(seed: tuple[int, ...]) -> torch.Tensor:
    number = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.randn(
        4, PICTURE_CELLS, PICTURE_CELLS, generator=torch.Generator().manual_seed(number)
    )

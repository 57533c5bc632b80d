"""z latents and text embeddings to pictures by Stable Diffusion."""

import hashlib
from typing import Any

import numpy as np

from fmri2img.generation.decode import decode_latents, resize_pictures, write_pictures
from fmri2img.generation.renderers.renderer import Inputs, NewBetas, Rendered, Renderer, Task
from fmri2img.models.base import Encoder
from fmri2img.pretrained.autoencoder import load_autoencoder_of
from fmri2img.project.config import GenerateParams
from fmri2img.project.params_file import load_params


class StableDiffusion(Renderer):
    """Several pictures per image, each from its own noise. Imports are late: they take seconds."""

    def reconstruct(self, inputs: Inputs, task: Task) -> Rendered:
        """Make the pictures of test and training images; finished ones are kept."""
        from fmri2img.generation.diffusion_pictures import PictureMaker
        from fmri2img.generation.diffusion_reconstructions import reconstruct_by_diffusion
        from fmri2img.pretrained.diffusion import open_diffusion_of

        diffusion, empty = open_diffusion_of(task.about), task.open_targets().empty_text
        reconstructions, generated = reconstruct_by_diffusion(
            inputs,
            maker=PictureMaker.of(diffusion, task.settings, task.batch, empty),
            folder=task.folder,
            made_from=diffusion.weights,
            progress=task.progress,
        )
        return Rendered(reconstructions, generated.forget)

    def preview(self, predicted: np.ndarray, about: dict[str, Any], side: int) -> np.ndarray:
        """Decode z latents (n, 4, 40, 40) alone to pictures (n, side, side, 3), uint8."""
        decoder = load_autoencoder_of(about)
        return resize_pictures(decode_latents(predicted, decoder, batch_size=1), side)

    def render_new(self, encoder: Encoder, new: NewBetas) -> None:
        """Make one picture per row, with the settings of ``params.yaml``; an interrupted call
        resumes.
        """
        from fmri2img.generation.diffusion_pictures import PictureMaker, Request
        from fmri2img.generation.diffusion_reconstructions import decode_both, picture_seed
        from fmri2img.pretrained.diffusion import open_diffusion_of

        params = load_params()
        settings: GenerateParams = params.generate
        diffusion = open_diffusion_of(new.about, new.source)
        maker = PictureMaker.of(diffusion, settings, params.machine.generation_batch)
        z_latents, embeddings = decode_both(encoder, new.betas)
        seeds = [picture_seed(settings.seed, int(name)) for name in new.names]
        parts = zip(new.names, seeds, embeddings, z_latents, strict=True)
        predicted = hashlib.sha256(z_latents.tobytes() + embeddings.tobytes()).hexdigest()
        pictures = maker.make_all(
            [Request(*part) for part in parts],
            new.folder / ".unfinished",
            [diffusion.weights, predicted],
            progress=new.progress("pictures"),
        )
        for name in new.names:
            write_pictures(pictures.read(name)[None], [name], new.folder)
        pictures.forget()

    def facts(self, about: dict[str, Any]) -> dict[str, str]:
        """Return which Stable Diffusion is used."""
        return {"Stable Diffusion": about["diffusion"]}


RENDERER = StableDiffusion()

"""Latents to pictures by the frozen decoder of the project's autoencoder."""

from fmri2img.generation.decode import decode_latents, write_pictures
from fmri2img.generation.reconstruct import predict_from, reconstruct
from fmri2img.generation.renderers.renderer import Inputs, NewBetas, Rendered, Renderer, Task
from fmri2img.models.base import Encoder
from fmri2img.pretrained.autoencoder import load_autoencoder_of

_BATCH = 16


class LatentDecoder(Renderer):
    """The frozen decoder: every predicted latent becomes one picture."""

    states_errors_of_latents = True
    needs_latents = True

    def reconstruct(self, inputs: Inputs, task: Task) -> Rendered:
        """Decode the predictions of the encoder and of its other seeds."""
        return Rendered(reconstruct(inputs, task.load_other_seeds()))

    def render_new(self, encoder: Encoder, new: NewBetas) -> None:
        """Decode one picture per row."""
        autoencoder = load_autoencoder_of(new.about, new.source)
        pictures = decode_latents(
            predict_from(encoder, new.betas, new.repetitions),
            autoencoder,
            batch_size=_BATCH,
            progress=new.progress("decoding, batches"),
        )
        write_pictures(pictures, new.names, new.folder)


RENDERER = LatentDecoder()

"""Encode every picture with the frozen autoencoder, and measure its contrasts."""

from fmri2img.containers.latents import Latents
from fmri2img.features.energies import contrast_energies
from fmri2img.features.vae_latents import encode_pictures
from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject import SubjectData
from fmri2img.pretrained.autoencoder import load_autoencoder
from fmri2img.project.layout import latents_path
from fmri2img.project.params_file import load_params
from fmri2img.project.progress import progress


def main(subject: str) -> None:
    """Write the latents of one subject's images."""
    params = load_params()
    examples = SubjectData(subject).examples(on_disk=["images", "betas"])
    autoencoder = load_autoencoder(params.autoencoder.source, params.autoencoder.revision)
    values = encode_pictures(
        examples.images,
        autoencoder,
        batch_size=params.encode_latents.batch_size,
        progress=progress("batches"),
    )
    provenance = {
        "autoencoder": autoencoder.identity,
        "data_source": examples.provenance["data_source"],
    }
    energies = contrast_energies(examples.images)
    Latents(
        image_ids=examples.image_ids, values=values, energies=energies, provenance=provenance
    ).save(latents_path(subject))


if __name__ == "__main__":
    run_stage(main)

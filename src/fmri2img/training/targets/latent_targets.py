"""Latents of the project's autoencoder, with those of other pictures as a prior."""

from pathlib import Path

from fmri2img.project.layout import prior_folder
from fmri2img.training.targets.kinds import CollectedTargets, Sources, Targets
from fmri2img.training.training_set import make_training_set


def collect(sources: Sources) -> CollectedTargets:
    """Collect training trials and latents; pictures too, where the loss needs them."""
    with_pictures = getattr(sources.settings, "loss", "latents") != "latents"
    return CollectedTargets(
        make_training_set(
            sources.examples,
            sources.split,
            sources.latents,
            sources.open_prior(),
            with_pictures=with_pictures,
        )
    )


def _prior_files(subject: str, model: str) -> list[Path]:  # noqa: ARG001 (the same for all)
    return sorted(prior_folder().glob("[!.]*.h5"))


TARGETS = Targets(collect, are_latents=True, files=_prior_files)

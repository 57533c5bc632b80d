"""Latents of the project's autoencoder, with those of other pictures as a prior."""

from fmri2img.project.layout import prior_path
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


TARGETS = Targets(collect, are_latents=True, files=lambda _subject, _model: [prior_path()])

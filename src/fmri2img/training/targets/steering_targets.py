"""Targets that steer Stable Diffusion: z latents of pictures, text embeddings of captions."""

from fmri2img.project.layout import targets_path
from fmri2img.training.targets.kinds import CollectedTargets, Sources, Targets
from fmri2img.training.training_set import make_diffusion_set


def collect(sources: Sources) -> CollectedTargets:
    """Collect training trials, z latents and text embeddings."""
    targets = sources.open_diffusion_targets()
    data = make_diffusion_set(sources.examples, sources.split, targets)
    return CollectedTargets(data, targets.provenance["about"])


TARGETS = Targets(
    collect,
    are_latents=False,
    files=lambda subject, model: [targets_path(subject, model)],
)

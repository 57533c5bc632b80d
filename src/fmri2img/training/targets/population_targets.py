"""Latents, as for most encoders, and what the voxels of other people respond to."""

from dataclasses import replace
from pathlib import Path

from fmri2img.project.layout import population_folder
from fmri2img.training.targets import latent_targets
from fmri2img.training.targets.kinds import CollectedTargets, Sources, Targets
from fmri2img.training.voxel_populations import population_for


def collect(sources: Sources) -> CollectedTargets:
    """Collect training trials and latents, and the population.

    Raises
    ------
    MismatchError
        If the population is empty, or of other regions, spaces, autoencoders or settings, or has
        seen a test image of this subject.
    """
    collected = latent_targets.collect(sources)
    members = sources.open_population()
    known = population_for(
        members,
        sources.examples,
        sources.split.ids("test"),
        sources.latents,
        sources.settings,
    )
    data = collected.data
    data = replace(data, train=replace(data.train, population=known))
    names = ", ".join(member.provenance["subject"] for member in members)
    return CollectedTargets(data, {"population": names})


def _files(subject: str, model: str) -> list[Path]:
    others = (path for path in population_folder(model).glob("[!.]*.h5") if path.stem != subject)
    return latent_targets.TARGETS.files(subject, model) + sorted(others)


TARGETS = Targets(collect, are_latents=True, files=_files)

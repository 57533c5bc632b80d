"""Latents of the project's autoencoder, with those of other pictures as a prior."""

from pathlib import Path

from fmri2img.project.exceptions import MismatchError
from fmri2img.project.layout import prior_folder
from fmri2img.training.targets.kinds import CollectedTargets, Sources, Targets
from fmri2img.training.training_set import make_training_set

_PIXELS_A_CELL = 8  # of Stable Diffusion 1.x's autoencoder


def collect(sources: Sources) -> CollectedTargets:
    """Collect training trials and latents; pictures too, where the loss needs them.

    Raises
    ------
    MismatchError
        If the latents are of another size than the pictures, or no voxel varies.
    """
    _check_sides(sources)
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


def _check_sides(sources: Sources) -> None:
    side, (rows, columns) = sources.examples.images.shape[1], sources.latents.values.shape[2:]
    if (rows * _PIXELS_A_CELL, columns * _PIXELS_A_CELL) != (side, side):
        subject = sources.examples.provenance.get("subject", "the subject")
        raise MismatchError(
            f"{subject}: latents of {rows} x {columns} cells, expected "
            f"{side // _PIXELS_A_CELL} x {side // _PIXELS_A_CELL} for pictures of {side} x {side}; "
            f"run: dvc repro --force encode_latents@{subject}"
        )


def _prior_files(subject: str, model: str) -> list[Path]:  # noqa: ARG001 (the same for all)
    return sorted(prior_folder().glob("[!.]*.h5"))


TARGETS = Targets(collect, are_latents=True, files=_prior_files)

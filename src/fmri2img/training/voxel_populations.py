"""What voxels of several people respond to, pooled for another person."""

from collections.abc import Collection
from typing import Any

import numpy as np
import torch

from fmri2img.containers.examples import Examples
from fmri2img.containers.latents import Latents
from fmri2img.containers.voxel_priors import VoxelPriors
from fmri2img.models.base import VoxelPrior
from fmri2img.project.exceptions import MismatchError

# Settings that say what a picture's description and a window are.
_SAME_SETTINGS = ("energies", "window_sizes")


def population_for(
    members: list[VoxelPriors],
    examples: Examples,
    held_out: np.ndarray,
    latents: Latents,
    settings: Any,
) -> dict[str, VoxelPrior]:
    """Pool what was learnt from other people, for the regions of a subject.

    Parameters
    ----------
    members : list of VoxelPriors
    examples, latents
        Data of the subject.
    held_out : ndarray, shape (n,)
        Images that the subject's encoder is judged by.
    settings : Params
        Of `models.bayes_population`.

    Returns
    -------
    dict of str to VoxelPrior
        By the name of the region; under ``""`` all regions together.

    Raises
    ------
    MismatchError
        If there is nobody else, or a member is of other regions, another space, autoencoder or
        settings, of simulated data where the subject's are not, or has seen a test image of the
        subject.
    """
    about = examples.provenance
    if not members:
        raise MismatchError(
            f"{about['subject']}: the population has no other subject; name one in params.yaml "
            "(population), or take the model out of models: population"
        )
    names = set(examples.roi_names)
    for member in members:
        _check_seen(member, about["subject"], held_out)
        _check_like(member, about, latents, settings)
        if not names & set(member.regions.tolist()):
            raise MismatchError(
                f"population: regions of {member.provenance['subject']} are "
                f"{_listed(member.regions.tolist())}, of {about['subject']} "
                f"{_listed(sorted(names))}; expected a region of the same name; take members with "
                "the same convert_roi.roi"
            )
    return pool(members)


def pool(members: list[VoxelPriors]) -> dict[str, VoxelPrior]:
    """Pool distributions over the voxels of several people; what differs between people is part
    of the covariance.

    Returns
    -------
    dict of str to VoxelPrior
        By the name of the region; under ``""`` all regions together.
    """
    everywhere = [(member, row) for member in members for row in range(len(member.regions))]
    by_region: dict[str, list[tuple[VoxelPriors, int]]] = {"": everywhere}
    for member, row in everywhere:
        by_region.setdefault(str(member.regions[row]), []).append((member, row))
    return {name: _pooled(parts) for name, parts in by_region.items()}


def _pooled(parts: list[tuple[VoxelPriors, int]]) -> VoxelPrior:
    counts = torch.tensor([float(member.n_voxels[row]) for member, row in parts])
    shares = counts / counts.sum()
    means, covariances, sizes = (
        torch.stack([torch.from_numpy(getattr(member, name)[row]) for member, row in parts])
        for name in ("means", "covariances", "window_shares")
    )
    mean = shares @ means
    apart = means - mean
    return VoxelPrior(
        mean,
        torch.einsum("r,rkl->kl", shares, covariances) + (shares * apart.T) @ apart,
        shares @ sizes,
    )


def _check_seen(member: VoxelPriors, subject: str, held_out: np.ndarray) -> None:
    known = np.isin(held_out, member.image_ids)
    if known.any():
        raise MismatchError(
            f"population: {member.provenance['subject']} learnt from {known.sum()} of the "
            f"{len(held_out)} test images of {subject}, image {held_out[known][0]} first, expected "
            "none; set split_examples.kind to shared, or leave this member out (population)"
        )


def _check_like(
    member: VoxelPriors, about: dict[str, Any], latents: Latents, settings: Any
) -> None:
    theirs = member.provenance
    facts: list[tuple[str, Any, Any]] = [
        ("func_space", theirs["func_space"], about["func_space"]),
        (
            "autoencoder",
            theirs["autoencoder"].get("sha256"),
            latents.provenance["autoencoder"]["sha256"],
        ),
        *((name, theirs["settings"].get(name), getattr(settings, name)) for name in _SAME_SETTINGS),
        (
            "simulated",
            theirs["data_source"] == "simulated",
            about["data_source"] == "simulated",
        ),
    ]
    for fact, got, expected in facts:
        if got != expected:
            raise MismatchError(
                f"population: {fact} of {theirs['subject']} is {got}, expected {expected} as of "
                f"{about['subject']}; make both the same way (fmri2img repro), or leave this "
                "member out (population)"
            )


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:5])
    return f"{shown}, ..." if len(names) > 5 else shown

"""Pool the pictures of several subjects, to learn from them what pictures are like."""

import numpy as np

from fmri2img.containers.latents import Latents
from fmri2img.project.exceptions import MismatchError


def pool_pictures(parts: list[Latents], *, held_out: np.ndarray) -> Latents:
    """Pool the latents of several subjects, with each picture once.

    Parameters
    ----------
    parts : list of Latents
        One per subject, all made by the same autoencoder.
    held_out : ndarray, shape (n,)
        Images that must not be in the result: the test images of these subjects.

    Returns
    -------
    Latents
        Ascending by image id.

    Raises
    ------
    MismatchError
        If the latents were made by different autoencoders.
    """
    if len({part.provenance["autoencoder"]["sha256"] for part in parts}) > 1:
        names = ", ".join(sorted(part.provenance["autoencoder"]["name"] for part in parts))
        raise MismatchError(
            f"latents of the subjects come from different autoencoders ({names}); run: dvc repro "
            "--force encode_latents"
        )
    ids = np.concatenate([part.image_ids for part in parts])
    image_ids, first = np.unique(ids, return_index=True)
    kept = ~np.isin(image_ids, held_out)
    values, energies = (
        np.concatenate([getattr(part, name) for part in parts])[first[kept]]
        for name in ("values", "energies")
    )
    return Latents(image_ids[kept], values, energies, parts[0].provenance)

"""Pool the pictures of several subjects, to learn from them what pictures are like."""

import numpy as np

from fmri2img.containers.ids import as_ids
from fmri2img.containers.latents import Latents
from fmri2img.project.exceptions import MismatchError

TEST_IDS = "test_image_ids"


def without_test_images(latents: Latents, test_ids: np.ndarray) -> Latents:
    """Return a subject's latents without its test images; the provenance says which these are.

    Parameters
    ----------
    latents : Latents
    test_ids : ndarray, shape (n,)
    """
    provenance = latents.provenance | {TEST_IDS: test_ids.tolist()}
    kept = latents.only(np.setdiff1d(latents.image_ids, test_ids))
    return Latents(kept.image_ids, kept.values, kept.energies, provenance)


def pool_pictures(parts: list[Latents]) -> Latents:
    """Pool what `without_test_images` returns for several subjects, with each picture once and
    without anybody's test images.

    Parameters
    ----------
    parts : list of Latents
        One per subject, all made by the same autoencoder.

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
    held_out = [as_ids(part.provenance[TEST_IDS]) for part in parts]
    kept = ~np.isin(image_ids, np.concatenate(held_out))
    values, energies = (
        np.concatenate([getattr(part, name) for part in parts])[first[kept]]
        for name in ("values", "energies")
    )
    provenance = {key: value for key, value in parts[0].provenance.items() if key != TEST_IDS}
    return Latents(image_ids[kept], values, energies, provenance)

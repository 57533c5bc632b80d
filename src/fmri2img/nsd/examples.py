"""Pictures and the trials in which they were seen, joined by 73k id."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from fmri2img.containers import Examples, TrialBetas
from fmri2img.nsd.paths import STIMULI
from fmri2img.nsd.stimuli import iterate_images
from fmri2img.receipts import Receipt

Progress = Callable[[Iterable], Iterable]


def create_examples(trials: TrialBetas, shared_receipt: Receipt, root: Path, *, image_size: int, progress: Progress = iter) -> Examples:
    """Join trials with the pictures they showed, by 73k id.

    Parameters
    ----------
    trials : TrialBetas
    shared_receipt : Receipt
    root : Path
        NSD root.
    image_size : int
        Side of the pictures; they are shrunk with antialiasing.
    progress : callable
        Wraps the pictures.

    Returns
    -------
    joined : Examples
        The same whatever the order of the trials.
    """
    order = np.lexsort([trials.trial, trials.run, trials.session, trials.image_ids])
    image_ids, first = np.unique(trials.image_ids, return_index=True)
    stimuli = shared_receipt.locate(root, STIMULI)
    images = np.empty((len(image_ids), image_size, image_size, 3), dtype=np.uint8)
    pictures = iterate_images(stimuli, image_ids, remedy=f"dvc repro {shared_receipt.stage}")
    for row, picture in enumerate(progress(pictures)):
        images[row] = np.asarray(Image.fromarray(picture).resize((image_size, image_size), Image.Resampling.BICUBIC))
    return Examples(
        voxel_ijk=trials.voxel_ijk,
        roi_labels=trials.roi_labels,
        ncsnr=trials.ncsnr,
        sessions=trials.sessions,
        valid=trials.valid,
        affine=trials.affine,
        provenance=trials.provenance,
        image_ids=image_ids,
        images=images,
        is_shared=trials.is_shared[first],
        betas=trials.betas[order],
        trial_image_ids=trials.image_ids[order],
        trial_session=trials.session[order],
    )

"""Pictures and the trials in which they were shown, joined by image id."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from fmri2img.containers.examples import Examples
from fmri2img.containers.storage import StreamedArray
from fmri2img.containers.trial_betas import TrialBetas
from fmri2img.containers.true_pictures import TruePictures
from fmri2img.datasets.protocol import Dataset, Progress
from fmri2img.project.exceptions import MismatchError
from fmri2img.provenance.receipts import RawFiles, Receipt

_VOXELS_AT_ONCE = 512


def create_examples(
    trials: TrialBetas,
    dataset: Dataset,
    raw: RawFiles,
    shared: RawFiles,
    *,
    image_size: int,
    progress: Progress = lambda items, **_: items,
) -> Examples:
    """Join trials with the pictures they showed, by image id.

    Parameters
    ----------
    trials : TrialBetas
        ``betas`` may be on disk.
    dataset : Dataset
    raw, shared : RawFiles
        The subject's files and those that all subjects share; the pictures are among them.
    image_size : int
        Side of the pictures; they are shrunk with antialiasing.
    progress : callable
        Wraps the pictures, with ``total``.

    Returns
    -------
    joined : Examples
        The same whatever the order of the trials. Pictures and betas are read, a few at a time,
        while it is saved.
    """
    order = np.lexsort([trials.trial, trials.run, trials.session, trials.image_ids])
    image_ids, first = np.unique(trials.image_ids, return_index=True)

    def pictures() -> Iterator[tuple[Any, np.ndarray]]:
        shown = dataset_pictures(dataset, raw, shared, image_ids)
        # Threads suffice: Pillow releases the interpreter lock while it resizes.
        shrunk = Parallel(n_jobs=-1, prefer="threads", batch_size=8, return_as="generator")(
            delayed(_shrink)(one, image_size) for one in shown
        )
        yield from enumerate(progress(shrunk, total=len(image_ids), desc="pictures"))

    def betas() -> Iterator[tuple[Any, np.ndarray]]:
        for start in range(0, trials.n_voxels, _VOXELS_AT_ONCE):
            voxels = np.s_[start : start + _VOXELS_AT_ONCE]
            yield (slice(None), voxels), trials.betas[:, voxels][order]

    streamed_images: Any = StreamedArray(
        (len(image_ids), image_size, image_size, 3), np.dtype(np.uint8), pictures
    )
    streamed_betas: Any = StreamedArray(trials.betas.shape, trials.betas.dtype, betas)
    return Examples(
        voxel_ijk=trials.voxel_ijk,
        roi_labels=trials.roi_labels,
        ncsnr=trials.ncsnr,
        training_ncsnr=trials.training_ncsnr,
        in_brain=trials.in_brain,
        sessions=trials.sessions,
        valid=trials.valid,
        saturated=trials.saturated,
        affine=trials.affine,
        provenance=trials.provenance,
        image_ids=image_ids,
        images=streamed_images,
        is_shared=trials.is_shared[first],
        betas=streamed_betas,
        trial_image_ids=trials.image_ids[order],
        trial_session=trials.session[order],
    )


def collect_truth(
    image_ids: np.ndarray,
    dataset: Dataset,
    raw: RawFiles,
    shared: RawFiles,
    *,
    progress: Progress = lambda items, **_: items,
) -> TruePictures:
    """Collect pictures as the dataset stores them, shape (n, side, side, 3); they are read while
    they are saved.

    Parameters
    ----------
    image_ids : ndarray, shape (n,)
        Ascending.
    dataset : Dataset
    raw, shared : RawFiles
        The subject's files and those that all subjects share; the pictures are among them.
    progress : callable
        Wraps the pictures, with ``total``.
    """
    side = dataset.picture_side

    def pictures() -> Iterator[tuple[Any, np.ndarray]]:
        yield from enumerate(
            progress(
                dataset_pictures(dataset, raw, shared, image_ids),
                total=len(image_ids),
                desc="pictures",
            )
        )

    images: Any = StreamedArray((len(image_ids), side, side, 3), np.dtype(np.uint8), pictures)
    receipts = {
        files.name: {"md5": files.receipt.md5(), "sha256_of_records": files.receipt.digest()}
        for files in (raw, shared)
    }
    source = Receipt.common_source(raw.receipt, shared.receipt)
    provenance = {"data_source": source, "receipts": receipts, "picture_side": side}
    return TruePictures(image_ids, images, provenance)


def dataset_pictures(
    dataset: Dataset, raw: RawFiles, shared: RawFiles, image_ids: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield pictures that a subject saw one by one, checked against what the dataset declares,
    shape (side, side, 3), uint8.
    """
    pictures = dataset.iterate_pictures(raw, shared, image_ids)
    return check_pictures(pictures, image_ids, dataset.picture_side)


def _shrink(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def check_pictures(
    pictures: Iterator[np.ndarray], image_ids: np.ndarray, side: int
) -> Iterator[np.ndarray]:
    """Yield pictures after checking that each has the declared size, shape (side, side, 3), uint8.

    Raises
    ------
    MismatchError
        At the first picture of another shape or dtype; after the last one if all are the same, or
        none shows anything.
    """
    expected = (side, side, 3)
    first, same, plain = None, True, True
    for image_id, picture in zip(image_ids, pictures, strict=True):
        if picture.shape != expected or picture.dtype != np.uint8:
            raise MismatchError(
                f"image {image_id} is {picture.dtype} of shape {picture.shape}, "
                f"expected uint8 of {expected}; correct the picture, or what the dataset declares "
                "(picture_side)"
            )
        first = picture if first is None else first
        same = same and np.array_equal(picture, first)
        plain = plain and bool((picture == picture[0, 0]).all())
        yield picture
    if len(image_ids) > 1 and (same or plain):
        fault = "are the same picture" if same else "are of one colour each"
        raise MismatchError(
            f"all {len(image_ids)} pictures {fault}, expected what the subject saw; nothing was "
            "written; put the right pictures in their place"
        )

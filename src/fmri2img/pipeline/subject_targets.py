"""What a model learns beside latents: what Stable Diffusion makes of pictures and captions."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fmri2img.containers.ids import id_name
from fmri2img.containers.splits import PARTS
from fmri2img.containers.targets import DiffusionTargets
from fmri2img.datasets.picture_join import dataset_pictures
from fmri2img.datasets.protocol import Dataset, open_dataset
from fmri2img.pipeline.subject import SubjectData, read_captions_of
from fmri2img.project.config import ProjectParams
from fmri2img.project.exceptions import FormatError, MissingDataError
from fmri2img.project.files import json_bytes
from fmri2img.project.layout import captions_path, target_blocks_folder, targets_path
from fmri2img.project.progress import progress
from fmri2img.provenance.receipts import RawFiles, raw_files

if TYPE_CHECKING:
    from fmri2img.pretrained.diffusion import DiffusionFolder


@dataclass(frozen=True)
class _Task:
    """The targets of one subject.

    Attributes
    ----------
    subject : str
    diffusion : DiffusionFolder
    dataset : Dataset
    shared : RawFiles
        Raw files that all subjects share, the pictures among them.
    image_ids : ndarray, shape (n,)
        All images that the subject saw, ascending.
    captions : list of list of str
        Captions of each image.
    batch_size : int
    folder : Path
        Keeps finished blocks.
    """

    subject: str
    diffusion: "DiffusionFolder"
    dataset: Dataset
    shared: RawFiles
    image_ids: np.ndarray
    captions: list[list[str]]
    batch_size: int
    folder: Path

    def made_from(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what identifies the z latents and the text embeddings.

        Hashes alone: they are the same wherever Stable Diffusion lies.
        """
        from fmri2img.features.diffusion_targets import VERSION

        ids, identity = hashlib.sha256(self.image_ids.tobytes()), self.diffusion.identity
        known = {"version": VERSION, "image_ids": ids.hexdigest()}
        texts = hashlib.sha256(json_bytes(self.captions)).hexdigest()
        return (
            known | {"vae": identity["vae"], "pictures": self.shared.receipt.digest()},
            known | {"text_encoder": identity["text_encoder"], "captions": texts},
        )


def make_targets_of(subject: str, model: str, params: ProjectParams) -> None:
    """Write the targets of all images that a subject saw; what an earlier file has is kept.

    Parameters
    ----------
    subject, model : str
    params : ProjectParams
    """
    path = targets_path(subject, model)
    # Late: they take seconds to load.
    from fmri2img.features.diffusion_targets import forget_blocks
    from fmri2img.pretrained.diffusion import open_diffusion

    split = SubjectData(subject).split()
    image_ids = np.sort(np.concatenate([split.ids(part) for part in PARTS]))
    captions = _captions_of(image_ids, model)
    task = _Task(
        subject=subject,
        diffusion=open_diffusion(params.diffusion.source, params.diffusion.revision),
        dataset=open_dataset(params),
        shared=raw_files("shared", params.machine),
        image_ids=image_ids,
        captions=captions,
        batch_size=params.make_targets.batch_size,
        folder=target_blocks_folder(subject, model),
    )
    _compute(task, _earlier(path)).save(path)
    forget_blocks(task.folder)


def _captions_of(image_ids: np.ndarray, model: str) -> list[list[str]]:
    known = read_captions_of(model)
    names = [id_name(image_id) for image_id in image_ids]
    if absent := [name for name in names if name not in known]:
        missing = f"{len(absent)} of {len(names)} images have no captions, first {absent[0]}"
        raise MissingDataError(
            f"{captions_path(model)}: {missing}; run: dvc repro --force fetch_captions@{model}"
        )
    return [known[name] for name in names]


def _earlier(path: Path) -> DiffusionTargets:
    try:
        return DiffusionTargets.open(path, remedy="")
    except (MissingDataError, FormatError):
        return DiffusionTargets.nothing()


def _compute(task: _Task, earlier: DiffusionTargets) -> DiffusionTargets:
    """Compute what an earlier file does not have."""
    pictures_from, texts_from = task.made_from()
    embeddings, empty = earlier.text_embeddings, earlier.empty_text
    n_truncated = earlier.provenance.get("n_truncated")
    if earlier.made_from("text_embeddings") != texts_from:
        embeddings, empty, n_truncated = _embed(task, texts_from)
    z_latents = earlier.z_latents
    if earlier.made_from("z_latents") != pictures_from:
        z_latents = _encode(task, pictures_from)
    provenance = {
        "data_source": task.shared.receipt.data_source,
        "z_latents": pictures_from,
        "text_embeddings": texts_from,
        "about": task.diffusion.describe(),
        "n_captions": sum(map(len, task.captions)),
        "n_truncated": n_truncated,
    }
    return DiffusionTargets(task.image_ids, z_latents, embeddings, empty, provenance)


def _embed(task: _Task, made_from: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, int]:
    """Embed the captions and the empty text; returns how many captions were cut off, too."""
    from fmri2img.features.diffusion_targets import embed_captions

    text = task.diffusion.load_text()
    embeddings, n_truncated = embed_captions(
        task.captions,
        text,
        batch_size=task.batch_size,
        folder=task.folder,
        made_from=made_from,
        progress=progress(f"{task.subject} captions"),
    )
    return embeddings, text.embed([""])[0].numpy().astype(np.float16), n_truncated


def _encode(task: _Task, made_from: dict[str, Any]) -> np.ndarray:
    """Encode the pictures at 320 x 320."""
    from fmri2img.features.diffusion_targets import encode_z_latents

    return encode_z_latents(
        lambda ids: dataset_pictures(task.dataset, task.shared, ids),
        task.image_ids,
        task.diffusion.load_autoencoder(),
        batch_size=task.batch_size,
        folder=task.folder,
        made_from=made_from,
        progress=progress(f"{task.subject} pictures"),
    )

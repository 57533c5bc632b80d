"""Targets from Stable Diffusion: z latents of pictures, text embeddings of captions."""

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
from fmri2img.pipeline.subject import EncoderData, SubjectData
from fmri2img.project.config import ProjectParams
from fmri2img.project.exceptions import FormatError, MissingDataError
from fmri2img.project.files import json_bytes
from fmri2img.project.layout import captions_path, target_blocks_folder, targets_path
from fmri2img.project.progress import progress
from fmri2img.provenance.receipts import RawFiles, Receipt, raw_files

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
    raw, shared : RawFiles
        The subject's raw files and those that all subjects share; the pictures are among them.
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
    raw: RawFiles
    shared: RawFiles
    image_ids: np.ndarray
    captions: list[list[str]]
    batch_size: int
    folder: Path

    def made_from(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what identifies the z latents and the text embeddings.

        Only hashes: they do not depend on where Stable Diffusion is stored.
        """
        from fmri2img.features.diffusion_targets import VERSION

        ids, identity = hashlib.sha256(self.image_ids.tobytes()), self.diffusion.identity
        known = {"version": VERSION, "image_ids": ids.hexdigest()}
        texts = hashlib.sha256(json_bytes(self.captions)).hexdigest()
        return (
            known | {"vae": identity["vae"], "pictures": self._pictures_from()},
            known | {"text_encoder": identity["text_encoder"], "captions": texts},
        )

    def _pictures_from(self) -> str:
        digests = [files.receipt.digest() for files in (self.raw, self.shared)]
        return hashlib.sha256("".join(digests).encode()).hexdigest()


def make_targets_of(subject: str, model: str, params: ProjectParams) -> None:
    """Write the targets of all images that a subject saw, reusing those in an earlier file.

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
    captions = _captions_of(image_ids, SubjectData(subject).encoder(model))
    raw, shared = (raw_files(name, params.machine) for name in (subject, "shared"))
    task = _Task(
        subject=subject,
        diffusion=open_diffusion(params.diffusion.source, params.diffusion.revision),
        dataset=open_dataset(params),
        raw=raw,
        shared=shared,
        image_ids=image_ids,
        captions=captions,
        batch_size=params.make_targets.batch_size,
        folder=target_blocks_folder(subject, model),
    )
    _compute(task, _earlier(path)).save(path)
    forget_blocks(task.folder)


def _captions_of(image_ids: np.ndarray, data: EncoderData) -> list[list[str]]:
    known = data.captions()
    names = [id_name(image_id) for image_id in image_ids]
    if absent := [name for name in names if name not in known]:
        missing = f"{len(absent)} of {len(names)} images have no captions, first {absent[0]}"
        raise MissingDataError(
            f"{captions_path(data.subject, data.model)}: {missing}; run: dvc repro --force "
            f"fetch_captions@{data.subject}-{data.model}"
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
        "data_source": Receipt.common_source(task.raw.receipt, task.shared.receipt),
        "z_latents": pictures_from,
        "text_embeddings": texts_from,
        "about": task.diffusion.describe(),
        "n_captions": sum(map(len, task.captions)),
        "n_truncated": n_truncated,
    }
    return DiffusionTargets(task.image_ids, z_latents, embeddings, empty, provenance)


def _embed(task: _Task, made_from: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, int]:
    """Embed the captions and the empty text; also returns how many captions were truncated."""
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
        lambda ids: dataset_pictures(task.dataset, task.raw, task.shared, ids),
        task.image_ids,
        task.diffusion.load_autoencoder(),
        batch_size=task.batch_size,
        folder=task.folder,
        made_from=made_from,
        progress=progress(f"{task.subject} pictures"),
    )

"""Captions of all subjects' pictures, for models that learn from them."""

from pathlib import Path

import numpy as np

from fmri2img.config import ProjectParams
from fmri2img.exceptions import ConfigError
from fmri2img.fetching.caption_archive import fetch_captions
from fmri2img.files import hash_file, write_json
from fmri2img.layout import captions_path, coco_folder
from fmri2img.nsd.coco_captions import CAPTION_FILES, read_captions, read_coco_ids
from fmri2img.nsd.paths import STIM_INFO
from fmri2img.pipeline.subject import SubjectData
from fmri2img.provenance.receipts import raw_files
from fmri2img.responses.splits import PARTS
from fmri2img.simulation.scene_captions import write_captions

_Pictures = tuple[np.ndarray, np.ndarray, np.ndarray]


def collect_captions(model: str, params: ProjectParams) -> None:
    """Write the captions of all subjects' pictures.

    Parameters
    ----------
    model : str
    params : ProjectParams
    """
    splits = [SubjectData(subject).split() for subject in params.subjects]
    image_ids = np.unique(np.concatenate([split.ids(part) for split in splits for part in PARTS]))
    shared = raw_files("shared", params.machine)
    pictures = (
        image_ids,
        *read_coco_ids(shared.locate(STIM_INFO), image_ids, remedy=shared.remedy),
    )
    data_source = shared.receipt.data_source
    folder = _caption_folder(params, data_source, pictures)
    present = [name for name in CAPTION_FILES.values() if (folder / name).exists()]
    captions = {
        f"{image_id:05d}": texts for image_id, texts in read_captions(folder, *pictures).items()
    }
    document = {"captions": captions, "data_source": data_source}
    hashes = {name: hash_file(folder / name) for name in present}
    write_json(captions_path(model), document | {"sha256": hashes})


def _caption_folder(params: ProjectParams, data_source: str, pictures: _Pictures) -> Path:
    """Return the folder with caption files, written or fetched if need be."""
    if params.fetch_captions.folder is not None:
        return Path(params.fetch_captions.folder).expanduser()
    if data_source != "simulated":
        fetch_captions(params.fetch_captions.url, coco_folder())
    elif params.fetch_nsd.source == "simulated":
        write_captions(coco_folder(), params.fetch_nsd.simulation, *pictures)
    else:
        raise ConfigError(
            f"params.yaml: fetch_nsd.source is {params.fetch_nsd.source}, and its files are "
            "simulated: which scenes they show is not known "
            "here; name the folder with their captions in fetch_captions.folder "
            "(data/raw/coco/annotations, where they were simulated)"
        )
    return coco_folder()

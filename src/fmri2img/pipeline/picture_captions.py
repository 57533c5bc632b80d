"""Captions of a subject's pictures, for models that learn from them."""

import numpy as np

from fmri2img.containers.ids import id_name
from fmri2img.containers.splits import PARTS
from fmri2img.datasets.protocol import open_dataset
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.config import ProjectParams
from fmri2img.project.files import write_json
from fmri2img.project.layout import captions_path
from fmri2img.provenance.receipts import Receipt, raw_files


def collect_captions(subject: str, model: str, params: ProjectParams) -> None:
    """Write the captions of all pictures that a subject saw.

    Parameters
    ----------
    subject, model : str
    params : ProjectParams
    """
    split = SubjectData(subject).split()
    image_ids = np.unique(np.concatenate([split.ids(part) for part in PARTS]))
    raw, shared = (raw_files(name, params.machine) for name in (subject, "shared"))
    dataset = open_dataset(params)
    captions = dataset.collect_captions(raw, shared, image_ids, params.fetch_captions)
    document = {
        "captions": {id_name(image_id): texts for image_id, texts in captions.texts.items()},
        "data_source": Receipt.common_source(raw.receipt, shared.receipt),
        "sha256": captions.sha256,
    }
    write_json(captions_path(subject, model), document)

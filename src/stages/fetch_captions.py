"""Collect the captions of all subjects' pictures, by 73k id, if a model learns from them."""

from pathlib import Path

import numpy as np

from fmri2img.command import run_stage
from fmri2img.config import load_params
from fmri2img.fetching.captions import fetch_captions
from fmri2img.files import hash_file, write_json
from fmri2img.layout import captions_path, split_path
from fmri2img.models.registry import model_class
from fmri2img.nsd.captions import CAPTION_FILES, read_captions, read_coco_ids
from fmri2img.nsd.paths import STIM_INFO
from fmri2img.receipts import raw_files
from fmri2img.responses.splits import Split
from fmri2img.simulation.captions import write_captions


def main() -> None:
    """Write the captions; none if no model in ``params.yaml`` needs them."""
    params = load_params()
    if not any(model_class(model).uses_diffusion for model in params.models):
        write_json(captions_path(), {"captions": {}})
        return
    splits = [Split.open(split_path(subject), remedy=f"dvc repro split_examples@{subject}") for subject in params.subjects]
    image_ids = np.unique(np.concatenate([split.ids(part) for split in splits for part in ("train", "validation", "test")]))
    shared = raw_files("shared", params.machine)
    pictures = (image_ids, *read_coco_ids(shared.locate(STIM_INFO), image_ids, remedy=shared.remedy))
    data_source = shared.receipt.data_source
    folder = Path(params.fetch_captions.folder or params.machine.raw_root / "coco/annotations").expanduser()
    if params.fetch_captions.folder is None and data_source == "simulated":
        write_captions(folder, params.fetch_nsd.simulation, *pictures)
    elif params.fetch_captions.folder is None:
        fetch_captions(params.fetch_captions.url, folder)
    files = {name: hash_file(folder / name) for name in CAPTION_FILES.values() if (folder / name).exists()}
    captions = {f"{image_id:05d}": texts for image_id, texts in read_captions(folder, *pictures).items()}
    write_json(captions_path(), {"captions": captions, "data_source": data_source, "sha256": files})


if __name__ == "__main__":
    run_stage(main)

"""Compute what a model learns beside latents: Stable Diffusion's view of pictures and captions,
for models that steer it.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from fmri2img.containers import DiffusionTargets
from fmri2img.exceptions import FormatError, MissingDataError
from fmri2img.files import json_bytes, read_json
from fmri2img.layout import captions_path, split_path, target_blocks_folder, targets_path
from fmri2img.models.catalogue import model_class
from fmri2img.nsd.paths import STIMULI
from fmri2img.nsd.stimuli import iterate_images
from fmri2img.params_file import load_params
from fmri2img.pipeline.stage import progress, run_stage
from fmri2img.provenance.receipts import raw_files
from fmri2img.responses.splits import Split


def main(subject: str, model: str) -> None:
    """Write the targets of all images that the subject saw; what an earlier file has of them is
    kept.
    """
    path, params = targets_path(subject, model), load_params()
    if not model_class(model).uses_diffusion:
        DiffusionTargets.nothing().save(path)
        return
    # Late: these take seconds to load, and most models do without.
    from fmri2img.features.diffusion_targets import (
        VERSION,
        embed_captions,
        encode_scenes,
        forget_blocks,
    )
    from fmri2img.pretrained.diffusion import open_diffusion

    split = Split.open(split_path(subject), remedy=f"dvc repro split_examples@{subject}")
    image_ids = np.sort(
        np.concatenate([split.ids(part) for part in ("train", "validation", "test")])
    )
    captions = _captions_of(image_ids, model)
    diffusion = open_diffusion(params.diffusion.source, params.diffusion.revision)
    shared = raw_files("shared", params.machine)
    # By hashes alone: the same wherever Stable Diffusion lies.
    known = {"version": VERSION, "image_ids": hashlib.sha256(image_ids.tobytes()).hexdigest()}
    scenes_from = known | {"vae": diffusion.identity["vae"], "pictures": shared.receipt.digest()}
    texts = hashlib.sha256(json_bytes(captions)).hexdigest()
    prompts_from = known | {"text_encoder": diffusion.identity["text_encoder"], "captions": texts}
    earlier, folder = _earlier(path), target_blocks_folder(subject, model)
    options: dict[str, Any] = {"batch_size": params.make_targets.batch_size, "folder": folder}
    prompts, empty, n_truncated = (
        earlier.prompts,
        earlier.empty_prompt,
        earlier.provenance.get("n_truncated"),
    )
    if earlier.provenance.get("prompts") != prompts_from:
        text, bar = diffusion.load_text(), progress(f"{subject} captions")
        prompts, n_truncated = embed_captions(
            captions, text, **options, made_from=prompts_from, progress=bar
        )
        empty = text.embed([""])[0].numpy().astype(np.float16)
    scenes = earlier.scenes
    if earlier.provenance.get("scenes") != scenes_from:
        stimuli, bar = shared.locate(STIMULI), progress(f"{subject} pictures")
        autoencoder = diffusion.load_autoencoder()
        scenes = encode_scenes(
            lambda ids: iterate_images(stimuli, ids, remedy=shared.remedy),
            image_ids,
            autoencoder,
            **options,
            made_from=scenes_from,
            progress=bar,
        )
    provenance = {
        "data_source": shared.receipt.data_source,
        "scenes": scenes_from,
        "prompts": prompts_from,
        "about": diffusion.describe(),
    }
    counts = {"n_captions": sum(map(len, captions)), "n_truncated": n_truncated}
    DiffusionTargets(image_ids, scenes, prompts, empty, provenance | counts).save(path)
    forget_blocks(folder)


def _captions_of(image_ids: np.ndarray, model: str) -> list[list[str]]:
    known = read_json(captions_path(model), remedy=f"dvc repro fetch_captions@{model}")["captions"]
    names = [f"{image_id:05d}" for image_id in image_ids]
    if absent := [name for name in names if name not in known]:
        missing = f"{len(absent)} of {len(names)} images have no captions, first 73k id {absent[0]}"
        raise MissingDataError(
            f"{captions_path(model)}: {missing}; run: dvc repro --force fetch_captions@{model}"
        )
    return [known[name] for name in names]


def _earlier(path: Path) -> DiffusionTargets:
    try:
        return DiffusionTargets.open(path, remedy="")
    except (MissingDataError, FormatError):
        return DiffusionTargets.nothing()


if __name__ == "__main__":
    run_stage(main)

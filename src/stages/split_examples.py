"""Divide images into training, validation and test."""

import numpy as np

from fmri2img.containers.splits import check_kind, split_images
from fmri2img.datasets.alike import alike_groups
from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.layout import split_path
from fmri2img.project.params_file import load_params


def main(subject: str) -> None:
    """Write the split of one subject."""
    params = load_params().split_examples
    examples = SubjectData(subject).examples(on_disk=["images", "betas"])
    check_kind(params.kind, examples.provenance)
    pictures = (examples.images[row] for row in range(len(examples.image_ids)))
    split = split_images(
        examples.image_ids,
        examples.is_shared,
        kind=params.kind,
        validation_fraction=params.validation_fraction,
        n_train_random=params.n_train_random,
        rng=np.random.default_rng(params.seed),
        groups=alike_groups(pictures) if params.kind == "random" else None,
    )
    split.save(split_path(subject))


if __name__ == "__main__":
    run_stage(main)

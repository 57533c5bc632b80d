"""Collect what all subjects' pictures look like, test pictures apart: encoders learn from it
what is likely, without brain data.
"""

import numpy as np

from fmri2img.containers import Latents
from fmri2img.features.prior import pool_pictures
from fmri2img.layout import latents_path, prior_path, split_path
from fmri2img.params_file import load_params
from fmri2img.pipeline.stage import run_stage
from fmri2img.responses.splits import Split


def main() -> None:
    """Write latents and energies of every picture that is nobody's test image."""
    subjects = load_params().subjects
    latents = [
        Latents.open(latents_path(subject), remedy=f"dvc repro encode_latents@{subject}")
        for subject in subjects
    ]
    splits = [
        Split.open(split_path(subject), remedy=f"dvc repro split_examples@{subject}")
        for subject in subjects
    ]
    pool_pictures(latents, held_out=np.concatenate([split.ids("test") for split in splits])).save(
        prior_path()
    )


if __name__ == "__main__":
    run_stage(main)

"""Collect what all subjects' pictures look like, test pictures apart: encoders learn from it
what is likely, without brain data.
"""

import numpy as np

from fmri2img.features.prior import pool_pictures
from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.layout import prior_path
from fmri2img.project.params_file import load_params


def main() -> None:
    """Write latents and energies of every picture that is nobody's test image."""
    subjects = load_params().subjects
    latents = [SubjectData(subject).latents() for subject in subjects]
    splits = [SubjectData(subject).split() for subject in subjects]
    pool_pictures(latents, held_out=np.concatenate([split.ids("test") for split in splits])).save(
        prior_path()
    )


if __name__ == "__main__":
    run_stage(main)

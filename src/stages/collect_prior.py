"""Collect the population's pictures except test images. Encoders learn from them what pictures look
like, without brain data.
"""

import numpy as np

from fmri2img.features.prior import pool_pictures
from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.layout import prior_path
from fmri2img.project.params_file import load_params


def main() -> None:
    """Write latents and energies of the pictures that are not test images of the population."""
    params = load_params()
    latents = [SubjectData(subject).latents() for subject in params.population]
    held_out = [SubjectData(subject).split().ids("test") for subject in params.population]
    if not params.population:  # no pictures, from the same autoencoder
        latents = [SubjectData(params.subjects[0]).latents()]
        held_out = [latents[0].image_ids]
    pool_pictures(latents, held_out=np.concatenate(held_out)).save(prior_path())


if __name__ == "__main__":
    run_stage(main)

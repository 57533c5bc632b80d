"""Collect a subject's pictures except test images. Encoders learn from those of the population what
pictures look like, without brain data.
"""

from fmri2img.features.prior import without_test_images
from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.layout import prior_folder, prior_path
from fmri2img.project.params_file import load_params


def main(subject: str) -> None:
    """Write latents and energies, and remove files of subjects that left the population."""
    data = SubjectData(subject)
    without_test_images(data.latents(), data.split().ids("test")).save(prior_path(subject))
    population = load_params().population
    for path in prior_folder().glob("[!.]*.h5"):  # a dot: another stage is writing it
        if path.stem not in population:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    run_stage(main)

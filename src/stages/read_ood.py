"""Read the responses of a further test set, in the main experiment's voxels, and its pictures."""

from fmri2img.datasets.offers import open_ood
from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.files import replacing_together
from fmri2img.project.layout import ood_name, ood_path, ood_pictures_path
from fmri2img.project.params_file import load_params
from fmri2img.provenance.receipts import raw_files


def main(subject: str, test: str) -> None:
    """Write the examples and the true pictures of one subject."""
    params = load_params()
    examples, pictures = open_ood(params, test).read_ood(
        test,
        raw_files(ood_name(subject, test), params.machine),
        SubjectData(subject).trial_betas(on_disk=["betas"]),
        params.create_examples.image_size,
    )
    with replacing_together():
        examples.save(ood_path(subject, test))
        pictures.save(ood_pictures_path(subject, test))


if __name__ == "__main__":
    run_stage(main)

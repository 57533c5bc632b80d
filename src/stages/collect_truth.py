"""Copy a subject's test images at the dataset's own size, so that evaluation needs no raw files."""

from fmri2img.datasets.picture_join import collect_truth
from fmri2img.datasets.protocol import open_dataset
from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.layout import truth_path
from fmri2img.project.params_file import load_params
from fmri2img.project.progress import progress
from fmri2img.provenance.receipts import raw_files


def main(subject: str) -> None:
    """Write the true pictures of one subject."""
    params = load_params()
    test_ids = SubjectData(subject).split().ids("test")
    raw, shared = (raw_files(name, params.machine) for name in (subject, "shared"))
    truth = collect_truth(
        test_ids, open_dataset(params), raw, shared, progress=progress("pictures")
    )
    truth.save(truth_path(subject))


if __name__ == "__main__":
    run_stage(main)

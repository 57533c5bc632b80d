"""Join trials with the pictures they showed."""

from fmri2img.datasets.picture_join import create_examples
from fmri2img.datasets.protocol import open_dataset
from fmri2img.pipeline.stage import run_stage
from fmri2img.pipeline.subject import SubjectData
from fmri2img.project.layout import examples_path
from fmri2img.project.params_file import load_params
from fmri2img.project.progress import progress
from fmri2img.provenance.receipts import raw_files


def main(subject: str) -> None:
    """Write the examples of one subject."""
    params = load_params()
    trials = SubjectData(subject).trial_betas(on_disk=["betas"])
    raw, shared = (raw_files(name, params.machine) for name in (subject, "shared"))
    examples = create_examples(
        trials,
        open_dataset(params),
        raw,
        shared,
        image_size=params.create_examples.image_size,
        progress=progress("pictures"),
    )
    examples.save(examples_path(subject))


if __name__ == "__main__":
    run_stage(main)

"""Join trials with the pictures they showed."""

from fmri2img.command import progress, run_stage
from fmri2img.config import load_params
from fmri2img.containers import TrialBetas
from fmri2img.layout import RAW_ROOT, examples_path, receipt_path, voxels_path
from fmri2img.nsd.examples import create_examples
from fmri2img.receipts import Receipt


def main(subject: str) -> None:
    """Write the examples of one subject."""
    params = load_params()
    trials = TrialBetas.open(voxels_path(subject), remedy=f"dvc repro extract_betas@{subject}")
    shared = Receipt.open(receipt_path("shared"), remedy="dvc repro fetch_nsd_shared")
    size = params.create_examples.image_size
    create_examples(trials, shared, RAW_ROOT, image_size=size, progress=progress("pictures")).save(examples_path(subject))


if __name__ == "__main__":
    run_stage(main)

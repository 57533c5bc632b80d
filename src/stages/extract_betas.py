"""Read the responses of the region's voxels from every session into one file."""

import shutil

from fmri2img.datasets.contract import check_betas
from fmri2img.datasets.named_datasets import open_dataset
from fmri2img.files import read_json
from fmri2img.layout import pieces_path, roi_path, roi_table_path, voxels_path
from fmri2img.nsd.extraction import Region, Resources
from fmri2img.params_file import load_params
from fmri2img.pipeline.stage import byte_progress, progress, run_stage
from fmri2img.provenance.receipts import raw_files


def main(subject: str) -> None:
    """Write the trial betas of one subject."""
    params = load_params()
    remedy = f"dvc repro convert_roi@{subject}"
    table = read_json(roi_table_path(subject), remedy=remedy)
    labels = params.extract_betas.labels
    dataset = open_dataset(params)
    trials = dataset.read_betas(
        raw_files(subject, params.machine),
        raw_files("shared", params.machine),
        Region.read(roi_path(subject), table, labels, remedy=remedy),
        params.extract_betas,
        Resources(params.machine, pieces_path(subject), progress("sessions"), byte_progress),
    )
    check_betas(trials, dataset.facts, subject).save(voxels_path(subject))
    shutil.rmtree(pieces_path(subject), ignore_errors=True)


if __name__ == "__main__":
    run_stage(main)

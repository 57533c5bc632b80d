"""Read the responses of the region's voxels from every session into one file."""

import shutil

from fmri2img.datasets.contract import check_betas
from fmri2img.datasets.protocol import Resources, open_dataset
from fmri2img.datasets.regions import read_region
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.files import read_json
from fmri2img.project.layout import pieces_path, roi_path, roi_table_path, voxels_path
from fmri2img.project.params_file import load_params
from fmri2img.project.progress import byte_progress, progress
from fmri2img.provenance.receipts import raw_files


def main(subject: str) -> None:
    """Write the trial betas of one subject."""
    params = load_params()
    remedy = f"dvc repro convert_roi@{subject}"
    table = read_json(roi_table_path(subject), remedy=remedy, fields={"names": dict})
    labels = params.extract_betas.labels
    dataset = open_dataset(params)
    trials = dataset.read_betas(
        raw_files(subject, params.machine),
        raw_files("shared", params.machine),
        read_region(roi_path(subject), table, labels, remedy=remedy),
        params.extract_betas,
        Resources(params.machine, pieces_path(subject), progress("sessions"), byte_progress),
    )
    check_betas(trials, dataset.facts, subject).save(voxels_path(subject))
    shutil.rmtree(pieces_path(subject), ignore_errors=True)


if __name__ == "__main__":
    run_stage(main)

"""Read the responses of the region's voxels from every session into one file."""

import shutil

from fmri2img.files import read_json
from fmri2img.layout import pieces_path, roi_path, roi_table_path, voxels_path
from fmri2img.nsd.extraction import Region, Resources, extract_betas
from fmri2img.params_file import load_params
from fmri2img.pipeline.stage import byte_progress, progress, run_stage
from fmri2img.provenance.receipts import raw_files
from fmri2img.responses.ncsnr import estimate_ncsnr


def main(subject: str) -> None:
    """Write the trial betas of one subject."""
    params = load_params()
    remedy = f"dvc repro convert_roi@{subject}"
    trials = extract_betas(
        raw_files(subject, params.machine),
        raw_files("shared", params.machine),
        Region.read(
            roi_path(subject),
            read_json(roi_table_path(subject), remedy=remedy),
            params.extract_betas.labels,
            remedy=remedy,
        ),
        params.nsd,
        params.extract_betas,
        estimate_ncsnr=estimate_ncsnr,
        resources=Resources(
            params.machine, pieces_path(subject), progress("sessions"), byte_progress
        ),
    )
    trials.save(voxels_path(subject))
    shutil.rmtree(pieces_path(subject))


if __name__ == "__main__":
    run_stage(main)

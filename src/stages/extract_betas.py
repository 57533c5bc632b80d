"""Read the betas of the region's voxels from every session into one file."""

from fmri2img.command import progress, run_stage
from fmri2img.config import load_params
from fmri2img.files import read_json
from fmri2img.layout import RAW_ROOT, receipt_path, roi_path, roi_table_path, voxels_path
from fmri2img.nsd.extraction import extract_betas
from fmri2img.receipts import Receipt


def main(subject: str) -> None:
    """Write the trial betas of one subject."""
    params = load_params()
    receipt = Receipt.open(receipt_path(subject), remedy=f"dvc repro fetch_nsd@{subject}")
    shared = Receipt.open(receipt_path("shared"), remedy="dvc repro fetch_nsd_shared")
    table = read_json(roi_table_path(subject), remedy=f"dvc repro convert_roi@{subject}")
    names = {int(label): name for label, name in table["names"].items()}
    trials = extract_betas(
        receipt, shared, RAW_ROOT, roi_path(subject), names, params.nsd, params.extract_betas, progress=progress("sessions")
    )
    trials.save(voxels_path(subject))


if __name__ == "__main__":
    run_stage(main)

"""Bring a region of interest from anatomical to functional space."""

from fmri2img.command import run_stage
from fmri2img.config import load_params
from fmri2img.files import write_json
from fmri2img.layout import RAW_ROOT, receipt_path, roi_path, roi_table_path
from fmri2img.nsd.conversion import convert_roi
from fmri2img.nsd.paths import VOXEL_SIZES_MM
from fmri2img.nsd.volumes import write_volume
from fmri2img.receipts import Receipt


def main(subject: str) -> None:
    """Write the label volume and the names of its labels."""
    params = load_params()
    receipt = Receipt.open(receipt_path(subject), remedy=f"dvc repro fetch_nsd@{subject}")
    labels, names = convert_roi(receipt, RAW_ROOT, params.nsd, params.convert_roi)
    write_volume(roi_path(subject), labels, VOXEL_SIZES_MM[params.nsd.func_space])
    write_json(roi_table_path(subject), {"roi": params.convert_roi.roi, "names": names})


if __name__ == "__main__":
    run_stage(main)

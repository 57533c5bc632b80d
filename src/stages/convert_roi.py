"""Bring regions of interest to functional space."""

from fmri2img.files import write_json
from fmri2img.layout import OWN_ROIS, roi_path, roi_table_path
from fmri2img.nsd.conversion import convert_roi, describe_region
from fmri2img.nsd.paths import VOXEL_SIZES_MM
from fmri2img.nsd.volumes import write_volume
from fmri2img.params_file import load_params
from fmri2img.pipeline.stage import run_stage
from fmri2img.provenance.receipts import raw_files


def main(subject: str) -> None:
    """Write the label volume and the names of its labels."""
    params = load_params()
    labels, names = convert_roi(
        raw_files(subject, params.machine), params.nsd, params.convert_roi, own_rois=OWN_ROIS
    )
    write_volume(roi_path(subject), labels, VOXEL_SIZES_MM[params.nsd.func_space])
    write_json(roi_table_path(subject), describe_region(names, params.convert_roi))


if __name__ == "__main__":
    run_stage(main)

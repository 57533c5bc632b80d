"""Convert regions of interest to functional space."""

from fmri2img.datasets.nsd.volumes import write_volume
from fmri2img.datasets.protocol import open_dataset
from fmri2img.pipeline.stage import run_stage
from fmri2img.project.files import replacing_together, write_json
from fmri2img.project.layout import roi_path, roi_table_path
from fmri2img.project.params_file import load_params
from fmri2img.provenance.receipts import raw_files


def main(subject: str) -> None:
    """Write the label volume and the names of its labels."""
    params = load_params()
    raw = raw_files(subject, params.machine)
    region = open_dataset(params).read_regions(raw, params.convert_roi)
    with replacing_together():
        write_volume(roi_path(subject), region.labels, region.voxel_mm, affine=region.affine)
        write_json(roi_table_path(subject), region.table)


if __name__ == "__main__":
    run_stage(main)

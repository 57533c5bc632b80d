"""A region of interest from anatomical to functional space."""

from pathlib import Path

import numpy as np

from fmri2img.config import ConvertRoiParams, NsdParams
from fmri2img.exceptions import ConfigError, MismatchError
from fmri2img.nsd.mapping import map_nearest, map_winner_take_all, read_coordinates
from fmri2img.nsd.paths import SubjectFiles
from fmri2img.nsd.rois import read_label_table, read_labels
from fmri2img.nsd.volumes import read_volume
from fmri2img.receipts import Receipt

_MAPPINGS = {"nearest": map_nearest, "winner_take_all": map_winner_take_all}


def convert_roi(receipt: Receipt, root: Path, nsd: NsdParams, params: ConvertRoiParams) -> tuple[np.ndarray, dict[int, str]]:
    """Bring an anatomical ROI to functional space.

    Parameters
    ----------
    receipt : Receipt
        The subject's.
    root : Path
        NSD root.
    nsd, params
        Space, region and mapping.

    Returns
    -------
    labels : ndarray, shape (x, y, z), int16
        -1 not cortex or outside the anatomical volume, 0 unlabelled, 1..N.
    names : dict of int to str

    Raises
    ------
    ConfigError
        If there is no such ROI.
    MismatchError
        If no functional voxel gets a label, or a file lies on another grid.
    """
    files = SubjectFiles(receipt.name, nsd.func_space)
    remedy = f"dvc repro {receipt.stage}"
    listed = [path.name.removesuffix(".nii.gz") for path in receipt.folder(files.anat_roi(params.roi).parent)]
    known = sorted(name for name in listed if not name.startswith(("lh.", "rh.")))
    if params.roi not in known:
        raise ConfigError(
            f"params.yaml: convert_roi.roi: there is no ROI {params.roi!r} in the anatomical space of {receipt.name}; "
            f"choose from: {', '.join(known)}"
        )
    names = read_label_table(receipt.locate(root, files.label_table(params.roi)), remedy=remedy)
    source, _ = read_labels(receipt.locate(root, files.anat_roi(params.roi)), remedy=remedy)
    grid = read_volume(receipt.locate(root, files.brainmask()), remedy=remedy).shape
    coordinates = read_coordinates(receipt.locate(root, files.transform()), grid, remedy=remedy)
    labels = _MAPPINGS[params.mapping](source, coordinates, bad_value=-1)
    if not (labels > 0).any():
        raise MismatchError(
            f"{files.anat_roi(params.roi)}: no voxel of {receipt.name} in {nsd.func_space} gets a label, "
            f"expected some of {list(names.values())}; choose another convert_roi.roi in params.yaml"
        )
    return labels.astype(np.int16), names

"""Regions of interest: label volumes and label tables.

In every volume, -1 is a voxel that is not cortex, 0 is cortex without a label and 1..N are labels.
"""

from pathlib import Path

import numpy as np

from fmri2img.exceptions import FormatError, MissingDataError
from fmri2img.files import write_text
from fmri2img.nsd.volumes import read_array, read_volume

# The ROI collections that NSD ships as volumes (NSD manual, "ROIs"); MTL and thalamus exist in functional space only.
NSD_ROIS = (
    "prf-visualrois",
    "prf-eccrois",
    "floc-faces",
    "floc-bodies",
    "floc-places",
    "floc-words",
    "nsdgeneral",
    "streams",
    "Kastner2015",
    "HCP_MMP1",
    "corticalsulc",
    "MTL",
    "thalamus",
)


def read_label_table(path: Path, *, remedy: str) -> dict[int, str]:
    """Read a ``.ctab`` file: a number and a name a line, with any amount of blanks behind.

    Returns
    -------
    dict of int to str
        Labels 1..N; ``0 Unknown`` is left out.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If a line has no number and name.
    """
    if not path.exists():
        raise MissingDataError(f"{path} not found; run: {remedy}")
    names = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) < 2 or not fields[0].isdigit():
            raise FormatError(f"{path}, line {number}: expected a label number and a name, got {line!r}")
        names[int(fields[0])] = fields[1]
    return {label: name for label, name in names.items() if label > 0}


def write_label_table(path: Path, names: dict[int, str]) -> None:
    """Write a ``.ctab`` file, ``0 Unknown`` first."""
    write_text(path, "".join(f"{label} {name}\n" for label, name in {0: "Unknown", **names}.items()))


def read_labels(path: Path, *, remedy: str) -> tuple[np.ndarray, np.ndarray]:
    """Read an ROI volume.

    Returns
    -------
    labels : ndarray, shape (x, y, z), int16
        -1, 0 or a label.
    affine : ndarray, shape (4, 4)

    Raises
    ------
    FormatError
        If a value is not a whole number of -1 or more.
    """
    image = read_volume(path, remedy=remedy)
    values = read_array(path, image, remedy=remedy)
    finite = bool(np.isfinite(values).all())
    labels = values.astype(np.int16) if finite else np.zeros(1, dtype=np.int16)
    if values.ndim != 3 or not finite or not np.array_equal(labels, values) or labels.min() < -1:
        found = (
            f"range {np.nanmin(values)} to {np.nanmax(values)}"
            if finite
            else f"{int((~np.isfinite(values)).sum())} values that are NaN or infinite"
        )
        raise FormatError(f"{path}: expected a 3-D volume of whole numbers from -1 up, got shape {values.shape}, {found}; mend the volume")
    return labels, image.affine

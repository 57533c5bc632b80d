"""Regions of interest: label volumes and label tables.

In every volume, -1 is a voxel that is not cortex, 0 is cortex without a label and 1..N are labels.
"""

import re
from pathlib import Path

import numpy as np

from fmri2img.datasets.nsd.volumes import read_array, read_volume
from fmri2img.project.exceptions import FormatError
from fmri2img.project.files import read_text, write_text
from fmri2img.project.plain_names import leads_elsewhere

# The ROI collections that NSD ships as volumes (NSD manual, "ROIs").
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

# Label names as in NSD's tables (NSD manual, "ROIs"), for copies that lack the tables.
LABEL_NAMES: dict[str, dict[int, str]] = {
    "prf-visualrois": dict(enumerate(("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"), start=1)),
    "prf-eccrois": dict(enumerate(("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"), start=1)),
    "nsdgeneral": {1: "nsdgeneral"},
    "streams": dict(
        enumerate(
            ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
            start=1,
        )
    ),
    "floc-faces": dict(enumerate(("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"), start=1)),
    "floc-bodies": dict(enumerate(("EBA", "FBA-1", "FBA-2", "mTL-bodies"), start=1)),
    "floc-places": dict(enumerate(("OPA", "PPA", "RSC"), start=1)),
    "MTL": dict(
        enumerate(("ERC", "35", "36", "SUB", "CA1", "CA2", "CA3", "DG", "PHC", "HT"), start=1)
    ),
    "floc-words": dict(enumerate(("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"), start=1)),
    "Kastner2015": dict(
        enumerate(
            (
                *(
                    "V1v",
                    "V1d",
                    "V2v",
                    "V2d",
                    "V3v",
                    "V3d",
                    "hV4",
                    "VO1",
                    "VO2",
                    "PHC1",
                    "PHC2",
                    "TO2",
                    "TO1",
                    "LO2",
                    "LO1",
                ),
                *("V3B", "V3A", "IPS0", "IPS1", "IPS2", "IPS3", "IPS4", "IPS5", "SPL1", "FEF"),
            ),
            start=1,
        )
    ),
}


def read_label_table(path: Path, *, remedy: str) -> dict[int, str]:
    """Read a ``.ctab`` file: one number and name per line, with any number of trailing blanks;
    lines that start with ``#`` are comments.

    Returns
    -------
    dict of int to str
        Labels 1..N; ``0 Unknown`` is left out.

    Raises
    ------
    MissingDataError
        If the file is not there.
    FormatError
        If a line has no number of up to five digits and a name, a name cannot be part of a file's
        name, or two labels share a number or a name.
    """
    names: dict[int, str] = {}
    for number, line in enumerate(read_text(path, remedy=remedy).splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) < 2 or not re.fullmatch("[0-9]{1,5}", fields[0]):
            raise FormatError(
                f"{path}, line {number}: expected a label number and a name, got {line!r:.80}; "
                "correct the table"
            )
        label, name = int(fields[0]), fields[1]
        if label and leads_elsewhere(name):
            raise FormatError(
                f"{path}, line {number}: the name {name!r:.80} becomes part of file names, "
                "expected one without slashes that begins with neither . nor -; correct the table"
            )
        if label in names or (label and name in names.values()):
            twice = f"number {label}" if label in names else f"name {name}"
            raise FormatError(
                f"{path}, line {number}: the {twice} appears twice, expected one label per name; "
                "correct the table"
            )
        names[label] = name
    labelled = {label: name for label, name in names.items() if label > 0}
    if not labelled:
        raise FormatError(
            f"{path}: holds no label, expected numbers from 1 with names; run: {remedy}"
        )
    return labelled


def write_label_table(path: Path, names: dict[int, str], *, comment: str) -> None:
    """Write a ``.ctab`` file: ``0 Unknown``, with a comment behind it, then the other labels."""
    lines = [f"{label} {name}\n" for label, name in names.items()]
    write_text(path, "".join([f"0 Unknown # {comment}\n", *lines]))


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
        If a value is not a whole number of -1 or more, or the affine places no voxel.
    """
    image = read_volume(path, remedy=remedy)
    values = read_array(path, image, remedy=remedy)
    if values.ndim != 3 or values.dtype.kind not in "iuf":
        raise FormatError(
            f"{path}: expected a 3-D volume of labels, got {values.dtype.name} of shape "
            f"{values.shape}; correct the volume"
        )
    if not np.isfinite(image.affine).all() or np.linalg.det(image.affine[:3, :3]) == 0:
        raise FormatError(
            f"{path}: its affine does not place voxels, got {image.affine.tolist()}; correct the "
            "volume's header"
        )
    labels = np.empty(values.shape, dtype=np.int16, order="F")
    for z in range(values.shape[2]):  # plane by plane: an anatomical volume of float64 takes 262 MB
        plane = values[..., z]
        if (
            not np.isfinite(plane).all()
            or plane.min() < -1
            or plane.max() > np.iinfo(np.int16).max
            or (plane != np.rint(plane)).any()
        ):
            raise FormatError(
                f"{path}: expected whole numbers from -1 up, {_first_fault(plane)} in plane z = "
                f"{z}; correct the volume"
            )
        labels[..., z] = plane
    return labels, image.affine


def _first_fault(plane: np.ndarray) -> str:
    if not np.isfinite(plane).all():
        return f"got {int((~np.isfinite(plane)).sum())} values that are NaN or infinite"
    return f"got values from {plane.min()} to {plane.max()}"

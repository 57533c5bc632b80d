"""Regions as label volumes, each with a table of names, in a subject's folder ``regions``."""

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from fmri2img.datasets.folder_tables import read_table, whole_numbers
from fmri2img.datasets.nsd.volumes import read_array, read_volume
from fmri2img.datasets.protocol import LabelVolume
from fmri2img.project.exceptions import ConfigError, FormatError, MismatchError
from fmri2img.project.params_file import near
from fmri2img.provenance.receipts import RawFiles

REGIONS = "regions"
_SUFFIXES = (".nii.gz", ".nii")
# A table of ours, and one of BIDS; each with its separator and the column of numbers.
_TABLES = {".csv": (",", "label"), ".tsv": ("\t", "index")}
_LARGEST = int(np.iinfo(np.int16).max)
_ROUNDING_MM = 0.01


def label_files(folder: Path) -> list[PurePosixPath]:
    """Return the label volumes of a subject and their tables, relative to its folder, by name."""
    files = (folder / REGIONS).glob("[!.]*") if (folder / REGIONS).is_dir() else ()
    wanted = (*_SUFFIXES, *_TABLES)
    names = sorted(path.name for path in files if path.name.endswith(wanted))
    return [PurePosixPath(REGIONS) / name for name in names]


def set_name(file: PurePosixPath) -> str:
    """Return the name of the set of regions that a label volume holds; empty for another file."""
    suffix = next((suffix for suffix in _SUFFIXES if file.name.endswith(suffix)), "")
    return file.name.removesuffix(suffix) if suffix else ""


def read_label_file(raw: RawFiles, roi: str, voxel_mm: float) -> LabelVolume:
    """Read one set of regions.

    Parameters
    ----------
    raw : RawFiles
    roi : str
        The set's name: that of its file.
    voxel_mm : float
        As declared.

    Raises
    ------
    ConfigError
        If there is no such set.
    FormatError
        If the volume holds no whole numbers, or no label.
    MismatchError
        If voxels have another size than declared, or a label has no name in the table.
    """
    files = raw.folder(PurePosixPath(raw.name) / REGIONS)
    sets: dict[str, PurePosixPath] = {}
    for file in files:
        if (name := set_name(file)) and sets.setdefault(name, file) != file:
            raise FormatError(
                f"{raw.root / file.parent}: two label volumes are called {name}: {sets[name].name} "
                f"and {file.name}; keep one, and run: {raw.remedy}"
            )
    if roi not in sets:
        raise ConfigError(
            f"params.yaml: convert_roi.roi: {raw.name}/{REGIONS} has no label volume {roi!r}"
            f"{near(roi, sets)}; choose from: {', '.join(sets)}; after you have added one, run: "
            f"{raw.remedy}"
        )
    path = raw.locate(sets[roi])
    image = read_volume(path, remedy=raw.remedy)
    size = float(np.linalg.norm(image.affine[:3, 0]))
    if abs(size - voxel_mm) > _ROUNDING_MM:
        raise MismatchError(
            f"{path}: voxels of {size:.3f} mm, expected {voxel_mm} as declared; correct voxel_mm "
            "in dataset.yaml, or the volume"
        )
    values = read_array(path, image, remedy=raw.remedy)
    labels = np.nan_to_num(values).astype(np.int16)
    if values.ndim != 3 or not np.array_equal(labels, np.nan_to_num(values)):
        raise FormatError(
            f"{path}: got {values.dtype} of shape {values.shape}, expected a 3-D volume of whole "
            f"numbers up to {_LARGEST}; write it anew"
        )
    if not (labels > 0).any():
        raise FormatError(f"{path}: no voxel has a label above 0; write the volume anew")
    names = _names(raw, sets[roi], roi, sorted({*labels[labels > 0].tolist()}))
    about = {"roi": roi, "drawn_in": "func", "mapping": None, "names": names}
    return LabelVolume(labels, size, about, image.affine)


def _names(raw: RawFiles, file: PurePosixPath, roi: str, labels: list[int]) -> dict[int, str]:
    """Return the names of the labels that a volume holds."""
    tables = [file.with_name(f"{roi}{suffix}") for suffix in _TABLES]
    here = [table for table in tables if raw.lists(table)]
    if not here:
        return {label: roi if len(labels) == 1 else f"{roi}-{label}" for label in labels}
    path = raw.locate(here[0])
    separator, column = _TABLES[here[0].suffix]
    table = read_table(path, (column, "name"), separator=separator)
    numbers = whole_numbers(path, table[column], largest=_LARGEST)
    named = pd.Series(table["name"].to_numpy(), index=numbers)
    if named.index.duplicated().any() or named.duplicated().any():
        raise FormatError(f"{path}: a label or a name is there twice; keep one line per region")
    if unnamed := [label for label in labels if label not in named.index]:
        raise MismatchError(
            f"{path}: label {unnamed[0]} of {file.name} has no name ({len(unnamed)} such labels); "
            "add a line for it"
        )
    return {label: str(named[label]) for label in labels}

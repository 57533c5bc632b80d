"""The voxels of a region, from its label volume."""

import logging
from pathlib import Path

import numpy as np

from fmri2img.datasets.nsd.rois import read_labels
from fmri2img.datasets.protocol import Region
from fmri2img.project.exceptions import ConfigError, FormatError, MismatchError
from fmri2img.project.files import hash_file

logger = logging.getLogger(__name__)


def read_region(path: Path, table: dict, chosen: str | list[str], *, remedy: str) -> Region:
    """Read a label volume and keep the chosen labels.

    Parameters
    ----------
    path : Path
    table : dict
        Description of the volume, as in `protocol.LabelVolume`.
    chosen : "all" or list of str
        Names of labels.
    remedy : str
        The command that makes the volume.
    """
    labels, affine = read_labels(path, remedy=remedy)
    try:
        names = {int(label): str(name) for label, name in table["names"].items()}
    except (ValueError, AttributeError) as error:
        raise FormatError(
            f"{path}: the table of its labels names {table['names']!r:.80}, expected numbers with "
            f"names; run: {remedy}"
        ) from error
    about = {key: value for key, value in table.items() if key != "names"} | {
        "volume_md5": hash_file(path, "md5")
    }
    return Region(labels, affine, names, _chosen_voxels(labels, names, chosen), about)


def _chosen_voxels(
    labels: np.ndarray, names: dict[int, str], chosen: str | list[str]
) -> np.ndarray:
    if chosen == "all":
        mask = labels > 0
    else:
        numbers = {name: label for label, name in names.items()}
        if unknown := [name for name in chosen if name not in numbers]:
            raise ConfigError(
                f"params.yaml: extract_betas.labels: there is no label {unknown[0]!r} in this ROI; "
                f"choose from: {_those_with_voxels(labels, names)}"
            )
        mask = np.isin(labels, [numbers[name] for name in chosen])
        for name in chosen:
            if mask.any() and not (labels == numbers[name]).any():
                logger.warning("%s has no voxel in this subject; the others are used", name)
    if not mask.any():
        raise MismatchError(
            f"params.yaml: extract_betas.labels: {chosen} has no voxel in this subject, expected "
            f"at least one; choose from: {_those_with_voxels(labels, names)}"
        )
    return mask


def _those_with_voxels(labels: np.ndarray, names: dict[int, str]) -> str:
    """Return names of labels that the volume holds; regions may be empty in some subjects."""
    held = set(np.unique(labels).tolist())
    return ", ".join(name for label, name in names.items() if label in held) or "none"

"""Maps on the grid of LAION-fMRI's betas: regions, noise ceilings, where the GLM was fitted."""

import logging
from pathlib import PurePosixPath

import nibabel as nib
import numpy as np

from fmri2img.datasets.laion import laion_paths as paths
from fmri2img.datasets.nsd.volumes import check_same_grid, read_array, read_volume
from fmri2img.datasets.protocol import LabelVolume, Region
from fmri2img.project.exceptions import ConfigError, FormatError, MissingDataError
from fmri2img.project.params_file import near
from fmri2img.provenance.receipts import RawFiles

log = logging.getLogger(__name__)


def read_masks(raw: RawFiles, rois: list[str]) -> LabelVolume:
    """Make one label volume of the masks of some regions.

    Parameters
    ----------
    raw : RawFiles
    rois : list of str
        Categories of regions, or single regions.

    Returns
    -------
    LabelVolume
        A voxel in several masks belongs to the smallest of them.

    Raises
    ------
    ConfigError
        If there is no such category or region.
    FormatError
        If a mask holds other values than 0 and 1, or not in three dimensions, or if two categories
        have a region of the same name.
    MismatchError
        If masks lie on different grids.
    """
    masks = _masks_of(raw, rois)
    images = [read_volume(raw.locate(path), remedy=raw.remedy) for _, path in masks]
    first = images[0]
    filled = {
        number: _read_mask(raw, path, image, first)
        for number, ((_, path), image) in enumerate(zip(masks, images, strict=True), start=1)
    }
    labels = np.zeros(first.shape[:3], np.int16)
    for number in sorted(filled, key=lambda one: -int(filled[one].sum())):
        labels[filled[number]] = number
    table = {number: label for number, (label, _) in enumerate(masks, start=1)}
    voxel_mm = float(np.linalg.norm(first.affine[:3, 0]))
    about = {"roi": "+".join(rois), "drawn_in": "func", "mapping": None, "names": table}
    return LabelVolume(labels, voxel_mm, about, first.affine)


def _masks_of(raw: RawFiles, rois: list[str]) -> list[tuple[str, PurePosixPath]]:
    """Return label and file of the masks that some categories and regions name, in order."""
    regions = [
        (*names, PurePosixPath(record.path))
        for record in raw.receipt.files
        if (names := paths.region_of(record.path))
    ]
    if not regions:
        raise MissingDataError(
            f"{raw.root / paths.mask_folder(raw.name)}: no masks of regions; run: {raw.remedy}"
        )
    chosen: dict[str, PurePosixPath] = {}
    for roi in rois:
        matching = [
            (label, path)
            for category, label, path in regions
            if roi.replace("-", "").lower() in (category.lower(), label.lower())
        ]
        if not matching:
            known = sorted({name for category, label, _ in regions for name in (category, label)})
            raise ConfigError(
                f"params.yaml: convert_roi.roi: {raw.name} has no region {roi!r}"
                f"{near(roi, known)}; choose from: {', '.join(known)}"
            )
        for label, path in matching:
            other = chosen.setdefault(label, path)
            if other != path and other.parent != path.parent:
                raise FormatError(
                    f"{raw.root}: two masks of {label}: {other} and {path}, expected one; name the "
                    "regions one by one, or move one mask away"
                )
    return list(chosen.items())


def _read_mask(
    raw: RawFiles, path: PurePosixPath, image: nib.Nifti1Image, first: nib.Nifti1Image
) -> np.ndarray:
    file = raw.locate(path)
    check_same_grid(file, image, first.shape, first.affine, "the other masks")
    values = read_array(file, image, remedy=raw.remedy)
    if values.ndim != 3 or not np.isin(values, (0, 1)).all():
        raise FormatError(
            f"{file}: expected a 3-D mask of 0 and 1, got {values.dtype} of shape {values.shape}; "
            f"run: {raw.remedy}"
        )
    return values == 1


def read_shipped_ncsnr(raw: RawFiles, region: Region) -> np.ndarray:
    """Return the ncsnr that gives the shipped noise ceilings: a ceiling of c percent for averages
    of four repetitions is ncsnr2 / (ncsnr2 + 1/4).

    Returns
    -------
    ndarray, shape (x, y, z), float32
        NaN where there is no ceiling, or one that no ncsnr gives.
    """
    path = paths.noise_ceiling(raw.name)
    if not raw.lists(path):
        return np.full(region.mask.shape, np.nan, np.float32)
    ceiling = _on_grid(raw, path, region).astype(np.float64)
    unit = 100
    if (largest := np.nanmax(ceiling, initial=0)) <= 1:
        log.warning("%s: values up to %.2f are taken as shares, not percent", path, largest)
        unit = 1
    share = np.where((ceiling >= 0) & (ceiling < unit), ceiling, np.nan) / unit
    ncsnr: np.ndarray = np.sqrt(share / (4 * (1 - share))).astype(np.float32)
    return ncsnr


def read_fitted(raw: RawFiles, region: Region) -> np.ndarray:
    """Return where the GLM was fitted, by its R2; everywhere if there is no such map; shape
    (x, y, z), bool.
    """
    path = paths.explained(raw.name)
    if not raw.lists(path):
        return np.ones(region.mask.shape, bool)
    fitted: np.ndarray = _on_grid(raw, path, region) > 0
    return fitted


def _on_grid(raw: RawFiles, name: PurePosixPath, region: Region) -> np.ndarray:
    path = raw.locate(name)
    image = read_volume(path, remedy=raw.remedy)
    check_same_grid(path, image, region.mask.shape, region.affine, "the regions")
    return read_array(path, image, remedy=raw.remedy)

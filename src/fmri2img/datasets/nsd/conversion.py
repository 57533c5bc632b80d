"""Regions of interest in functional space: mapped from anatomical space, or NSD's ready-made
volumes; one region or a union.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import nibabel as nib
import numpy as np

from fmri2img.datasets.nsd.mapping import map_nearest, map_winner_take_all, read_coordinates
from fmri2img.datasets.nsd.paths import (
    VOXEL_SIZES_MM,
    SubjectFiles,
    fsaverage_label_table,
    template_label_table,
)
from fmri2img.datasets.nsd.rois import LABEL_NAMES, NSD_ROIS, read_label_table, read_labels
from fmri2img.datasets.nsd.volumes import check_same_grid, read_volume, slab_centre_affine
from fmri2img.project.config import ConvertRoiParams
from fmri2img.project.exceptions import (
    ConfigError,
    FormatError,
    MismatchError,
    MissingDataError,
)
from fmri2img.project.nsd_params import NsdParams
from fmri2img.provenance.receipts import RawFiles

_MAPPINGS = {"nearest": map_nearest, "winner_take_all": map_winner_take_all}


def describe_region(names: dict[int, str], params: ConvertRoiParams) -> dict:
    """Return the table kept with the label volume: label to name, which ROI, where it was drawn
    and how it was mapped.
    """
    mapping = params.mapping if params.drawn_in == "anat" else None
    return {
        "roi": "+".join(params.rois),
        "drawn_in": params.drawn_in,
        "mapping": mapping,
        "names": names,
    }


def convert_roi(
    raw: RawFiles, nsd: NsdParams, params: ConvertRoiParams, *, own_rois: Path
) -> tuple[np.ndarray, dict[int, str]]:
    """Bring one or several ROIs to functional space.

    Parameters
    ----------
    raw : RawFiles
        The subject's raw files.
    nsd, params
        Space, regions, where they are drawn and how they are mapped.
    own_rois : Path
        Folder of a user's ROIs, ``<subject>/<name>.nii.gz`` with an optional ``<name>.ctab`` beside
        it.

    Returns
    -------
    labels : ndarray, shape (x, y, z), int16
        -1 not cortex or outside the source volume, 0 unlabelled, 1..N. One ROI keeps its numbers;
        a union is renumbered.
    names : dict of int to str

    Raises
    ------
    ConfigError
        If there is no such ROI.
    MismatchError
        If no functional voxel gets a label, or a file lies on another grid.
    """
    drawn = _Drawn(raw, SubjectFiles(raw.name, nsd.func_space), params, own_rois)
    volumes = {roi: drawn.read(roi) for roi in params.rois}
    for roi, (labels, names) in volumes.items():
        if not (labels > 0).any():
            raise MismatchError(
                f"ROI {roi}: no voxel of {raw.name} in {nsd.func_space} gets a label, expected "
                f"some of {list(names.values())}; "
                "choose another convert_roi.roi in params.yaml"
            )
    return next(iter(volumes.values())) if len(volumes) == 1 else _unite(volumes)


def _unite(
    volumes: dict[str, tuple[np.ndarray, dict[int, str]]],
) -> tuple[np.ndarray, dict[int, str]]:
    """Overlay ROIs, the first on top; a name that two of them use gets the ROI's name as a
    prefix.
    """
    used = [name for _, names in volumes.values() for name in names.values()]
    united = np.full(next(iter(volumes.values()))[0].shape, -1, dtype=np.int16)
    all_names: dict[int, str] = {}
    for roi, (labels, names) in volumes.items():
        for label, name in names.items():
            number = len(all_names) + 1
            all_names[number] = name if used.count(name) == 1 else f"{roi}:{name}"
            united[(united <= 0) & (labels == label)] = number
        united[(united == -1) & (labels == 0)] = 0
    return united, all_names


def _check_table(
    path: Path, names: dict[int, str], known: dict[int, str], present: set[int], remedy: str
) -> None:
    """Refuse a label table of NSD's that names its labels otherwise than NSD, or not all of them.

    Parameters
    ----------
    path : Path
    names, known : dict of int to str
        The table, and the names that NSD's table has.
    present : set of int
        Labels in the volume.
    remedy : str
    """
    numbers = {name: label for label, name in known.items()}
    for label, name in names.items():
        if numbers.get(name, label) != label:
            raise FormatError(
                f"{path}: label {label} is {name}, expected {known.get(label, 'another')}: in NSD "
                f"{name} is label {numbers[name]}; run: {remedy}"
            )
    if cut := sorted(present & (set(known) - set(names))):
        raise FormatError(
            f"{path}: no name for label {cut[0]}, which the volume holds, expected "
            f"{known[cut[0]]}; the table is cut; run: {remedy}"
        )


@dataclass(frozen=True)
class _Drawn:
    """ROIs of one subject in the space where they were drawn."""

    raw: RawFiles
    files: SubjectFiles
    params: ConvertRoiParams
    own_rois: Path

    def read(self, roi: str) -> tuple[np.ndarray, dict[int, str]]:
        """Return an ROI's labels in functional space, and their names."""
        path, table = self._find(roi)
        labels, affine = read_labels(path, remedy=self.raw.remedy)
        if self.params.drawn_in == "func":
            check_same_grid(
                path,
                read_volume(path, remedy=self.raw.remedy),
                self._grid().shape,
                self._grid().affine,
                "the functional volumes",
            )
        else:
            self._check_anatomical(path, labels.shape, affine)
            coordinates = read_coordinates(
                self.raw.locate(self.files.transform()), self._grid().shape, remedy=self.raw.remedy
            )
            labels = _MAPPINGS[self.params.mapping](labels, coordinates, bad_value=-1)
        known = LABEL_NAMES.get(roi, {})
        names = read_label_table(table, remedy=self.raw.remedy) if table else known
        # The names of thalamus's labels are not known to us, so any table will do.
        is_known = table is not None and (bool(known) or "freesurfer" in table.parts)
        if table and is_known and not table.is_relative_to(self.own_rois):
            _check_table(table, names, known, set(np.unique(labels).tolist()), self.raw.remedy)
        unnamed = {
            int(label): f"{roi}-{label}"
            for label in np.unique(labels[labels > 0])
            if label not in names
        }
        return labels, dict(sorted({**names, **unnamed}.items()))

    def _find(self, roi: str) -> tuple[Path, Path | None]:
        """Return the volume of NSD's or the user's ROI, and its label table if it has one."""
        shipped, tables = (
            self._shipped(roi),
            (self.files.label_table(roi), fsaverage_label_table(roi), template_label_table(roi)),
        )
        drawn_by_user = self.own_rois / self.raw.name / f"{roi}.nii.gz"
        if self.raw.lists(shipped):
            if drawn_by_user.exists():
                raise ConfigError(
                    f"{drawn_by_user} has the name of NSD's own {shipped}; rename yours, and name "
                    "it in "
                    "convert_roi.roi (params.yaml)"
                )
            listed_table = next((path for path in tables if self.raw.lists(path)), None)
            return self.raw.locate(shipped), self.raw.locate(listed_table) if listed_table else None
        if drawn_by_user.exists():
            own_table = drawn_by_user.with_name(f"{roi}.ctab")
            return drawn_by_user, own_table if own_table.exists() else None
        listed = [path.name.removesuffix(".nii.gz") for path in self.raw.folder(shipped.parent)]
        known = sorted(name for name in listed if not name.startswith(("lh.", "rh.")))
        space = {"anat": "anatomical", "func": "functional"}[self.params.drawn_in]
        if roi in NSD_ROIS:
            raise MissingDataError(
                f"{shipped} is not in the receipt of {self.raw.name}, which has "
                f"{', '.join(known)}; complete the copy, or name {roi} in datasets: rois if that "
                f"is a list (params.yaml), then run: "
                f"dvc repro --force --single-item {self.raw.receipt.stage}"
            )
        raise ConfigError(
            f"params.yaml: convert_roi.roi: there is no ROI {roi!r} in the {space} space of "
            f"{self.raw.name}, and no {drawn_by_user}; "
            f"choose from: {', '.join(known)}"
        )

    def _shipped(self, roi: str) -> PurePosixPath:
        return (
            self.files.anat_roi(roi) if self.params.drawn_in == "anat" else self.files.func_roi(roi)
        )

    def _grid(self) -> nib.Nifti1Image:
        return read_volume(self.raw.locate(self.files.brainmask()), remedy=self.raw.remedy)

    def _check_anatomical(self, path: Path, shape: tuple[int, ...], affine: np.ndarray) -> None:
        """Refuse a user's volume that is not in the 0.8-mm anatomical space."""
        if not np.allclose(
            affine, slab_centre_affine(shape, VOXEL_SIZES_MM["anat0pt8"]), atol=1e-3
        ):
            raise MismatchError(
                f"{path}: voxels of {np.abs(np.diag(affine)[:3]).round(2).tolist()} mm, "
                f"translation {affine[:3, 3].round(1).tolist()}, "
                "expected NSD's anat0pt8 space (0.8 mm, origin at the centre); resample it, or set "
                "convert_roi.drawn_in to func"
            )
        if known := self.raw.folder(self.files.anat_roi("x").parent):
            other = read_volume(self.raw.locate(known[0]), remedy=self.raw.remedy)
            check_same_grid(
                path,
                read_volume(path, remedy=self.raw.remedy),
                other.shape,
                other.affine,
                str(known[0]),
            )

"""What is true of NSD's files as a whole, while stages look at the voxels of a region only: reading
everything takes minutes to hours, once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import h5py
import nibabel as nib
import numpy as np

from fmri2img.datasets.nsd.betas import read_session_betas
from fmri2img.datasets.nsd.conversion import convert_roi
from fmri2img.datasets.nsd.mapping import read_coordinates, valid_coordinates
from fmri2img.datasets.nsd.paths import VOXEL_SIZES_MM, SubjectFiles
from fmri2img.datasets.nsd.rois import LABEL_NAMES, read_labels
from fmri2img.datasets.nsd.volumes import (
    read_array,
    read_volume,
    slab_centre_affine,
    stream_voxels,
)
from fmri2img.project.config import ConvertRoiParams
from fmri2img.project.exceptions import Fmri2imgError, FormatError, MismatchError
from fmri2img.project.nsd_params import NsdParams
from fmri2img.provenance.receipts import RawFiles

_SAMPLE = 500  # voxels of which both formats are compared
_SIDES = ("lh.", "rh.")


@dataclass(frozen=True)
class Finding:
    """One fact about a subject's files.

    Attributes
    ----------
    fact : str
        In words.
    n_files : int
        Files that were read for it.
    fault : str
        What was found instead, and where; empty if the fact holds.
    """

    fact: str
    n_files: int
    fault: str


def check_whole_files(raw: RawFiles, nsd: NsdParams) -> Iterator[Finding]:
    """Yield what is found about each fact, one after another.

    Parameters
    ----------
    raw : RawFiles
        A subject's files.
    nsd : NsdParams
        Of its dataset.

    Raises
    ------
    MissingDataError, ChangedDataError
        If a file of the receipt is not there, or another than was recorded.
    """
    volumes = _Volumes(raw, SubjectFiles(raw.name, nsd.func_space), nsd)
    for fact, paths, check in (
        ("volumes lie on the grid of the brain mask", volumes.on_grid, volumes.check_grid),
        ("masks hold 0 and 1 only", volumes.masks, volumes.check_mask),
        ("ncsnr is missing only where no session has data", volumes.ncsnr, volumes.check_ncsnr),
        ("betas are 0 where there is no data", volumes.betas, volumes.check_empty),
        ("both formats hold the same betas", volumes.pairs, volumes.check_pair),
        ("regions hold whole numbers with a name", volumes.regions, volumes.check_region),
        ("hemispheres make up the whole", volumes.unions, volumes.check_union),
        ("coordinates lead into the source", volumes.transforms, volumes.check_transform),
        ("visual regions lie in the brain", volumes.visual, volumes.check_visual),
    ):
        fault = ""
        for path in paths:
            raw.locate(path)
            try:
                check(path)
            except Fmri2imgError as error:
                fault = str(error)
                break
        if paths:
            yield Finding(fact, len(paths), fault)
        if fault and check == volumes.check_grid:
            return  # what follows compares volumes voxel by voxel


class _Volumes:
    """A subject's volumes, and what holds for each."""

    def __init__(self, raw: RawFiles, files: SubjectFiles, nsd: NsdParams) -> None:
        self.raw, self.files, self.nsd = raw, files, nsd
        self._listed = [PurePosixPath(record.path) for record in raw.receipt.files]
        self._mask_path = raw.locate(files.brainmask())
        image = read_volume(self._mask_path, remedy=raw.remedy)
        self.shape = image.shape
        self.brain = read_array(self._mask_path, image, remedy=raw.remedy) > 0

    def _of(self, *endings: str, within: str = "") -> list[PurePosixPath]:
        inside = f"/{self.raw.name}/{within or self.files.func_space}/"
        return [
            path for path in self._listed if str(path).endswith(endings) and inside in f"/{path}"
        ]

    @property
    def on_grid(self) -> list[PurePosixPath]:
        """Volumes in functional space."""
        return self._of(".nii.gz")

    @property
    def masks(self) -> list[PurePosixPath]:
        """The brain mask, and where each session has data."""
        return [
            path for path in self._of(".nii.gz") if path.name.startswith(("brainmask", "valid_"))
        ]

    @property
    def ncsnr(self) -> list[PurePosixPath]:
        """Maps of the ncsnr."""
        return [path for path in self._of(".nii.gz") if path.name.startswith("ncsnr")]

    @property
    def betas(self) -> list[PurePosixPath]:
        """Betas of all sessions, versions and formats."""
        return [
            path for path in self._of(".hdf5", ".nii.gz") if path.name.startswith("betas_session")
        ]

    @property
    def pairs(self) -> list[PurePosixPath]:
        """HDF5 files of betas that are there as NIfTI, too."""
        betas = self.betas
        return [path for path in betas if path.suffix == ".hdf5" and _other(path) in betas]

    @property
    def regions(self) -> list[PurePosixPath]:
        """Label volumes in both spaces."""
        return [*self._of(".nii.gz", within=f"{self.files.func_space}/roi"), *self._anatomical]

    @property
    def _anatomical(self) -> list[PurePosixPath]:
        return self._of(".nii.gz", within="anat/roi")

    @property
    def unions(self) -> list[PurePosixPath]:
        """Label volumes of whole regions that are there by hemisphere, too."""
        return [
            path
            for path in self.regions
            if all(path.with_name(f"{side}{path.name}") in self._listed for side in _SIDES)
        ]

    @property
    def transforms(self) -> list[PurePosixPath]:
        """Coordinates of functional voxels in anatomical space."""
        return [path for path in [self.files.transform()] if self.raw.lists(path)]

    @property
    def visual(self) -> list[PurePosixPath]:
        """Early visual regions in anatomical space."""
        path = self.files.anat_roi("prf-visualrois")
        return [path] if self.raw.lists(path) and self.transforms else []

    def _read(self, path: PurePosixPath) -> tuple[Path, nib.Nifti1Image, np.ndarray]:
        place = self.raw.locate(path)
        image = read_volume(place, remedy=self.raw.remedy)
        return place, image, read_array(place, image, remedy=self.raw.remedy)

    def check_grid(self, path: PurePosixPath) -> None:
        """Refuse another grid, or an affine that does not put the origin at the slab's centre."""
        place = self.raw.locate(path)
        image = read_volume(place, remedy=self.raw.remedy)
        if image.shape[:3] != self.shape:
            raise FormatError(
                f"{place}: got the grid {image.shape[:3]}, expected {self.shape} as "
                f"{self._mask_path.name}; run: {self.raw.remedy}"
            )
        affine = slab_centre_affine(self.shape, VOXEL_SIZES_MM[self.files.func_space])
        if not np.allclose(image.affine, affine, atol=1e-3):
            raise FormatError(
                f"{place}: got an affine that begins at "
                f"{image.affine[:3, 3].round(2).tolist()}, expected "
                f"{affine[:3, 3].round(2).tolist()}, with the slab's centre as origin; run: "
                f"{self.raw.remedy}"
            )

    def check_mask(self, path: PurePosixPath) -> None:
        """Refuse a mask with other values, or one that is empty."""
        place, _, values = self._read(path)
        if others := sorted(set(np.unique(values).tolist()) - {0, 1}):
            raise FormatError(
                f"{place}: got the value {others[0]:g}, expected 0 and 1 only; run: "
                f"{self.raw.remedy}"
            )
        if not values.any():
            raise FormatError(
                f"{place}: got no voxel at all, expected those of a brain; run: {self.raw.remedy}"
            )

    def check_ncsnr(self, path: PurePosixPath) -> None:
        """Refuse negative values, and missing ones where a session has data."""
        place, _, values = self._read(path)
        if (values < 0).any():
            raise FormatError(
                f"{place}: got an ncsnr of {np.nanmin(values):.3g}, expected 0 or more; run: "
                f"{self.raw.remedy}"
            )
        sessions = [one for one in self.masks if one.name.startswith("valid_")]
        has_data = np.zeros(self.shape, bool)
        for session in sessions:
            has_data |= self._read(session)[2] > 0
        missing = np.isnan(values) & has_data & self.brain
        if missing.any():
            raise FormatError(
                f"{place}: got no ncsnr at {int(missing.sum())} voxels, first "
                f"{_first(missing)}, expected one wherever a session has data; run: "
                f"{self.raw.remedy}"
            )

    def check_empty(self, path: PurePosixPath) -> None:
        """Refuse betas outside the brain, or where the session has no data."""
        place, number = self.raw.locate(path), path.name.split("session")[1][:2]
        empty = ~self.brain
        valid = self.files.valid(int(number))
        if self.raw.lists(valid):
            empty |= self._read(valid)[2] == 0
        written = _written(place, empty, remedy=self.raw.remedy)
        if written.any():
            raise FormatError(
                f"{place}: got betas at {int(written.sum())} voxels without data, first "
                f"{_first(written)}, expected 0 outside of the brain mask and of the session's "
                f"mask; run: {self.raw.remedy}"
            )

    def check_pair(self, path: PurePosixPath) -> None:
        """Refuse an HDF5 file of other betas than the NIfTI file beside it."""
        sample = np.zeros(self.brain.size, bool)
        inside = np.flatnonzero(self.brain)
        rng = np.random.default_rng(0)
        sample[rng.choice(inside, min(_SAMPLE, len(inside)), replace=False)] = True
        mask = sample.reshape(self.brain.shape)
        places = [self.raw.locate(one) for one in (path, _other(path))]
        hdf5, nifti = (read_session_betas(one, mask, remedy=self.raw.remedy) for one in places)
        differ = (hdf5 != nifti).any(axis=0)
        if differ.any():
            raise FormatError(
                f"{places[0]}: got other betas than {places[1].name} at {int(differ.sum())} of "
                f"{mask.sum()} voxels, expected the same in both formats; run: "
                f"{self.raw.remedy}"
            )

    def check_region(self, path: PurePosixPath) -> None:
        """Refuse labels that are no whole numbers, or have no name in NSD."""
        place = self.raw.locate(path)
        labels, _ = read_labels(place, remedy=self.raw.remedy)
        roi = path.name.removesuffix(".nii.gz").removeprefix("lh.").removeprefix("rh.")
        largest = max(LABEL_NAMES.get(roi, {int(labels.max()): ""}))
        if labels.max() > largest:
            raise FormatError(
                f"{place}: got label {labels.max()}, expected {largest} at most: NSD names no "
                f"other; run: {self.raw.remedy}"
            )

    def check_union(self, path: PurePosixPath) -> None:
        """Refuse hemispheres that overlap, or do not make up the whole."""
        place, whole = self.raw.locate(path), self._read(path)[2]
        left, right = (self._read(path.with_name(f"{side}{path.name}"))[2] for side in _SIDES)
        if not left.shape == right.shape == whole.shape:
            raise FormatError(
                f"{place}: got grids {left.shape} and {right.shape}, expected {whole.shape} as "
                f"the whole; run: {self.raw.remedy}"
            )
        both = (left > 0) & (right > 0)
        if both.any():
            raise FormatError(
                f"{place}: got {int(both.sum())} voxels in both hemispheres, first "
                f"{_first(both)}, expected none; run: {self.raw.remedy}"
            )
        differ = np.maximum(np.maximum(left, right), 0) != np.maximum(whole, 0)
        if differ.any():
            raise FormatError(
                f"{place}: got {int(differ.sum())} voxels, first {_first(differ)}, that are "
                "other than in the volumes of the two hemispheres, expected the same; run: "
                f"{self.raw.remedy}"
            )

    def check_transform(self, path: PurePosixPath) -> None:
        """Refuse coordinates that lead nowhere."""
        place = self.raw.locate(path)
        coordinates = read_coordinates(place, self.shape, remedy=self.raw.remedy)
        sources = [read_volume(self.raw.locate(one), remedy="").shape for one in self._anatomical]
        if sources and not valid_coordinates(coordinates, sources[0])[self.brain].any():
            raise MismatchError(
                f"{place}: got no coordinate within the anatomical grid {sources[0]}, expected one "
                f"for most voxels of the brain; run: {self.raw.remedy}"
            )

    def check_visual(self, path: PurePosixPath) -> None:
        """Refuse early visual regions that lie outside the brain mask."""
        params = ConvertRoiParams(roi="prf-visualrois", drawn_in="anat", mapping="nearest")
        labels, _ = convert_roi(self.raw, self.nsd, params, own_rois=Path())
        outside = (labels > 0) & ~self.brain
        if outside.any():
            raise FormatError(
                f"{self.raw.locate(path)}: got {int(outside.sum())} voxels outside of the "
                f"brain mask, first {_first(outside)}, expected all of them inside; run: "
                f"{self.raw.remedy}"
            )


def _other(path: PurePosixPath) -> PurePosixPath:
    """Return the same betas as NIfTI."""
    return path.with_name(f"{path.stem}.nii.gz")


def _first(places: np.ndarray) -> list[int]:
    """Return the position of the first voxel of a mask, as in the file, counted from 0."""
    position: list[int] = np.argwhere(places)[0].tolist()
    return position


def _written(path: Path, empty: np.ndarray, *, remedy: str) -> np.ndarray:
    """Return which voxels, that should be empty, have a beta in any trial, shape (x, y, z)."""
    written = np.zeros(empty.shape, bool)
    if path.suffix == ".hdf5":
        one = np.zeros(empty.shape, bool)
        one[0, 0, 0] = True
        read_session_betas(path, one, remedy=remedy)  # refuses another shape or form
        try:
            with h5py.File(path, "r", locking=False) as file:
                betas = file["betas"]
                for z in range(betas.shape[1]):  # (750, z, y, x), a plane at a time
                    written[:, :, z] = (betas[:, z] != 0).any(axis=0).T
        except (OSError, RuntimeError, KeyError) as error:
            raise FormatError(f"{path}: damaged or cut off ({error}); run: {remedy}") from error
        return written & empty
    filled = np.zeros(int(empty.sum()), bool)
    for volume in stream_voxels(path, empty, remedy=remedy):
        filled |= volume != 0
    written[empty] = filled
    return written

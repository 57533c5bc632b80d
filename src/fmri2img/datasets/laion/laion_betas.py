"""Betas of LAION-fMRI, session by session."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri2img.datasets.nsd.volumes import (
    check_same_grid,
    read_header,
    read_volume,
    stream_values,
)
from fmri2img.datasets.protocol import Region
from fmri2img.datasets.session_faults import without_coverage
from fmri2img.project.exceptions import FormatError


@dataclass(frozen=True)
class LaionSource:
    """One session's betas.

    Attributes
    ----------
    path : Path
    volumes : tuple of int
        Which of the file's volumes, ascending, from 0; others belong to pictures that are in
        neither side of the split.
    n_volumes : int
        How many the table names.
    sha256 : str
    remedy : str
    """

    path: Path
    volumes: tuple[int, ...]
    n_volumes: int
    sha256: str
    remedy: str

    @property
    def name(self) -> str:
        """What errors call it."""
        return str(self.path)

    def read(self, mask: np.ndarray) -> np.ndarray:
        """Return betas of a mask's voxels, shape (n_trials, n_voxels), float32; NaN: missing."""
        n_volumes = read_header(self.path, remedy=self.remedy).get_data_shape()[3:]
        if n_volumes != (self.n_volumes,):
            raise FormatError(
                f"{self.path}: got {n_volumes} volumes, expected {self.n_volumes} as in the table "
                f"of trials beside it; run: {self.remedy}"
            )
        chosen = set(self.volumes)
        betas = np.empty((len(chosen), int(mask.sum())), np.float32)
        rows = iter(betas)
        for number, values in enumerate(stream_values(self.path, mask, remedy=self.remedy)):
            if number in chosen:
                next(rows)[:] = values
        return without_coverage(betas)  # a voxel that is 0 in every trial is not valid

    def identity(self) -> str:
        """Return a text that stands for every byte and setting that decides the result."""
        return f"{self.sha256} {self.volumes}"


def check_grids(sources: list[LaionSource], region: Region) -> None:
    """Refuse sessions whose volumes do not lie where the regions do."""
    for source in sources:
        image = read_volume(source.path, remedy=source.remedy)
        check_same_grid(source.path, image, region.mask.shape, region.affine, "the regions")

"""Conversion between stored betas and the unit that the dataset declares."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from fmri2img.project.exceptions import FormatError

PERCENT = "percent signal change"


@dataclass(frozen=True)
class Units:
    """The unit of stored betas.

    Attributes
    ----------
    name : str
        The unit, such as ``percent signal change``.
    per_unit : float
        Stored number that equals one unit; 1 if betas are stored unscaled.
    """

    name: str
    per_unit: float = 1.0

    @classmethod
    def of(cls, provenance: dict[str, Any]) -> Self:
        """Return the units that a container names.

        Raises
        ------
        FormatError
            If it names none, or a scale that is no positive number.
        """
        units = provenance["units"]
        name, scale = units.get("name"), units.get("per_unit", 1.0)
        is_scale = isinstance(scale, int | float) and 0 < scale < float("inf")
        if not isinstance(name, str) or not is_scale:
            raise FormatError(
                f"units: got {units!r:.80}, expected a name and a positive per_unit; make the file "
                "again: dvc repro --force extract_betas create_examples"
            )
        return cls(name, float(scale))

    def __str__(self) -> str:
        """Describe the unit in words."""
        return self.name if self.per_unit == 1 else f"{self.name}, {self.per_unit:g} a unit"

    def record(self) -> dict[str, Any]:
        """Return the entry ``units`` of a container's provenance."""
        return asdict(self)

    def to_stored(self, betas: np.ndarray) -> np.ndarray:
        """Convert betas of any shape to stored numbers, int16, as MATLAB does: halves are rounded
        away from zero, large numbers saturate, NaN becomes 0.
        """
        scaled = np.nan_to_num(betas * self.per_unit)
        rounded = np.trunc(scaled + np.copysign(0.5, scaled))
        limits = np.iinfo(np.int16)
        return np.clip(rounded, limits.min, limits.max).astype(np.int16)

    def from_stored(self, stored: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Convert stored numbers to betas.

        Parameters
        ----------
        stored : ndarray, shape (n_trials, n_voxels), int16 or float32
        valid : ndarray, shape (n_trials, n_voxels), bool
            Whether the voxel has data in the trial's session.

        Returns
        -------
        ndarray, shape (n_trials, n_voxels), float32
            NaN where there are no data.
        """
        betas = stored / np.float32(self.per_unit)
        betas[~valid] = np.nan
        return betas

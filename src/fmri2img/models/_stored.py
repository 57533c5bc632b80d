"""Betas of trials as files hold them, converted when asked for: 16-bit integers take half the
memory of float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

Index = torch.Tensor | slice | tuple[slice, slice]


@dataclass(frozen=True)
class StoredBetas:
    """Betas (n_trials, n_voxels) that are indexed like a tensor, by trials or by a slice of trials
    and one of voxels, and give float32, NaN where invalid.

    Attributes
    ----------
    numbers : Tensor, shape (n_trials, n_voxels), int16 or float32
    per_unit : float
        Number that equals one unit of the dataset.
    sessions : Tensor, shape (n_trials,), int64
        Row of ``valid``.
    valid : Tensor, shape (n_sessions, n_voxels), bool
        Whether a voxel has data in a session.
    """

    numbers: torch.Tensor
    per_unit: float
    sessions: torch.Tensor
    valid: torch.Tensor

    @property
    def shape(self) -> torch.Size:
        """Number of trials and of voxels."""
        return self.numbers.shape

    @property
    def nbytes(self) -> int:
        """Bytes of all betas in float32."""
        return 4 * self.numbers.numel()

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.numbers.device

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.numbers)

    def __getitem__(self, index: Index) -> torch.Tensor:
        rows, voxels = index if isinstance(index, tuple) else (index, slice(None))
        betas = self.numbers[rows][:, voxels] / self.per_unit
        return betas.masked_fill_(~self.valid[:, voxels][self.sessions[rows]], torch.nan)

    def split(self, n_trials: int) -> Iterator[torch.Tensor]:
        """Yield so many trials at a time."""
        for start in range(0, len(self), n_trials):
            yield self[start : start + n_trials]

    def to(self, device: torch.device) -> "StoredBetas":
        """Return the same betas on a device."""
        numbers, sessions, valid = (
            one.to(device) for one in (self.numbers, self.sessions, self.valid)
        )
        return StoredBetas(numbers, self.per_unit, sessions, valid)


Betas = torch.Tensor | StoredBetas

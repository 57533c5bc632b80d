"""Declarations of a container's arrays, and the check of a file against them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Order = Literal["any", "sorted", "ascending"]
Axes = tuple[str | int, ...]
# Image ids: numbers, or texts.
_ID_KINDS = "iuU"
# Betas: whole numbers in the dataset's stored units, or unscaled numbers.
_BETA_DTYPES = ("int16", "float32")
_DTYPES = {"beta": " or ".join(_BETA_DTYPES), "id": "whole numbers or texts"}


class Shaped(Protocol):
    """An array, in memory or on disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    @property
    def dtype(self) -> np.dtype:
        """Type of the elements."""


@dataclass(frozen=True)
class Array:
    """One array of a container.

    Attributes
    ----------
    dtype : str
        Name of its dtype in numpy; ``id``: integers or texts; ``bytes``: texts of any length;
        ``beta``: int16 or float32.
    axes : tuple of str or int
        Name of each axis, or its length; axes of the same name have the same length in all arrays.
    order : str
        ``sorted``: no value is below the previous one; ``ascending``: each is above it.
    is_finite : bool
        Whether NaN and infinity are faults.
    """

    dtype: str
    axes: Axes
    order: Order = "any"
    is_finite: bool = False

    def fault(
        self,
        name: str,
        values: Shaped,
        lengths: dict[str, tuple[str, int]],
    ) -> str:
        """Return what is wrong with an array, in words; empty if nothing is.

        Parameters
        ----------
        name : str
            Name of the array.
        values : array
            If it stays on disk, it is not read, and only its dtype and shape are checked.
        lengths : dict of str to (str, int)
            For each axis met so far, the array that set its length, and the length; new axes are
            added.
        """
        if not self._has_dtype(values.dtype):
            return f"dtype {values.dtype}, expected {_DTYPES.get(self.dtype, self.dtype)}"
        if len(values.shape) != len(self.axes):
            return f"shape {tuple(values.shape)}, expected {self._words()}"
        for axis, length in zip(self.axes, values.shape, strict=True):
            if isinstance(axis, int):
                if length != axis:
                    return f"shape {tuple(values.shape)}, expected {self._words()}"
                continue
            owner, known = lengths.setdefault(axis, (name, length))
            if known != length:
                return f"{length} {axis}, expected the {known} of {owner}"
        return self._fault_of_values(values) if isinstance(values, np.ndarray) else ""

    def _has_dtype(self, dtype: np.dtype) -> bool:
        if self.dtype == "id":
            return dtype.kind in _ID_KINDS
        if self.dtype == "bytes":
            return dtype.kind in "SO"
        if self.dtype == "beta":
            return dtype.name in _BETA_DTYPES
        return bool(dtype == np.dtype(self.dtype))

    def _words(self) -> str:
        return f"({', '.join(map(str, self.axes))})"

    def _fault_of_values(self, values: np.ndarray) -> str:
        if self.is_finite and not np.isfinite(values).all():
            place = tuple(int(index) for index in np.argwhere(~np.isfinite(values))[0])
            return f"{values[place]} at {place}, expected finite numbers"
        if self.order != "any" and len(values) > 1:
            wrong = (
                values[1:] < values[:-1] if self.order == "sorted" else values[1:] <= values[:-1]
            )
            if wrong.any():
                row = int(np.argmax(wrong))
                return f"{values[row + 1]} after {values[row]}, expected {self.order} values"
        return ""


def first_fault(arrays: Mapping[str, Array], values: Mapping[str, Shaped]) -> str:
    """Return the first fault among some arrays, with the array's name; empty if there is none.

    Parameters
    ----------
    arrays : mapping of str to Array
    values : mapping of str to array
        The arrays that are present, of any shape.
    """
    lengths: dict[str, tuple[str, int]] = {}
    for name, array in arrays.items():
        if name not in values:
            continue
        if fault := array.fault(name, values[name], lengths):
            return f"{name}: {fault}"
    return ""

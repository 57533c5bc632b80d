"""What the voxels of one person's regions respond to, as a prior for those of another."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fmri2img.containers.declared_arrays import Array
from fmri2img.containers.stored import Stored


@dataclass(frozen=True)
class VoxelPriors(Stored):
    """Distribution over the voxels of each region: how strongly they respond to each channel of a
    picture's description, and how large a window they see. No response and no picture is in it.

    Attributes
    ----------
    regions : ndarray, shape (n_regions,), str
        Names, ascending.
    n_voxels : ndarray, shape (n_regions,), int64
        Voxels that each region's distribution was learnt from.
    means : ndarray, shape (n_regions, n_channels), float32
    covariances : ndarray, shape (n_regions, n_channels, n_channels), float32
    window_shares : ndarray, shape (n_regions, n_sizes), float32
        Share of the voxels that see a window of each size; the first is the whole picture.
    image_ids : ndarray, shape (n_images,), int64 or str
        Pictures whose responses they were learnt from, ascending.
    provenance : dict
        ``subject``, ``data_source``, ``func_space``, ``autoencoder``; ``settings`` of the model.
    """

    arrays: ClassVar[dict[str, Array]] = {
        "regions": Array("id", ("regions",), "ascending"),
        "n_voxels": Array("int64", ("regions",)),
        "means": Array("float32", ("regions", "channels"), is_finite=True),
        "covariances": Array("float32", ("regions", "channels", "channels"), is_finite=True),
        "window_shares": Array("float32", ("regions", "sizes"), is_finite=True),
        "image_ids": Array("id", ("images",), "ascending"),
    }
    needed_provenance: ClassVar[dict[str, type]] = {
        "subject": str,
        "data_source": str,
        "func_space": str,
        "autoencoder": dict,
        "settings": dict,
    }

    regions: np.ndarray
    n_voxels: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    window_shares: np.ndarray
    image_ids: np.ndarray
    provenance: dict

    def contradiction(self) -> str:
        """Describe a distribution that there cannot be; empty if there is none."""
        if not len(self.regions):
            return "regions: none, expected at least one"
        if (self.n_voxels < 1).any():
            return f"n_voxels: {int(self.n_voxels.min())}, expected 1 or more in each region"
        smallest = np.linalg.eigvalsh(self.covariances.astype(np.float64)).min(axis=1)
        for region, variance in zip(self.regions, smallest, strict=True):
            if variance < 0:
                return f"covariances: that of {region} has a negative variance ({variance:.3g})"
        sums = self.window_shares.sum(axis=1)
        if (self.window_shares < 0).any() or not np.allclose(sums, 1, atol=1e-3):
            return "window_shares: expected shares that sum to 1 in each region"
        return ""

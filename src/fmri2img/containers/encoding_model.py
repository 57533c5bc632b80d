"""The model that predicts voxel responses from latents."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fmri2img.containers.declared_arrays import Array
from fmri2img.containers.stored import Stored


@dataclass(frozen=True)
class EncodingModel(Stored):
    """A linear map from latents to z-scored responses, fitted on training images.

    Attributes
    ----------
    weights : ndarray, shape (d, n_voxels), float32
    latent_mean : ndarray, shape (d,), float32
    response_mean : ndarray, shape (n_voxels,), float32
    provenance : dict
    """

    arrays: ClassVar[dict[str, Array]] = {
        "weights": Array("float32", ("latent numbers", "voxels"), is_finite=True),
        "latent_mean": Array("float32", ("latent numbers",), is_finite=True),
        "response_mean": Array("float32", ("voxels",), is_finite=True),
    }

    weights: np.ndarray
    latent_mean: np.ndarray
    response_mean: np.ndarray
    provenance: dict

    def predict(self, latents: np.ndarray) -> np.ndarray:
        """Predict responses to pictures from their latents, shape (n, d); return them in SDs of
        the training trials, shape (n, n_voxels).
        """
        predicted: np.ndarray = (latents - self.latent_mean) @ self.weights + self.response_mean
        return predicted

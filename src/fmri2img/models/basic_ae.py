"""The original fmri2img network: three linear layers, then one transposed convolution to the
latent grid.
"""

from itertools import pairwise
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from fmri2img.models.base import Encoder, GradientSettings


class Settings(GradientSettings):
    """``train.basic_ae`` in ``params.yaml``."""

    hidden_sizes: list[Annotated[int, Field(ge=1)]]
    bottleneck: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)]
    dropout: Annotated[float, Field(ge=0, lt=1)]


class Model(Encoder):
    """Linear layers of 2048, 2048 and 1024 with GELU, reshaped to 16 x 8 x 8; a transposed
    convolution to 4 x 16 x 16.

    The sizes are those of ``models/basic_ae.py`` in github.com/aaalgo/fmri2img.
    """

    Settings = Settings

    def __init__(self, n_voxels: int, latent_shape: tuple[int, int, int], settings: Any) -> None:
        super().__init__(n_voxels, latent_shape, settings)
        channels, height, width = settings.bottleneck
        sizes = [n_voxels, *settings.hidden_sizes, channels * height * width]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.GELU(), nn.Dropout(settings.dropout)]
        self.layers = nn.Sequential(*layers)
        # Kernel 4, stride 2, padding 1 doubles the grid exactly.
        self.upsample = nn.ConvTranspose2d(
            channels, latent_shape[0], kernel_size=4, stride=2, padding=1
        )

    def decode_voxels(self, voxels: torch.Tensor) -> torch.Tensor:
        """Map z-scored voxels (n, n_voxels) to latents (n, 4, 2 height, 2 width)."""
        hidden = self.layers(voxels).unflatten(1, tuple(self.settings.bottleneck))  # (n, 16, 8, 8)
        return self.upsample(hidden)  # (n, 4, 16, 16)

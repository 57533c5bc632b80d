"""Betas directly to pictures: linear layers, then a small up-scaling convolutional network that is
trained with them.

After the variant of fmri2img that has "a simple up-scaling conv net" instead of Stable Diffusion's
decoder (github.com/aaalgo/fmri2img, news of 24 March 2023). No autoencoder is involved, so none
sets a ceiling.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from fmri2img.models.base import Encoder, GradientSettings
from fmri2img.project.config import PARAMS_PATH
from fmri2img.project.exceptions import ConfigError

_Size = Annotated[int, Field(ge=1)]


class Settings(GradientSettings):
    """``train.upscaling_ae`` in ``params.yaml``.

    Attributes
    ----------
    hidden_sizes : list of int
        Sizes of the linear layers.
    bottleneck : list of int
        Channels, rows and columns of the input to the convolutions.
    dropout : float
    """

    hidden_sizes: list[_Size]
    bottleneck: Annotated[list[_Size], Field(min_length=3, max_length=3)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    # Predictions are pictures, without a frozen decoder: their error is the only one.
    loss: Literal["latents"]


class Model(Encoder):
    """Linear layers with GELU, reshaped to a grid; each step doubles the grid and halves the
    channels, up to the size of a picture.
    """

    Settings = Settings
    kind = "pixels"
    targets = "picture_targets"
    renderer = "own_decoder"

    def __init__(self, n_voxels: int, latent_shape: tuple[int, int, int], settings: Any) -> None:
        super().__init__(n_voxels, latent_shape, settings)
        channels, height, width = settings.bottleneck
        n_colours, rows, columns = latent_shape
        n_steps = max(0, (rows // height).bit_length() - 1)
        if (height << n_steps, width << n_steps) != (rows, columns):
            raise ConfigError(
                f"{PARAMS_PATH}: train.upscaling_ae.bottleneck: a grid of {height} x {width} does "
                f"not become {rows} x {columns} by doubling; choose such as {rows // 16} x "
                f"{columns // 16}"
            )
        sizes = [n_voxels, *settings.hidden_sizes, channels * height * width]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.GELU(), nn.Dropout(settings.dropout)]
        self.layers = nn.Sequential(*layers)
        widths = [max(8, channels >> step) for step in range(n_steps + 1)]
        steps: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            steps += [
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.Conv2d(n_in, n_out, kernel_size=3, padding=1),
                nn.GELU(),
            ]
        self.decoder = nn.Sequential(
            *steps, nn.Conv2d(widths[-1], n_colours, kernel_size=3, padding=1)
        )

    def decode_voxels(self, voxels: torch.Tensor) -> torch.Tensor:
        """Map z-scored voxels (n, n_voxels) to pictures (n, 3, side, side) of -1 to 1."""
        grid = self.layers(voxels).unflatten(1, tuple(self.settings.bottleneck))
        return torch.tanh(self.decoder(grid))  # (n, 3, side, side)

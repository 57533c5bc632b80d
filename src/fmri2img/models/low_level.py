"""A network after MindEye's low-level pipeline: a residual MLP, then a small convolutional
upsampler to the latent grid.

Scotti et al. 2023 (arXiv:2305.18274) map nsdgeneral's voxels to the latent of a 512 x 512 picture:
a linear layer, four residual blocks, a reshape to 64 channels, convolutions that enlarge it, an L1
loss on latents and an auxiliary contrastive loss. Here the grid is that of a 128 x 128 picture, so
the reshape is to 4 x 4 cells, and the contrastive head sees the true latent instead of features
of a ConvNeXt.
"""

from math import gcd
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from fmri2img.models.base import Encoder, GradientSettings

_Share = Annotated[float, Field(ge=0, lt=1)]
_Size = Annotated[int, Field(ge=1)]


class Settings(GradientSettings):
    """``train.low_level`` in ``params.yaml``; MindEye has hidden size 4096, 4 blocks, dropout
    0.5 and 0.25, 64 channels.
    """

    hidden_size: _Size
    n_blocks: Annotated[int, Field(ge=0)]
    input_dropout: _Share
    dropout: _Share
    channels: _Size
    contrastive_size: _Size


class Model(Encoder):
    """Residual MLP and convolutional upsampler, with a contrastive head that only training uses."""

    Settings = Settings

    def __init__(self, n_voxels: int, latent_shape: tuple[int, int, int], settings: Any) -> None:
        super().__init__(n_voxels, latent_shape, settings)
        size, self.small = settings.hidden_size, (latent_shape[1] // 4, latent_shape[2] // 4)
        self.first = _layer(n_voxels, size, settings.input_dropout)
        self.blocks = nn.ModuleList(
            _layer(size, size, settings.dropout) for _ in range(settings.n_blocks)
        )
        self.to_grid = nn.Linear(
            size, settings.channels * self.small[0] * self.small[1], bias=False
        )
        wide, narrow = 2 * settings.channels, settings.channels
        self.upsampler = nn.Sequential(
            nn.GroupNorm(1, settings.channels),
            nn.Conv2d(settings.channels, wide, 3, padding=1),
            _Residual(wide),
            *_enlarge(wide, wide),
            _Residual(wide),
            *_enlarge(wide, narrow),
            _Residual(narrow),
            nn.GroupNorm(1, narrow),
            nn.SiLU(),
            nn.Conv2d(narrow, latent_shape[0], 3, padding=1),
        )
        if settings.contrastive_weight:
            n_latents = latent_shape[0] * latent_shape[1] * latent_shape[2]
            self.voxel_head = nn.Sequential(
                nn.LayerNorm(size), nn.Linear(size, settings.contrastive_size)
            )
            self.latent_head = nn.Linear(n_latents, settings.contrastive_size)

    def decode_voxels(self, voxels: torch.Tensor) -> torch.Tensor:
        """Map z-scored voxels (n, n_voxels) to latents (n, 4, h, w)."""
        return self._grow(self._hidden(voxels))

    def training_outputs(self, voxels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return latents (n, 4, h, w) and the contrastive embeddings of the voxels, shape
        (n, contrastive_size).
        """
        if not self.settings.contrastive_weight:
            return super().training_outputs(voxels)
        hidden = self._hidden(voxels)
        return self._grow(hidden), self.voxel_head(hidden)

    def embed_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the contrastive embeddings of centred true latents, shape (n,
        contrastive_size).
        """
        embedding: torch.Tensor = self.latent_head(latents.flatten(1))
        return embedding

    def _hidden(self, voxels: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.first(voxels)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return hidden  # (n, hidden_size)

    def _grow(self, hidden: torch.Tensor) -> torch.Tensor:
        grid = self.to_grid(hidden).unflatten(
            1, (self.settings.channels, *self.small)
        )  # (n, channels, h / 4, w / 4)
        latents: torch.Tensor = self.upsampler(grid)
        return latents  # (n, 4, h, w)


def _layer(n_in: int, n_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_in, n_out, bias=False), nn.LayerNorm(n_out), nn.SiLU(), nn.Dropout(dropout)
    )


def _enlarge(n_in: int, n_out: int) -> tuple[nn.Module, nn.Module]:
    return nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(n_in, n_out, 3, padding=1)


class _Residual(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for _ in range(2):
            steps += [
                nn.GroupNorm(gcd(32, channels), channels),
                nn.SiLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
            ]
        self.steps = nn.Sequential(*steps)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Add the output of the convolutions to the features (n, channels, h, w)."""
        added: torch.Tensor = features + self.steps(features)
        return added

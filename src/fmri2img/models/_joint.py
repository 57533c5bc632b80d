"""What encoders share that are the weighted mean of two others.

Both are trained by themselves, on the same training trials. The weights, one for each, are those of
the smallest squared error over validation images, in closed form.
"""

from typing import Any, ClassVar

import torch
from torch import nn

from fmri2img.models.base import Encoder


class JointEncoder(Encoder):
    """The weighted mean of the predictions of two encoders.

    A subclass names them in ``parts``; its settings hold theirs under the same names.

    Attributes
    ----------
    parts : dict of str to subclass of Encoder
        The two encoders, by name.
    members : ModuleDict
        The encoders, each with its own normaliser.
    share : Tensor, shape ()
        Weight of the first; the second has the rest.
    """

    trained_by_gradient = False
    parts: ClassVar[dict[str, type[Encoder]]]
    share: torch.Tensor

    def __init__(self, n_voxels: int, latent_shape: tuple[int, int, int], settings: Any) -> None:
        super().__init__(n_voxels, latent_shape, settings)
        self.members = nn.ModuleDict(
            {
                name: kind(n_voxels, latent_shape, getattr(settings, name))
                for name, kind in self.parts.items()
            }
        )
        self.register_buffer("share", torch.tensor(0.5))

    def forward(self, betas: torch.Tensor, repetitions: torch.Tensor | None = None) -> torch.Tensor:
        """Predict latents (n, 4, h, w) from averages of ``repetitions`` trials (n,), by default the
        maximum.
        """
        first, second = (member(betas, repetitions) for member in self.members.values())
        latents: torch.Tensor = second + self.share * (first - second)
        return latents

    @torch.no_grad()
    def weigh(
        self, betas: torch.Tensor, repetitions: torch.Tensor, latents: torch.Tensor
    ) -> dict[str, float]:
        """Set the weights; they lie between 0 and 1, and are equal where the encoders do not
        differ.

        Parameters
        ----------
        betas : Tensor, shape (n, n_voxels)
            Averages of trials of validation images.
        repetitions : Tensor, shape (n,), int64
            Number of trials averaged in each row.
        latents : Tensor, shape (n, 4, h, w)

        Returns
        -------
        dict of str to float
            The weight of each encoder, as ``share_of_NAME``.
        """
        first, second = (member(betas, repetitions).double() for member in self.members.values())
        apart, rest = first - second, latents - second
        size = float((apart**2).sum())
        share = float((apart * rest).sum()) / size if size > 0 else 0.5
        self.share.fill_(min(max(share, 0.0), 1.0))
        shares = (float(self.share), 1 - float(self.share))
        return {f"share_of_{name}": value for name, value in zip(self.parts, shares, strict=True)}

"""Takagi & Nishimoto (CVPR 2023): two ridges whose predictions steer Stable Diffusion.

z, the latent of the picture at 320 x 320, is decoded from early visual cortex and c, the embedding
of its captions, from ventral cortex (github.com/yu-takagi/StableDiffusionReconstruction,
codes/utils/ridge.py). The ridges are fitted on single trials and applied to averages; voxels are
z-scored on training trials. Unlike in the authors' code, targets are centred, so that a prediction
without information is the mean, and an image's trials are kept together when penalties are chosen.
"""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from sklearn.model_selection import KFold

from fmri2img.models._image_ridge import solve_image_ridge
from fmri2img.models.base import Encoder, TrainingTensors
from fmri2img.project.config import PARAMS_PATH, Params
from fmri2img.project.exceptions import ConfigError
from fmri2img.project.param_types import Penalty, Seed

_TEXT_SHAPE = (77, 768)
# Labels that ``auto`` stands for: those of streams, or the closest ones of prf-visualrois.
_AUTO = {
    "z": (("early",), ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d")),
    "c": (("ventral",), ("hV4",)),
}
_Labels = Literal["auto"] | Annotated[list[str], Field(min_length=1)]
_Penalties = Annotated[list[Penalty], Field(min_length=1)]


class Settings(Params):
    """``train.takagi`` in ``params.yaml``.

    Attributes
    ----------
    z_labels, c_labels : list of str or "auto"
        Regions that z and c are decoded from, by their names in the label table.
    grid : str
        ``published`` or ``wide``: the list of penalties that weights are solved with.
    published_penalties : list of float
        Penalties of the authors' code: almost no regularisation at NSD's size.
    wide_penalties : list of float
    n_folds : int
        Folds of training images, to choose the penalty of each target.
    """

    z_labels: _Labels
    c_labels: _Labels
    grid: Literal["published", "wide"]
    published_penalties: _Penalties
    wide_penalties: _Penalties
    n_folds: Annotated[int, Field(ge=2)]
    seed: Seed


class Model(Encoder):
    """Two ridges: `decode_voxels` gives z, `condition` gives c."""

    Settings = Settings
    trained_by_gradient = False
    kind = "diffusion"
    targets = "steering_targets"
    renderer = "stable_diffusion"

    def __init__(self, n_voxels: int, latent_shape: tuple[int, int, int], settings: Any) -> None:
        super().__init__(n_voxels, latent_shape, settings)
        for part, n_targets in (
            ("z", int(np.prod(latent_shape))),
            ("c", int(np.prod(_TEXT_SHAPE))),
        ):
            self._set(
                part,
                torch.zeros(0, dtype=torch.int64),
                torch.zeros(n_targets, 0),
                torch.zeros(n_targets),
            )

    def _set(
        self, part: str, voxels: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor
    ) -> None:
        for name, value in (("voxels", voxels), ("weights", weights), ("bias", bias)):
            self.register_buffer(f"{part}_{name}", value)

    def decode_voxels(self, voxels: torch.Tensor) -> torch.Tensor:
        """Map z-scored voxels (n, n_voxels) to z (n, 4, 40, 40)."""
        return self._apply_ridge("z", voxels).unflatten(1, self.latent_shape)  # (n, 4, 40, 40)

    def condition(self, betas: torch.Tensor) -> torch.Tensor:
        """Predict c, shape (n, 77, 768), from betas in percent signal change (n, n_voxels)."""
        return self._apply_ridge("c", self.normalizer(betas)).unflatten(
            1, _TEXT_SHAPE
        )  # (n, 77, 768)

    def _apply_ridge(self, part: str, voxels: torch.Tensor) -> torch.Tensor:
        index, weights, bias = (
            self.get_buffer(f"{part}_{name}") for name in ("voxels", "weights", "bias")
        )
        return torch.nn.functional.linear(voxels[:, index], weights, bias)

    def voxel_weights(self) -> torch.Tensor:
        """Return the length of each voxel's weights on z, shape (n_voxels,); 0 if z is decoded from
        others.
        """
        weights = self.get_buffer("z_weights")
        lengths = weights.new_zeros(self.n_voxels)
        lengths[self.get_buffer("z_voxels")] = weights.norm(dim=0)
        return lengths

    @torch.no_grad()
    def solve(self, data: TrainingTensors) -> dict[str, float]:
        """Fit both ridges on training trials.

        Raises
        ------
        ConfigError
            If the region lacks a label.
        """
        settings = self.settings
        folds = torch.zeros(len(data.latents), dtype=torch.int64)
        if len(folds) > 1:  # one image gives nothing to learn: its own targets are decoded
            splitter = KFold(
                min(settings.n_folds, len(folds)), shuffle=True, random_state=settings.seed
            )
            for number, (_, held_out) in enumerate(splitter.split(folds)):
                folds[held_out] = number
        grids = {"published": settings.published_penalties, "wide": settings.wide_penalties}
        facts: dict[str, float] = {}
        for part, targets in (("z", data.latents), ("c", data.text_embeddings)):
            voxels = _voxels_of(data, part, getattr(settings, f"{part}_labels"))
            ridge = solve_image_ridge(
                torch.cat(
                    [self.normalizer(trials)[:, voxels] for trials in data.betas.split(1024)]
                ),  # a copy: it is centred in place
                data.trial_images,
                targets.flatten(1),
                folds,
                grids,
                settings.grid,
            )
            self._set(part, voxels, ridge.weights, ridge.bias)
            facts |= {
                f"{part}_voxels": float(len(voxels)),
                f"{part}_median_penalty": float(ridge.penalties.median()),
            }
            facts |= {f"{part}_r2_{name}": value for name, value in ridge.r2.items()}
        return facts


def _voxels_of(data: TrainingTensors, part: str, labels: list[str] | str) -> torch.Tensor:
    """Return the indices of the voxels with one of the labels, shape (n,), int64."""
    present = {data.roi_names[int(number)]: int(number) for number in data.roi_labels.unique()}
    if labels == "auto":
        wanted = next((names for names in _AUTO[part] if set(names) <= set(present)), None)
        if wanted is None:
            choices = " or ".join(", ".join(names) for names in _AUTO[part])
            raise ConfigError(
                f"{PARAMS_PATH}: train.takagi.{part}_labels: auto stands for {choices}, and the "
                f"region has {', '.join(sorted(present))}; "
                "name labels of it, or set convert_roi.roi to streams"
            )
    else:
        wanted = tuple(labels)
    if absent := [name for name in wanted if name not in present]:
        raise ConfigError(
            f"{PARAMS_PATH}: train.takagi.{part}_labels: this subject's region has no voxel of "
            f"{absent[0]!r}; "
            f"choose from: {', '.join(sorted(present))}, or set convert_roi.roi to a region that "
            "has it (streams: early, ventral, ...)"
        )
    numbers = torch.tensor([present[name] for name in wanted])
    return torch.nonzero(torch.isin(data.roi_labels, numbers)).squeeze(1)

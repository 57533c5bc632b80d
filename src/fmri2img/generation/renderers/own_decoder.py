"""Pictures by the model's own decoder, trained with the model; no autoencoder is involved."""

from typing import Any

import numpy as np
import torch

from fmri2img.generation.decode import from_network_range, resize_pictures, write_pictures
from fmri2img.generation.reconstruct import predict_from, reconstruct_pictures
from fmri2img.generation.renderers.renderer import Inputs, NewBetas, Rendered, Renderer, Task
from fmri2img.models.base import Encoder


def to_pictures(predicted: np.ndarray) -> np.ndarray:
    """Turn predictions (n, 3, side, side) of -1 to 1 into pictures (n, side, side, 3), uint8."""
    return from_network_range(torch.from_numpy(predicted))


class OwnDecoder(Renderer):
    """Predictions are pictures already."""

    def reconstruct(self, inputs: Inputs, task: Task) -> Rendered:
        """Predict pictures from all repetitions, from some of them, and with the other seeds."""
        return Rendered(reconstruct_pictures(inputs, task.load_other_seeds(), to_pictures))

    def preview(self, predicted: np.ndarray, about: dict[str, Any], side: int) -> np.ndarray:
        """Return the predicted pictures, shape (n, side, side, 3), uint8."""
        del about
        return resize_pictures(to_pictures(predicted), side)

    def render_new(self, encoder: Encoder, new: NewBetas) -> None:
        """Predict one picture per row."""
        predicted = predict_from(encoder, new.betas, new.repetitions)
        write_pictures(to_pictures(predicted), new.names, new.folder)


RENDERER = OwnDecoder()

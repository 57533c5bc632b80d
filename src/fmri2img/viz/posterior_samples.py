"""What the page about one encoder shows of its posterior."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PosteriorSamples:
    """A test image with samples from an encoder's posterior.

    Attributes
    ----------
    image_id : int or str
    shown, mean : ndarray, shape (side, side, 3), uint8
        The picture, and its reconstruction: the posterior's mean, decoded.
    samples : ndarray, shape (n, side, side, 3), uint8
    """

    image_id: int | str
    shown: np.ndarray
    mean: np.ndarray
    samples: np.ndarray

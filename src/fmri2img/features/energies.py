"""Local contrast energies of pictures: how strong edges of each size and orientation are in each
part of a picture.

Complex cells of early visual cortex respond to them, regardless of an edge's sign and exact place
(Adelson & Bergen 1985, doi:10.1364/JOSAA.2.000284); encoding models of this kind explain V1 to
hV4 (Kay et al. 2008, doi:10.1038/nature06713).
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch

_SCALES = (0.06, 0.12, 0.24)  # centre frequencies, cycles per pixel
_ORIENTATIONS = 4
_OCTAVES, _ANGLE = 0.5, 0.4  # widths: SD of log frequency, and of the angle in radians
_GRID = 8
_AT_ONCE = 64
N_CHANNELS = len(_SCALES) * _ORIENTATIONS


@torch.no_grad()
def contrast_energies(images: Any) -> np.ndarray:
    """Compute the mean amplitude of oriented bands of the luminance, in each cell of an 8 x 8 grid.

    Parameters
    ----------
    images : ndarray or storage.StoredArray, shape (n, side, side, 3), uint8
        Read a few at a time.

    Returns
    -------
    ndarray, shape (n, 12, 8, 8), float32
        Three sizes, the coarsest first, times four orientations; 0 to about 0.5.
    """
    blocks = [np.zeros((0, N_CHANNELS, _GRID, _GRID), dtype=np.float32)]
    for start in range(0, len(images), _AT_ONCE):
        luminance = (
            torch.from_numpy(images[start : start + _AT_ONCE]).float().mean(-1) / 255
        )  # (n, side, side)
        spectrum = torch.fft.fft2(luminance - luminance.mean((1, 2), keepdim=True))
        amplitude = torch.fft.ifft2(
            spectrum[:, None] * _filters(luminance.shape[1])
        ).abs()  # (n, 12, side, side)
        blocks.append(torch.nn.functional.adaptive_avg_pool2d(amplitude, _GRID).numpy())
    return np.concatenate(blocks)


@lru_cache(maxsize=2)
def _filters(side: int) -> torch.Tensor:
    """Return one-sided log-Gabor windows in the frequency domain, shape (12, side, side); the
    modulus of their output is the local energy.
    """
    down, across = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    radius, angle = np.hypot(down, across), np.arctan2(down, across)
    radius[0, 0] = 1e-6
    windows = []
    for frequency in _SCALES:
        for orientation in np.arange(_ORIENTATIONS) * np.pi / _ORIENTATIONS:
            turn = (angle - orientation + np.pi) % (2 * np.pi) - np.pi
            windows.append(
                np.exp(
                    -0.5 * (np.log(radius / frequency) / _OCTAVES) ** 2 - 0.5 * (turn / _ANGLE) ** 2
                )
            )
    return torch.from_numpy(np.stack(windows).astype(np.float32))

"""What in a picture drives the simulated cortex.

None of it is a feature that an encoder of this project computes: the filters lie between those of
`features.energies` in frequency and orientation, keep the phase and the sign, and are normalised by
the contrast around them (Heeger 1992, doi:10.1017/S0952523800009640); above them stands a random
convolutional network.
"""

from functools import cache

import numpy as np
import scipy.fft
import scipy.ndimage
from PIL import Image

GRID_SIDE, _SIDE = 17, 85
# Centre frequencies in cycles per picture, half an octave from those of `features.energies` (7.7,
# 15.4 and 30.7), and orientations between its own, in radians.
_FREQUENCIES = (5.4, 10.9, 21.7)
_ORIENTATIONS = np.pi * (np.arange(4) + 0.5) / 4
_OCTAVES, _ANGLE = 0.45, 0.35  # SDs of log frequency, and of the angle in radians
_CONTRAST = 0.02  # contrast at which a filter's response has fallen to half of its linear size
# Channels: luminance and two colour opponents, filters, and outputs of the random network.
N_COLOURS, N_FILTERS, N_DEEP = 3, len(_FREQUENCIES) * len(_ORIENTATIONS), 16
N_CHANNELS = N_COLOURS + N_FILTERS + N_DEEP
# The random network: side of its input, then kernel and number of outputs of its layers.
_NETWORK_SIDE, _STRIDE = 51, 2
_LAYERS = ((5, 32), (3, 32), (3, N_DEEP))


def picture_drives(picture: np.ndarray) -> np.ndarray:
    """Compute what drives the simulated cortex, on a 17 x 17 grid over a picture.

    Parameters
    ----------
    picture : ndarray, shape (425, 425, 3), uint8
        Any side divisible by 85 will do.

    Returns
    -------
    ndarray, shape (31, 289), float32
        Luminance, red-green, blue-yellow; half-rectified and normalised filters, the coarsest
        first; outputs of the random network.
    """
    small = np.asarray(Image.fromarray(picture).reduce(picture.shape[0] // _SIDE), dtype=np.float32)
    small /= 255  # (85, 85, 3)
    red, green, blue = np.moveaxis(small, -1, 0)
    luminance = (red + green + blue) / 3
    colours = np.stack([luminance, red - green, blue - (red + green) / 2])
    step = _SIDE // GRID_SIDE
    maps = np.concatenate([colours, _rectified(luminance)])
    pooled = maps.reshape(-1, GRID_SIDE, step, GRID_SIDE, step).mean(axis=(2, 4))
    return np.concatenate([pooled.reshape(len(pooled), -1), random_network(picture)])


def _rectified(luminance: np.ndarray) -> np.ndarray:
    """Return the positive part of each filter's output over the contrast around it, shape
    (12, 85, 85).
    """
    windows, phases = _filters()
    output = scipy.fft.ifft2(scipy.fft.fft2(luminance - luminance.mean()) * windows)
    contrast = scipy.ndimage.uniform_filter(np.abs(output).mean(axis=0), _SIDE // 5)
    turned = (output * phases).real
    rectified: np.ndarray = np.maximum(turned, 0) / (_CONTRAST + contrast)
    return rectified


@cache
def _filters() -> tuple[np.ndarray, np.ndarray]:
    """Return one-sided log-Gabor windows in the frequency domain, shape (12, 85, 85), and the
    phase that each filter prefers, shape (12, 1, 1), complex.
    """
    frequency = np.fft.fftfreq(_SIDE) * _SIDE  # cycles per picture
    down, across = np.meshgrid(frequency, frequency, indexing="ij")
    radius, angle = np.hypot(down, across), np.arctan2(down, across)
    radius[0, 0] = 1e-6
    windows = [
        np.exp(
            -0.5 * (np.log(radius / centre) / _OCTAVES) ** 2
            - 0.5 * (((angle - orientation + np.pi) % (2 * np.pi) - np.pi) / _ANGLE) ** 2
        )
        for centre in _FREQUENCIES
        for orientation in _ORIENTATIONS
    ]
    phases = np.random.default_rng(85).uniform(0, 2 * np.pi, (N_FILTERS, 1, 1))
    return np.stack(windows).astype(np.float32), np.exp(1j * phases).astype(np.complex64)


def random_network(picture: np.ndarray) -> np.ndarray:
    """Return the outputs of a convolutional network with random weights, shape (16, 289),
    float32.

    Three layers; each rectifies, and divides by the mean over its channels.
    """
    side = (_NETWORK_SIDE, _NETWORK_SIDE)
    small = Image.fromarray(picture).resize(side, Image.Resampling.BOX)
    layer: np.ndarray = np.asarray(small, dtype=np.float32) / 255 - 0.5
    for number, (kernel, _) in enumerate(_LAYERS):
        windows = np.lib.stride_tricks.sliding_window_view(layer, (kernel, kernel), axis=(0, 1))
        if number == 0:
            windows = windows[::_STRIDE, ::_STRIDE]
        rows, columns = windows.shape[:2]
        flat = windows.reshape(rows * columns, -1)
        rectified = np.maximum(flat @ _network_weights()[number], 0)
        rectified /= 0.05 + rectified.mean(axis=1, keepdims=True)
        layer = rectified.reshape(rows, columns, -1)
    over = layer.shape[0] - GRID_SIDE + 1
    pooled = np.lib.stride_tricks.sliding_window_view(layer, (over, over), axis=(0, 1))
    return pooled.mean(axis=(3, 4)).reshape(GRID_SIDE**2, -1).T.astype(np.float32)


@cache
def _network_weights() -> tuple[np.ndarray, ...]:
    """Return the weights of each layer, shape (n_inputs, n_outputs), float32: Gaussian, and without
    a response to an even input.
    """
    rng = np.random.default_rng(51)
    weights, n_channels = [], 3
    for kernel, n_outputs in _LAYERS:
        n_inputs = n_channels * kernel**2
        layer = rng.standard_normal((n_inputs, n_outputs)) / np.sqrt(n_inputs)
        weights.append((layer - layer.mean(axis=0)).astype(np.float32))
        n_channels = n_outputs
    return tuple(weights)

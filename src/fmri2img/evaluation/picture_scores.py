"""Scores of pictures against pictures, one value an image: PixCorr and SSIM at 425 x 425, by the
recipes of two public code bases.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import correlate1d

NSD_SIZE = 425
PICTURE_METRICS = ("pixcorr", "ssim", "ssim_columnwise")
# Constants of Wang et al. for a data range of 1: (0.01)^2 and (0.03)^2.
_C1, _C2 = 1e-4, 9e-4
_GREY_WEIGHTS = np.array([0.2125, 0.7154, 0.0721])
_BORDER = 5
_WINDOW = np.exp(-0.5 * (np.arange(-_BORDER, _BORDER + 1) / 1.5) ** 2)
_WINDOW /= _WINDOW.sum()


def resize_tensor(images: np.ndarray, size: int, *, antialias: bool = False) -> np.ndarray:
    """Resize pictures bilinearly, as tensors are.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, 3), uint8, or float32 of 0 to 1
    size : int
        Side of the result.
    antialias : bool
        Whether shrinking averages over all pixels that fall together.

    Returns
    -------
    ndarray, shape (n, size, size, 3), float32
        0 to 1.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    tensor = tensor.float() / 255 if images.dtype == np.uint8 else tensor
    if tensor.shape[2:] != (size, size):
        tensor = torch.nn.functional.interpolate(
            tensor, (size, size), mode="bilinear", antialias=antialias
        )
    return tensor.permute(0, 2, 3, 1).contiguous().numpy()  # (n, size, size, 3)


def shrink(images: np.ndarray, size: int) -> np.ndarray:
    """Resize as `resize_tensor` does, antialiased, a few pictures at a time: a thousand at once
    would take gigabytes.
    """
    return np.concatenate(
        [
            resize_tensor(images[start : start + 32], size, antialias=True)
            for start in range(0, len(images), 32)
        ]
    )


def resize_file(
    images: np.ndarray, size: int, resample: Image.Resampling = Image.Resampling.BICUBIC
) -> np.ndarray:
    """Resize pictures as Pillow does with files, always antialiased, to 8 bits.

    Parameters
    ----------
    images : ndarray, shape (n, height, width, 3), uint8
    size : int
    resample : Resampling

    Returns
    -------
    ndarray, shape (n, size, size, 3), float32
        0 to 1.
    """
    if images.shape[1:3] == (size, size):
        return images.astype(np.float32) / 255
    return (
        np.stack(
            [np.asarray(Image.fromarray(image).resize((size, size), resample)) for image in images]
        ).astype(np.float32)
        / 255
    )


@dataclass(frozen=True)
class Preset:
    """How pictures are brought to a common size before they are compared.

    Attributes
    ----------
    name : str
    common_size : int or None
        Everything is first resized to this, which takes finer detail from the truth; None: the
        truth stays as it is.
    antialias : bool
    """

    name: str
    common_size: int | None
    antialias: bool

    def bring(self, images: np.ndarray) -> np.ndarray:
        """Bring pictures to 425 x 425 for PixCorr and SSIM.

        Parameters
        ----------
        images : ndarray, shape (n, height, width, 3), uint8

        Returns
        -------
        ndarray, shape (n, 425, 425, 3), float32
        """
        if self.common_size is None:
            return resize_file(images, NSD_SIZE)
        return resize_tensor(
            resize_tensor(images, self.common_size, antialias=self.antialias),
            NSD_SIZE,
            antialias=self.antialias,
        )


# MindEye1/2: src/Reconstruction_Metrics.py, src/final_evaluations.ipynb. Brain-Diffuser:
# scripts/evaluate_reconstruction.py.
PRESETS = {
    "mindeye": Preset("mindeye", 256, antialias=False),
    "brain_diffuser": Preset("brain_diffuser", None, antialias=True),
}


@dataclass(frozen=True)
class Moments:
    """What one picture brings to PixCorr and SSIM with any other.

    Attributes
    ----------
    unit : ndarray, shape (size * size * 3,), float32
        All pixels and channels, centred, of length 1; 0 for a constant picture.
    grey : ndarray, shape (size, size)
    mean, square : ndarray
        Local means and mean squares of grey, without the border; of windows and of columns.
    """

    unit: np.ndarray
    grey: np.ndarray
    mean: tuple[np.ndarray, np.ndarray]
    square: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, picture: np.ndarray) -> "Moments":
        """Compute from one picture, shape (size, size, 3), 0 to 1."""
        grey = picture @ _GREY_WEIGHTS
        return cls(unit_rows(picture.reshape(1, -1))[0], grey, _blurs(grey), _blurs(grey * grey))

    def scores(self, other: "Moments") -> tuple[float, float, float]:
        """Return PixCorr, SSIM and column-wise SSIM (`PICTURE_METRICS`)."""
        products = _blurs(self.grey * other.grey)
        ssim, columnwise = (
            float(
                _similarities(
                    self.mean[kind],
                    other.mean[kind],
                    self.square[kind],
                    other.square[kind],
                    products[kind],
                ).mean()
            )
            for kind in (0, 1)
        )
        return float(_dot(self.unit, other.unit)), ssim, columnwise


def _blurs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return local means over the Gaussian window, and over its middle column only, without the
    border.
    """
    columns = correlate1d(values, _WINDOW, axis=0)[_BORDER:-_BORDER]
    return correlate1d(columns, _WINDOW, axis=1)[:, _BORDER:-_BORDER], columns


def _similarities(mean_1: Any, mean_2: Any, square_1: Any, square_2: Any, product: Any) -> Any:
    """Return SSIM of each window from local means, mean squares and mean products; arrays or
    tensors.
    """
    both, sum_of_squares = mean_1 * mean_2, mean_1**2 + mean_2**2
    upper = (2 * both + _C1) * (2 * (product - both) + _C2)
    lower = (sum_of_squares + _C1) * (square_1 + square_2 - sum_of_squares + _C2)
    return upper / lower


def score_pictures(
    truth: np.ndarray, rows: Mapping[str, np.ndarray], bring: Callable[[np.ndarray], np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """Return the scores of several predictions of the same pictures; what concerns the truth alone
    is computed once.

    Parameters
    ----------
    truth : ndarray, shape (n, height, width, 3), uint8
    rows : mapping of str to ndarray, shape (n, height, width, 3) or (1, height, width, 3), uint8
        A single picture stands for a prediction that is the same for all images.
    bring : callable
        To common size: `Preset.bring`.

    Returns
    -------
    dict of str to dict of str to ndarray, shape (n,)
        Row to metric (`PICTURE_METRICS`) to scores.

        PixCorr is Pearson's correlation over all pixels and channels in one vector, 0 for a
        constant picture. SSIM is that of Wang et al. 2004, doi:10.1109/TIP.2003.819861, on grey
        pictures: Gaussian window of SD 1.5 cut at 3.5 SD (11 pixels), population covariance, data
        range 1, mean without a border of 5 pixels. The column-wise one is the mean over pixel
        columns of their one-dimensional SSIM: what scikit-image up to 0.19 gave for
        ``multichannel=True`` on a grey picture, and so some published numbers.
    """
    constant = {
        row: Moments.of(bring(pictures)[0])
        for row, pictures in rows.items()
        if len(pictures) == 1 and len(truth) > 1
    }

    def score(index: int) -> list[tuple[float, float, float]]:
        moments = Moments.of(bring(truth[index : index + 1])[0])
        return [
            moments.scores(
                constant[row]
                if row in constant
                else Moments.of(bring(pictures[index : index + 1])[0])
            )
            for row, pictures in rows.items()
        ]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        scores = np.array(list(pool.map(score, range(len(truth))))).reshape(
            len(truth), len(rows), len(PICTURE_METRICS)
        )
    return {
        row: dict(zip(PICTURE_METRICS, scores[:, number].T, strict=True))
        for number, row in enumerate(rows)
    }


def ssim_table(truth: np.ndarray, predicted: np.ndarray, *, side: int = 64) -> np.ndarray:
    """Return SSIM of all pairs, shape (n, n), rows truth; of small pictures, or a million pairs
    would take hours.

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, size, size, 3), uint8
    side : int
        Side to which the pictures are shrunk first, antialiased.
    """
    grey = [
        torch.from_numpy(shrink(images, side) @ _GREY_WEIGHTS.astype(np.float32))
        for images in (truth, predicted)
    ]
    inside = side - 2 * _BORDER
    window = torch.zeros(inside, side)
    for row in range(inside):
        window[row, row : row + len(_WINDOW)] = torch.from_numpy(_WINDOW)

    def blur(values: torch.Tensor) -> torch.Tensor:
        return window @ values @ window.T  # (n, inside, inside)

    mean, square = blur(grey[0]), blur(grey[0] ** 2)
    columns = []
    for other in grey[1]:
        parts = (mean, blur(other), square, blur(other**2), blur(grey[0] * other))
        columns.append(_similarities(*parts).mean(dim=(1, 2)))
    return torch.stack(columns, dim=1).numpy()


def pixel_correlations(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return PixCorr of each pair as it is, shape (n,): 0 where a picture is constant and the
    correlation undefined.

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, size, size, 3)
    """
    return row_correlations(truth.reshape(len(truth), -1), predicted.reshape(len(predicted), -1))


def row_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of each pair of rows, 0 where a row is constant, shape (n,)."""
    first, second = unit_rows(first), unit_rows(second)
    return np.array([_dot(*rows) for rows in zip(first, second, strict=True)])


def _dot(first: np.ndarray, second: np.ndarray) -> np.float64:
    """Return the inner product, summed in float64: in float32, half a million pixels cost the
    sixth digit.
    """
    return np.einsum("i,i->", first, second, dtype=np.float64)


def unit_rows(values: np.ndarray) -> np.ndarray:
    """Centre each row and scale it to unit length; a constant row becomes 0. Shape (n, d);
    float64 stays, others become float32.
    """
    precision = np.float64 if values.dtype == np.float64 else np.float32
    centred: np.ndarray = values.astype(precision)
    centred -= values.mean(axis=1, keepdims=True, dtype=np.float64).astype(precision)
    # Row by row: features may take a gigabyte.
    length = np.array([[np.sqrt(_dot(row, row))] for row in centred], dtype=precision)
    # What rounding leaves of a constant row is no signal.
    size: np.ndarray = np.array([[np.sqrt(_dot(row, row))] for row in values], dtype=precision)
    constant: np.ndarray = length <= np.multiply(size, 1e-6)
    centred /= np.where(constant, 1, length)
    centred[constant[:, 0]] = 0
    return centred


def constant_pictures(images: np.ndarray) -> int:
    """Return how many pictures have one value in all pixels and channels: their PixCorr is
    undefined and counted as 0.
    """
    flat = images.reshape(len(images), -1)
    return int((flat == flat[:, :1]).all(axis=1).sum())

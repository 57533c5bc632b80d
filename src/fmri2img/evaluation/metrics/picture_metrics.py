"""Scores of pictures against pictures, one per image: PixCorr and SSIM at the size in which
the dataset stores them, by the recipes of two public code bases.
"""

import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from fmri2img.evaluation.correlation import inner_product, row_correlations
from fmri2img.evaluation.identification import similarity_matrix
from fmri2img.evaluation.metrics.declaration import Family, FamilyScores, Metric
from fmri2img.evaluation.predictions import Predictions, ShownPictures, picture_key
from fmri2img.evaluation.presets import HEADLINE, PRESETS, Preset, shrink
from fmri2img.evaluation.read_outs import Networks
from fmri2img.evaluation.table_rows import SHUFFLED

PIXCORR = Metric(
    name="pixcorr",
    title="PixCorr",
    unit="correlation over pixels",
    chance=0.0,
    level="headline",
    published=True,
)
SSIM = Metric(
    name="ssim",
    title="SSIM",
    unit="index, 1: the same",
    chance=SHUFFLED,
    level="headline",
    published=True,
)
_COLUMNWISE = SSIM.variant("ssim_columnwise", "SSIM, column-wise")
_COMPUTED = (PIXCORR, SSIM, _COLUMNWISE)
# For pictures at the size of the reconstructions, used in curves over repetitions.
PIXCORR_SMALL = PIXCORR.variant("pixcorr_small", "PixCorr, small pictures")
# Constants of Wang et al. for a data range of 1: (0.01)^2 and (0.03)^2.
_C1, _C2 = 1e-4, 9e-4
_GREY_WEIGHTS = np.array([0.2125, 0.7154, 0.0721])
_BORDER = 5
PAIRED_SIDE = 128  # of the pictures whose PixCorr is computed for all pairs
_WINDOW = np.exp(-0.5 * (np.arange(-_BORDER, _BORDER + 1) / 1.5) ** 2)
_WINDOW /= _WINDOW.sum()
# Sixteen windows, each a pixel further.
_BAND = np.stack([np.pad(_WINDOW, (row, 15 - row)) for row in range(16)])


@dataclass(frozen=True)
class Moments:
    """Terms of PixCorr and SSIM that depend on one picture alone.

    Attributes
    ----------
    pixels : ndarray, shape (size * size * 3,), float32
    mean, sd : float
        Over all pixels and channels; an SD of 0 marks a constant picture.
    grey : ndarray, shape (size, size)
    windows : tuple of ndarray
        `_terms` of grey, without the border: over windows and over columns.
    """

    pixels: np.ndarray
    mean: float
    sd: float
    grey: np.ndarray
    windows: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]

    @classmethod
    def of(cls, picture: np.ndarray) -> "Moments":
        """Compute from one picture, shape (size, size, 3), 0 to 1."""
        pixels = picture.reshape(-1)
        mean = float(pixels.mean(dtype=np.float64))
        power = float(inner_product(pixels, pixels)) / len(pixels)
        variance = power - mean**2
        # Rounding leaves a little variance even in a constant picture.
        sd = math.sqrt(variance) if variance > 1e-12 * power else 0.0
        grey = picture[..., 0] * _GREY_WEIGHTS[0]  # plane by plane: a product of matrices is slower
        grey += picture[..., 1] * _GREY_WEIGHTS[1]
        grey += picture[..., 2] * _GREY_WEIGHTS[2]
        windows = tuple(map(_terms, _blurs(grey), _blurs(grey * grey)))
        return cls(pixels, mean, sd, grey, windows)

    def scores(self, other: "Moments") -> tuple[float, float, float]:
        """Return PixCorr, SSIM and column-wise SSIM."""
        pixcorr = 0.0
        if self.sd and other.sd:
            product = float(inner_product(self.pixels, other.pixels)) / len(self.pixels)
            pixcorr = (product - self.mean * other.mean) / (self.sd * other.sd)
        products = _blurs(self.grey * other.grey)
        ssim, columnwise = (
            float(_similarities(*terms).mean())
            for terms in zip(self.windows, other.windows, products, strict=True)
        )
        return pixcorr, ssim, columnwise


def _blurs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return local means over the Gaussian window, and over its middle column only, without the
    border.

    A few rows at a time are multiplied by a band of windows: three times as fast as a filter.
    """
    height, width = (side - 2 * _BORDER for side in values.shape)
    columns = np.empty((height, values.shape[1]))
    for start in range(0, height, len(_BAND)):
        stop = min(start + len(_BAND), height)
        band = _BAND[: stop - start, : stop - start + 2 * _BORDER]
        np.matmul(band, values[start : stop + 2 * _BORDER], out=columns[start:stop])
    means = np.empty((height, width))
    for start in range(0, width, len(_BAND)):
        stop = min(start + len(_BAND), width)
        band = _BAND[: stop - start, : stop - start + 2 * _BORDER]
        np.matmul(columns[:, start : stop + 2 * _BORDER], band.T, out=means[:, start:stop])
    return means, columns


def _terms(mean: Any, power: Any) -> tuple[Any, Any, Any]:
    """Return local means, their squares and local variances; arrays or tensors."""
    squared = mean * mean
    return mean, squared, power - squared


def _similarities(first: tuple, second: tuple, product: Any) -> Any:
    """Return SSIM of each window from the `_terms` of two pictures and the local means of their
    product, which is overwritten: new arrays would take as long as the sums.
    """
    upper, covariance = first[0] * second[0], product
    covariance -= upper
    upper *= 2
    upper += _C1
    covariance *= 2
    covariance += _C2
    upper *= covariance
    lower, variances = first[1] + second[1], first[2] + second[2]
    lower += _C1
    variances += _C2
    lower *= variances
    upper /= lower
    return upper


def score_pictures(
    truth: np.ndarray,
    rows: Mapping[str, np.ndarray],
    bring: Callable[[np.ndarray, int], np.ndarray],
) -> dict[str, dict[str, np.ndarray]]:
    """Return the scores of several predictions of the same pictures; terms of the truth alone are
    computed once.

    Parameters
    ----------
    truth : ndarray, shape (n, height, width, 3), uint8
    rows : mapping of str to ndarray, shape (n, height, width, 3) or (1, height, width, 3), uint8
        A single picture stands for a prediction that is the same for all images.
    bring : callable
        Resizes pictures to the side of the truth: `Preset.bring`.

    Returns
    -------
    dict of str to dict of str to ndarray, shape (n,)
        Row to metric to scores.

        PixCorr is Pearson's correlation over all pixels and channels in one vector, 0 for a
        constant picture. SSIM follows Wang et al. 2004, doi:10.1109/TIP.2003.819861, on grey
        pictures: Gaussian window of SD 1.5 cut at 3.5 SD (11 pixels), population covariance, data
        range 1, mean without a border of 5 pixels. Column-wise SSIM is the mean over pixel columns
        of their one-dimensional SSIM. scikit-image up to 0.19 computed it for
        ``multichannel=True`` on a grey picture, and some published numbers are of this kind.
    """
    side = truth.shape[1]
    constant = {
        row: Moments.of(bring(pictures, side)[0])
        for row, pictures in rows.items()
        if len(pictures) == 1 and len(truth) > 1
    }

    def score(index: int) -> list[tuple[float, float, float]]:
        moments = Moments.of(bring(truth[index : index + 1], side)[0])
        known: dict[bytes, tuple[float, float, float]] = {}
        scores = []
        for row, pictures in rows.items():
            if row in constant:
                scores.append(moments.scores(constant[row]))
                continue
            key = picture_key(pictures[index])
            if key not in known:
                picture = bring(pictures[index : index + 1], side)[0]
                known[key] = moments.scores(Moments.of(picture))
            scores.append(known[key])
        return scores

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        scores = np.array(list(pool.map(score, range(len(truth))))).reshape(
            len(truth), len(rows), len(_COMPUTED)
        )
    return {
        row: dict(zip([metric.name for metric in _COMPUTED], scores[:, number].T, strict=True))
        for number, row in enumerate(rows)
    }


def ssim_table(truth: np.ndarray, predicted: np.ndarray, *, side: int = 64) -> np.ndarray:
    """Return SSIM of all pairs, shape (n, n), rows truth, on small pictures: a million larger
    pairs would take hours.

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, size, size, 3), uint8
    side : int
        Side to which the pictures are shrunk first, antialiased.
    """
    import torch  # late: it takes seconds, and tables that name metrics need none

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

    terms = _terms(blur(grey[0]), blur(grey[0] ** 2))
    columns = []
    for other in grey[1]:
        of_other = _terms(blur(other), blur(other**2))
        columns.append(_similarities(terms, of_other, blur(grey[0] * other)).mean(dim=(1, 2)))
    return torch.stack(columns, dim=1).numpy()


def constant_pictures(images: np.ndarray) -> int:
    """Return how many pictures, shape (n, height, width, 3), have one value in all pixels and
    channels: their PixCorr is undefined and counted as 0.
    """
    flat = images.reshape(len(images), -1)
    return int((flat == flat[:, :1]).all(axis=1).sum())


def pixel_correlation_of_small(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return PixCorr of pictures at the size of the reconstructions, shape (n,).

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, side, side, 3), uint8
    """
    return row_correlations(truth.reshape(len(truth), -1), predicted.reshape(len(truth), -1))


def pairings(truth: ShownPictures, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Return, by metric, the score of every pairing of image (rows) and prediction (columns).

    PixCorr uses pictures of 128 x 128, SSIM pictures of 64 x 64: all pairs of larger ones would
    take hours.

    Parameters
    ----------
    truth : ShownPictures
    predicted : ndarray, shape (n, side, side, 3), uint8
    """
    sides = [truth.small, predicted]
    if any(images.shape[1] != PAIRED_SIDE for images in sides):
        sides = [shrink(images, PAIRED_SIDE) for images in sides]
    return {
        PIXCORR.name: similarity_matrix(*(images.reshape(len(images), -1) for images in sides)),
        SSIM.name: ssim_table(truth.small, predicted),
    }


def score_by_preset(
    truth: ShownPictures, predictions: Predictions, networks: Networks, preset: Preset
) -> FamilyScores:
    """Score predictions by one preset, and every pairing by the headline preset only."""
    del networks
    scores = score_pictures(truth.pictures, predictions.pictures, preset.bring)
    named = {
        row: {f"{preset.prefix}{metric}": values for metric, values in metrics.items()}
        for row, metrics in scores.items()
    }
    tables = {
        row: pairings(truth, predictions.pictures[row])
        for row in predictions.tested
        if preset.name == HEADLINE
    }
    return FamilyScores(named, {}, tables)


FAMILY = Family(
    metrics=(
        *_COMPUTED,
        PIXCORR_SMALL,
        *(
            metric.variant(f"{preset.prefix}{metric.name}", f"{metric.title}, {preset.title}")
            for preset in PRESETS.values()
            for metric in _COMPUTED
            if preset.name != HEADLINE
        ),
    ),
    score=score_by_preset,
    depends_on_preset=True,
    place=0,
)

"""Pictures that look alike: one of them in the test set and one in training would be a leak."""

from collections.abc import Iterable

import numpy as np
from PIL import Image

_CELLS, _SMALL = 8, 32
# Pictures that look alike differ in few bits of the hash and little in colour, and correlate when
# they are small.
_BITS, _COLOUR, _CORRELATION = 4, 12.0, 0.95
_PAIRS_AT_ONCE = 256


def picture_sketch(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a perceptual hash of a picture, its colours, and the picture made small.

    Parameters
    ----------
    picture : ndarray, shape (height, width, 3), uint8

    Returns
    -------
    bits : ndarray, shape (), uint64
        Whether brightness falls from each cell of an 8 x 9 grid to the next on its right (the
        "difference hash").
    colours : ndarray, shape (12,), float32
        Means of red, green and blue in the four quarters.
    small : ndarray, shape (3072,), float32
        32 x 32 pixels, without their mean and of norm 1.
    """
    image = Image.fromarray(picture)
    grey = image.convert("L").resize((_CELLS + 1, _CELLS), Image.Resampling.BOX)
    falls = np.diff(np.asarray(grey, dtype=np.int16), axis=1) < 0
    quarters = np.asarray(image.resize((2, 2), Image.Resampling.BOX), dtype=np.float32)
    small = np.asarray(image.resize((_SMALL, _SMALL), Image.Resampling.BOX), dtype=np.float32)
    small = small.reshape(-1) - small.mean()
    norm = float(np.linalg.norm(small))
    hashed = np.packbits(falls).view(np.uint64)[0]
    return hashed, quarters.reshape(-1), small / norm if norm else small


def alike_groups(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Return a number for each picture that those which look alike have in common: the place of
    the first of them.

    Parameters
    ----------
    pictures : iterable of ndarray, shape (height, width, 3), uint8

    Returns
    -------
    ndarray, shape (n_pictures,), int64
    """
    sketches = [picture_sketch(picture) for picture in pictures]
    if not sketches:
        return np.zeros(0, np.int64)
    bits, colours, small = (np.stack(parts) for parts in zip(*sketches, strict=True))
    groups = np.arange(len(bits))
    for start in range(0, len(bits), _PAIRS_AT_ONCE):
        rows = slice(start, start + _PAIRS_AT_ONCE)
        differing = np.bitwise_count(bits[rows, None] ^ bits[None])
        for near, other in zip(*np.nonzero(differing <= _BITS), strict=True):
            one = start + near
            if (
                one < other
                and np.abs(colours[one] - colours[other]).max() <= _COLOUR
                and (small[one] @ small[other] >= _CORRELATION or not small[[one, other]].any())
            ):
                first, second = sorted((groups[one], groups[other]))
                groups[groups == second] = first
    return groups

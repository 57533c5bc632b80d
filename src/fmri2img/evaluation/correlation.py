"""Pearson's correlation of rows, summed in float64."""

import numpy as np


def pixel_correlations(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return PixCorr of each pair without resizing, shape (n,); 0 where a picture is constant and
    the correlation undefined.

    Parameters
    ----------
    truth, predicted : ndarray, shape (n, size, size, 3)
    """
    return row_correlations(truth.reshape(len(truth), -1), predicted.reshape(len(predicted), -1))


def row_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of each pair of rows, 0 where a row is constant, shape (n,)."""
    first, second = unit_rows(first), unit_rows(second)
    return np.array([inner_product(*rows) for rows in zip(first, second, strict=True)])


def inner_product(first: np.ndarray, second: np.ndarray) -> np.float64:
    """Return the inner product of two vectors, shape (n,), summed in float64: float32 loses the
    sixth digit over half a million pixels.
    """
    return np.einsum("i,i->", first, second, dtype=np.float64)


def unit_rows(values: np.ndarray) -> np.ndarray:
    """Centre each row and scale it to unit length; a constant row becomes 0. Shape (n, d);
    float64 input stays float64, other types become float32.
    """
    precision = np.float64 if values.dtype == np.float64 else np.float32
    centred: np.ndarray = values.astype(precision)
    centred -= values.mean(axis=1, keepdims=True, dtype=np.float64).astype(precision)
    # Row by row: features may take a gigabyte.
    length = np.array([[np.sqrt(inner_product(row, row))] for row in centred], dtype=precision)
    # Centring a constant row leaves only rounding error, which is not signal.
    size: np.ndarray = np.array(
        [[np.sqrt(inner_product(row, row))] for row in values], dtype=precision
    )
    constant: np.ndarray = length <= np.multiply(size, 1e-6)
    centred /= np.where(constant, 1, length)
    centred[constant[:, 0]] = 0
    return centred

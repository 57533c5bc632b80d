"""Which image was it? Two-way identification and retrieval from similarities of all pairs of
images.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from scipy.special import gammaln

from fmri2img.evaluation.correlation import unit_rows

Fixed = Literal["prediction", "ground_truth"]
POOL = 300
_ROWS_AT_ONCE = 64


def similarity_matrix(
    truth: np.ndarray, predicted: np.ndarray | Iterable[np.ndarray]
) -> np.ndarray:
    """Return Pearson's correlation of all pairs of feature vectors.

    Parameters
    ----------
    truth : ndarray, shape (n, d)
    predicted : ndarray, shape (n, d), or iterable of ndarray, shape (some, d)
        Blocks keep only one side in memory as a whole: 1000 images x 184 512 features take
        0.74 GB.

    Returns
    -------
    ndarray, shape (n, n)
        Rows are truth, columns predictions; 0 where features are constant.
    """
    blocks = (
        predicted
        if not isinstance(predicted, np.ndarray)
        else np.array_split(predicted, -(-len(predicted) // _ROWS_AT_ONCE))
    )
    return similarity_of_units(unit_rows(truth), (unit_rows(block) for block in blocks))


def similarity_of_units(truth: np.ndarray, predicted: Iterable[np.ndarray]) -> np.ndarray:
    """Return `similarity_matrix` from features already centred and of length 1: truth (n, d),
    predictions in blocks (some, d).
    """
    return np.concatenate([truth @ block.T for block in predicted], axis=1)


def cosine_matrix(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the cosine of all pairs of vectors, as in published retrieval, shape (n, n), rows
    truth; 0 for a vector of zeros.
    """
    lengths = [np.linalg.norm(values, axis=1, keepdims=True) for values in (truth, predicted)]
    units = [
        values / np.where(length > 0, length, 1)
        for values, length in zip((truth, predicted), lengths, strict=True)
    ]
    return units[0] @ units[1].T


def two_way_identification(similarity: np.ndarray, fixed: Fixed = "prediction") -> np.ndarray:
    """Return the share of other images that are less similar than the right one; chance is 0.5.

    ``prediction`` compares each prediction with all ground truths, ``acc_j = 1 / (n - 1) * sum over
    i != j of [r_ij < r_jj]``, as the code of Brain-Diffuser, MindEye1 and MindEye2 does;
    ``ground_truth`` compares each ground truth with all predictions, as Takagi & Nishimoto's does.
    The two differ where predictions share an offset. The inequality is strict: a tie counts as
    wrong.

    Parameters
    ----------
    similarity : ndarray, shape (n, n)
        Rows are truth, columns predictions. For several samples per image, Takagi &
        Nishimoto compare the mean of their matrices.
    fixed : str
        ``prediction`` or ``ground_truth``: what is compared with all of the other kind.

    Returns
    -------
    ndarray, shape (n,)
        0 to 1.

    Raises
    ------
    ValueError
        If there are fewer than two images.
    """
    n_images = len(similarity)
    if n_images < 2:
        raise ValueError(f"identification needs at least 2 images, got {n_images}")
    columns = similarity if fixed == "prediction" else similarity.T
    return (columns < np.diag(columns)[None]).sum(axis=0) / (n_images - 1)


def two_way_table(similarity: np.ndarray) -> np.ndarray:
    """Return each prediction's two-way score (fixed prediction) if each image were the right one,
    shape (n, n).
    """
    order = np.sort(similarity, axis=0)
    below = [
        np.searchsorted(order[:, column], similarity[:, column], side="left")
        for column in range(len(similarity))
    ]
    return np.stack(below, axis=1) / (len(similarity) - 1)


def n_higher(similarity: np.ndarray) -> dict[str, np.ndarray]:
    """Return how many distractors score at least as high as the target, by direction, each of shape
    (n,).

    ``image_to_brain`` looks for the prediction that belongs to an image, ``brain_to_image`` for the
    image that belongs to a prediction. MindEye's code names the first "fwd" and prints it as image
    retrieval; published "Image" and "Brain" columns are ``image_to_brain`` and ``brain_to_image``
    in this sense.
    """
    right = np.diag(similarity)
    return {
        "image_to_brain": (similarity >= right[:, None]).sum(axis=1) - 1,
        "brain_to_image": (similarity >= right[None]).sum(axis=0) - 1,
    }


def exact_top1(n_above: np.ndarray, pool: int = POOL) -> np.ndarray:
    """Return each query's probability of ranking its target first among ``pool`` images drawn at
    random, the target included.

    ``C(n - 1 - k, pool - 1) / C(n - 1, pool - 1)``, with ``k`` of ``n - 1`` distractors scoring at
    least as high: the expectation that published code estimates with 30 draws.

    Parameters
    ----------
    n_above : ndarray, shape (n,)
        Number of distractors that score at least as high, from `n_higher`.
    pool : int
        Pool size, at most n.

    Returns
    -------
    ndarray, shape (n,)
    """
    others, drawn = len(n_above) - 1, pool - 1
    if pool > len(n_above):
        raise ValueError(f"a pool of {pool} needs as many images, got {len(n_above)}")
    left = others - n_above
    possible = left >= drawn
    log_share = _log_choose(np.where(possible, left, drawn), drawn) - _log_choose(
        np.array(others), drawn
    )
    return np.where(possible, np.exp(log_share), 0.0)


def _log_choose(n: np.ndarray, k: int) -> np.ndarray:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def drawn_top1(
    similarity: np.ndarray,
    direction: str,
    rng: np.random.Generator,
    *,
    pool: int = POOL,
    n_draws: int = 30,
) -> np.ndarray:
    """Return top-1 in each of ``n_draws`` random pools, as published code does, shape
    (n_draws,).
    """
    rows = similarity if direction == "image_to_brain" else similarity.T
    shares = []
    for _ in range(n_draws):
        chosen = rng.choice(len(rows), size=pool, replace=False)
        shares.append((n_higher(rows[np.ix_(chosen, chosen)])["image_to_brain"] == 0).mean())
    return np.array(shares)


def retrieval_scores(similarity: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Return retrieval in both directions: exact and drawn top-1 in pools of 300 (or all, if
    fewer), top-1 and top-5 of all, median rank.

    Parameters
    ----------
    similarity : ndarray, shape (n, n)
        Rows are truth, columns predictions.
    rng : Generator

    Returns
    -------
    dict of str to float
        Shares from 0 to 1; ranks start at 1.
    """
    pool = min(POOL, len(similarity))
    scores: dict[str, float] = {}
    for direction, above in n_higher(similarity).items():
        scores |= {
            f"{direction}_top1_of_{pool}": float(exact_top1(above, pool).mean()),
            f"{direction}_top1_of_{pool}_drawn": float(
                drawn_top1(similarity, direction, rng, pool=pool).mean()
            ),
            f"{direction}_top1": float((above == 0).mean()),
            f"{direction}_top5": float((above < 5).mean()),
            f"{direction}_median_rank": float(np.median(above) + 1),
        }
    return scores

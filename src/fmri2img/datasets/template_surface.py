"""The template surface fsaverage5, which nilearn ships."""

import numpy as np


def vertex_directions(side: str) -> np.ndarray:
    """Return the directions of a hemisphere's vertices from the brain's centre, in units of its
    semi-axes, shape (10 242, 3).

    Parameters
    ----------
    side : str
        ``left`` or ``right``.
    """
    from nilearn.datasets import load_fsaverage  # takes a second, and few stages need it

    mesh = load_fsaverage("fsaverage5")["pial"].parts
    everything = np.concatenate([mesh["left"].coordinates, mesh["right"].coordinates])
    lowest, highest = everything.min(axis=0), everything.max(axis=0)
    centre, semi_axes = (lowest + highest) / 2, (highest - lowest) / 2
    scaled = (mesh[side].coordinates - centre) / semi_axes
    # The medial wall reaches across the midline in places.
    scaled[:, 0] = (
        np.minimum(scaled[:, 0], -1e-3) if side == "left" else np.maximum(scaled[:, 0], 1e-3)
    )
    directions: np.ndarray = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    return directions

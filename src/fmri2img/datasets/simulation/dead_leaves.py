"""Dead leaves: occluding shapes of all sizes, the simplest pictures with the statistics of
photographs.

Sizes follow a power law (Lee, Mumford & Huang 2001, doi:10.1023/A:1011109015675), so that a picture
looks the same at every magnification. Together with the scenes, these pictures train the demo
autoencoder, so that no photograph is needed.
"""

import numpy as np

from fmri2img.datasets.simulation.painting import paint_parts
from fmri2img.datasets.simulation.parts import Part


def render_leaves(seed: int, index: int, size: int = 256) -> np.ndarray:
    """Paint one dead-leaves picture.

    Parameters
    ----------
    seed, index : int
        Together they seed the picture.
    size : int
        Side in pixels.

    Returns
    -------
    ndarray, shape (size, size, 3), uint8
        Red, green, blue.
    """
    rng = np.random.default_rng([seed, index])
    palette = _palette(rng)
    smallest = 10 ** rng.uniform(-2.2, -1.2)
    texture, softness = rng.uniform(0, 0.35), rng.choice((0, 0, 0.004, 0.015))
    n_parts = int(rng.integers(40, 350))
    # Inverse-transform sampling of a density falling with the third power of the radius.
    radii = smallest / np.sqrt(1 - rng.random(n_parts) * (1 - (smallest / 0.5) ** 2))
    # Larger ones first: painted last they would hide all others.
    parts = [_leaf(rng, radius, palette, texture, softness) for radius in np.sort(radii)[::-1]]
    low, high = palette[0], palette[1]
    return paint_parts(parts, rng, top=low, bottom=high, size=size)


def _palette(rng: np.random.Generator) -> np.ndarray:
    """Draw colours of one picture, shape (12, 3): a common tint, mostly grey-brown, a few vivid."""
    luminance = rng.beta(1.3, 1.5, (12, 1))
    tint = rng.normal(0, 0.06, (1, 3))
    chroma = rng.normal(0, 1, (12, 3)) * rng.choice((0.03, 0.08, 0.2), (12, 1), p=(0.4, 0.4, 0.2))
    return np.clip(luminance + tint + chroma, 0.02, 0.98)


def _leaf(
    rng: np.random.Generator, radius: float, palette: np.ndarray, texture: float, softness: float
) -> Part:
    red, green, blue = np.clip(
        palette[rng.integers(len(palette))] + rng.normal(0, 0.04, 3), 0.01, 0.99
    )
    return Part(
        kind="ellipse" if rng.random() < 0.6 else "box",
        centre=(float(rng.uniform(-0.1, 1.1)), float(rng.uniform(-0.1, 1.1))),
        half_size=(float(radius), float(radius * rng.uniform(0.15, 1))),
        colour=(float(red), float(green), float(blue)),
        angle=float(rng.uniform(0, np.pi)),
        texture=float(texture * rng.uniform(0, 1)),
        ruffle=float(rng.choice((0, 0, 0.2, 0.5))),
        shade=float(rng.uniform(0, 0.8)),
        softness=float(softness * rng.uniform(0, 2)),
    )

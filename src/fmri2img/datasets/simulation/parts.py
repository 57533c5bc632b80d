"""Parts of painted objects: shapes with a colour and a texture."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """One painted shape.

    Attributes
    ----------
    kind : str
        ``"ellipse"``, ``"box"`` (rounded) or ``"polygon"`` (convex, clockwise on the screen).
    centre, half_size : tuple of float
        Centre and half the size, in fractions of the picture; for a polygon, of its bounding box.
    colour : tuple of float
        Red, green, blue in 0..1.
    angle : float
        Rotation in radians (ellipse and box).
    texture, ruffle : float
        Contrast of the 1/f texture, and how far it displaces the outline (fraction of size).
    shade : float
        Strength of the light gradient across the part.
    opacity : float
        0..1; below 1 for shadows.
    softness : float
        Width of the blurred outline, in fractions of the picture, in addition to one pixel.
    vertices : tuple of (x, y)
        Corners of a polygon, in fractions of the picture.
    """

    kind: str
    centre: tuple[float, float]
    half_size: tuple[float, float]
    colour: tuple[float, float, float]
    angle: float = 0.0
    texture: float = 0.10
    ruffle: float = 0.0
    shade: float = 0.25
    opacity: float = 1.0
    softness: float = 0.0
    vertices: tuple[tuple[float, float], ...] = ()


def jitter(rng: np.random.Generator, colour: tuple[float, ...], spread: float = 0.06) -> Colour:
    """Vary a colour: a shared change of brightness and a smaller one of each channel."""
    values = np.asarray(colour) * np.exp(rng.normal(0, 2 * spread)) + rng.normal(0, spread, 3)
    red, green, blue = np.clip(values, 0.02, 0.98)
    return float(red), float(green), float(blue)


def pick(
    rng: np.random.Generator, palette: tuple, spread: float = 0.05
) -> tuple[float, float, float]:
    """Draw a colour from a palette, and vary it."""
    return jitter(rng, palette[rng.integers(len(palette))], spread)


def polygon(vertices: list, colour: tuple, **settings: float) -> Part:
    """Build a convex polygon from its corners, clockwise on the screen."""
    points = np.asarray(vertices)
    low, high = points.min(0), points.max(0)
    corners = tuple((float(x), float(y)) for x, y in points)
    return Part(
        "polygon",
        tuple((low + high) / 2),
        tuple((high - low) / 2),
        colour,
        vertices=corners,
        **settings,
    )


def shadow(x: float, foot: float, width: float) -> Part:
    """Return the shadow below something that stands at ``x``, ``foot``."""
    half = (width, 0.18 * width)
    return Part(
        "ellipse", (x, foot), half, (0.05, 0.05, 0.07), opacity=0.4, texture=0, softness=0.02
    )

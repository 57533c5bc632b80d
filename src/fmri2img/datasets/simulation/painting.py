"""Painting parts and backgrounds: 1/f textures, occlusion, light, exposure.

Pictures are painted as three planes, shape (3, side, side), float32: operations on pixels of three
numbers each take several times as long. A scalar of NumPy's float64 would turn a whole plane into
float64.
"""

import math
from functools import lru_cache

import numpy as np

from fmri2img.datasets.simulation.parts import Colour, Part

TEXTURE_SIZE = 512
N_TEXTURES = 12


def paint_parts(
    parts: list[Part], rng: np.random.Generator, *, top: np.ndarray, bottom: np.ndarray, size: int
) -> np.ndarray:
    """Paint parts over a vertical gradient from ``top`` to ``bottom`` (red, green, blue in 0..1).

    Returns
    -------
    ndarray, shape (size, size, 3), uint8
    """
    fall = np.linspace(0, 1, size, dtype=np.float32)
    picture = gradient(top, bottom, np.broadcast_to(fall[:, None], (size, size)))
    light = draw_light(rng)
    for part in parts:
        paint_part(picture, part, rng, light)
    return expose(picture, rng)


def gradient(
    first: Colour | np.ndarray, last: Colour | np.ndarray, share: np.ndarray
) -> np.ndarray:
    """Blend two colours, shape (3, side, side), float32; ``share``, shape (side, side), is that of
    the last.
    """
    start, end = (planes(colour) for colour in (first, last))
    blended: np.ndarray = share.astype(np.float32) * (end - start)
    blended += start
    return blended


def planes(colour: Colour | np.ndarray) -> np.ndarray:
    """Return a colour in a form that combines with planes, shape (3, 1, 1), float32."""
    return np.asarray(colour, dtype=np.float32)[:, None, None]


def draw_light(rng: np.random.Generator) -> tuple[float, float]:
    """Draw how the light grows to the right and downwards."""
    right, down = rng.uniform(-1, 1, 2).tolist()
    return right, down


@lru_cache(maxsize=1)
def texture_bank() -> np.ndarray:
    """Return periodic 1/f fields of unit SD, two periods along each side, shape (n_textures, 1024,
    1024), float32.
    """
    rng = np.random.default_rng(73_000)
    fy, fx = np.meshgrid(np.fft.fftfreq(TEXTURE_SIZE), np.fft.rfftfreq(TEXTURE_SIZE), indexing="ij")
    radius = np.hypot(fy, fx)
    radius[0, 0] = np.inf
    fields = []
    for index in range(N_TEXTURES):
        white = np.fft.rfft2(rng.standard_normal((TEXTURE_SIZE, TEXTURE_SIZE)))
        exponent = (0.9, 1.1, 1.3)[index % 3]
        texture = np.fft.irfft2(white / radius**exponent, s=(TEXTURE_SIZE, TEXTURE_SIZE))
        fields.append(texture / texture.std())
    return np.tile(np.stack(fields).astype(np.float32), (1, 2, 2))


def draw_texture(
    rng: np.random.Generator, height: int, width: int, *, stretch: float = 1.0
) -> np.ndarray:
    """Cut a random window, shape (height, width), from a random 1/f field."""
    bank = texture_bank()[rng.integers(N_TEXTURES)]
    y0, x0 = rng.integers(TEXTURE_SIZE, size=2)
    flip = 1 if rng.random() < 0.5 else -1
    if stretch == 1 and max(height, width) <= TEXTURE_SIZE:
        end = x0 + (TEXTURE_SIZE if flip < 0 else 0)
        return bank[y0 : y0 + height, end : end + flip * width : flip].copy()
    rows = (y0 + np.arange(height)) % TEXTURE_SIZE
    columns = (x0 + flip * (np.arange(width) / stretch).astype(int)) % TEXTURE_SIZE
    window: np.ndarray = bank.take(rows, axis=0).take(columns, axis=1)
    return window


def paint_part(
    picture: np.ndarray, part: Part, rng: np.random.Generator, light: tuple[float, float]
) -> None:
    """Blend one part into the picture, shape (3, side, side), float32, in place, touching only the
    box that holds it.
    """
    size = picture.shape[1]
    largest = float(max(part.half_size))
    reach = np.hypot(*part.half_size) if part.angle else np.asarray(part.half_size)
    margin = largest * part.ruffle + part.softness + 1.5 / size
    low = np.floor((np.asarray(part.centre) - reach - margin) * size).astype(int).clip(0, size)
    high = np.ceil((np.asarray(part.centre) + reach + margin) * size).astype(int).clip(0, size)
    (x0, y0), (x1, y1) = low, high
    if x1 <= x0 or y1 <= y0:
        return
    x = ((np.arange(x0, x1, dtype=np.float32) + 0.5) / size - np.float32(part.centre[0]))[None, :]
    y = ((np.arange(y0, y1, dtype=np.float32) + 0.5) / size - np.float32(part.centre[1]))[:, None]
    coverage = _signed_distance(part, x, y)  # so far the distance; what follows is in place
    right, down = (
        float(step / max(half, 1e-3)) for step, half in zip(light, part.half_size, strict=True)
    )
    tone = x * right + y * down
    tone *= float(0.5 * part.shade)
    if part.texture or part.ruffle:
        texture = draw_texture(rng, y1 - y0, x1 - x0)
        if part.ruffle:
            coverage += float(part.ruffle * largest * 0.5) * texture
        texture *= float(part.texture)
        texture += 1
        tone += texture
    else:
        tone += 1
    coverage /= float(part.softness + 1 / size)
    np.subtract(0.5, coverage, out=coverage)
    clip_to_unit(coverage)
    coverage *= float(part.opacity)
    window = picture[:, y0:y1, x0:x1]
    change = planes(part.colour) * tone
    change -= window
    change *= coverage
    window += change


def clip_to_unit(values: np.ndarray) -> None:
    """Clip to 0..1, in place."""
    np.maximum(values, 0, out=values)
    np.minimum(values, 1, out=values)


def _signed_distance(part: Part, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the distance to the outline in fractions of the picture, negative inside, float32."""
    if part.kind == "polygon":
        corners = (np.asarray(part.vertices) - part.centre).astype(np.float32)
        edges = np.roll(corners, -1, axis=0) - corners
        normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / np.linalg.norm(
            edges, axis=1, keepdims=True
        )
        furthest, *sides = (
            nx * (x - cx) + ny * (y - cy)
            for (nx, ny), (cx, cy) in zip(normals, corners, strict=True)
        )
        for side in sides:
            np.maximum(furthest, side, out=furthest)
        return furthest
    cos, sin = math.cos(part.angle), math.sin(part.angle)
    along, across = cos * x + sin * y, cos * y - sin * x
    half_width, half_height = map(float, part.half_size)
    if part.kind == "ellipse":
        along /= half_width
        across /= half_height
        radius: np.ndarray = np.hypot(along, across, out=along)
        radius -= 1
        radius *= min(half_width, half_height)
        return radius
    corner = 0.3 * min(half_width, half_height)
    for beyond, half in ((along, half_width), (across, half_height)):
        np.abs(beyond, out=beyond)
        beyond -= half
        beyond += corner
    inside = np.maximum(along, across)
    np.minimum(inside, 0, out=inside)
    outside: np.ndarray = np.hypot(
        np.maximum(along, 0, out=along), np.maximum(across, 0, out=across)
    )
    outside += inside
    outside -= corner
    return outside


def expose(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply exposure, a colour cast, vignetting and sensor noise to a painted picture, shape
    (3, side, side); return (side, side, 3), uint8.
    """
    size = picture.shape[1]
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    vignette = 1 - float(rng.uniform(0, 0.22)) * (axis[:, None] ** 2 + axis[None, :] ** 2) / 2
    gain = np.exp(rng.normal(0, 0.14)) * (1 + rng.normal(0, 0.03, 3))
    exposed = picture * vignette
    exposed *= planes(gain)
    exposed += 0.025 * draw_texture(rng, size, size)
    clip_to_unit(exposed)
    exposed *= 255
    exposed += 0.5
    eight_bits = np.empty((size, size, 3), np.uint8)
    for channel, plane in enumerate(exposed):
        eight_bits[:, :, channel] = plane
    return eight_bits

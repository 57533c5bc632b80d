"""Procedural photographs: a scene is described first, then painted.

A `Scene` is a list of coloured parts over a background, drawn from a random generator that
depends on the seed and the image id alone, so that any image can be made without the others.
Backgrounds carry 1/f textures and foregrounds occlude each other, which together give the
power spectrum of natural photographs (power falling with about the square of the spatial frequency;
Field 1987, doi:10.1364/JOSAA.4.002379).

Coordinates are fractions of the picture: x to the right, y down, (0, 0) the upper left corner.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

CATEGORIES = (
    "person",
    "animal",
    "vehicle",
    "building",
    "tree",
    "boat",
    "food",
    "flower",
    "balloon",
    "vase",
)
SETTINGS = ("meadow", "street", "beach", "lake", "snow", "desert", "room", "table")

_SETTINGS_OF_CATEGORY = {
    "person": ("meadow", "street", "beach", "snow", "room"),
    "animal": ("meadow", "desert", "snow", "beach", "room"),
    "vehicle": ("street", "desert", "snow", "meadow"),
    "building": ("meadow", "street", "snow", "desert", "lake"),
    "tree": ("meadow", "lake", "snow", "desert"),
    "boat": ("lake", "beach"),
    "food": ("table",),
    "flower": ("meadow", "table", "room"),
    "balloon": ("meadow", "desert", "lake", "beach"),
    "vase": ("table", "room"),
}

# Mean colours (red, green, blue in 0..1), chosen by eye from everyday photographs.
_GROUND = {
    "meadow": (0.36, 0.47, 0.20),
    "street": (0.42, 0.41, 0.41),
    "beach": (0.78, 0.69, 0.52),
    "lake": (0.24, 0.38, 0.48),
    "snow": (0.86, 0.88, 0.92),
    "desert": (0.74, 0.54, 0.34),
    "room": (0.52, 0.38, 0.26),
    "table": (0.55, 0.40, 0.27),
}
_SKIES = {
    "clear": ((0.30, 0.52, 0.84), (0.76, 0.86, 0.95)),
    "overcast": ((0.62, 0.66, 0.70), (0.80, 0.82, 0.84)),
    "sunset": ((0.32, 0.30, 0.52), (0.95, 0.62, 0.36)),
    "dusk": ((0.09, 0.12, 0.26), (0.36, 0.36, 0.50)),
}
_WALLS = ((0.80, 0.76, 0.68), (0.60, 0.68, 0.72), (0.72, 0.56, 0.48), (0.48, 0.56, 0.46), (0.30, 0.30, 0.36))
_VIVID = (
    (0.78, 0.16, 0.14),
    (0.90, 0.48, 0.10),
    (0.92, 0.80, 0.18),
    (0.20, 0.50, 0.24),
    (0.14, 0.34, 0.70),
    (0.46, 0.20, 0.52),
    (0.92, 0.90, 0.86),
    (0.12, 0.12, 0.14),
    (0.86, 0.46, 0.60),
    (0.16, 0.60, 0.64),
)
_COATS = ((0.40, 0.26, 0.15), (0.78, 0.62, 0.42), (0.16, 0.14, 0.13), (0.88, 0.85, 0.80), (0.55, 0.52, 0.50))
_LEAVES = ((0.20, 0.36, 0.13), (0.32, 0.44, 0.15), (0.12, 0.28, 0.14), (0.68, 0.40, 0.12), (0.60, 0.20, 0.10))
_SKIN = ((0.88, 0.69, 0.56), (0.72, 0.50, 0.36), (0.44, 0.28, 0.19))

_TEXTURE_SIZE = 512
_N_TEXTURES = 12


@dataclass(frozen=True)
class Part:
    """One painted shape.

    Attributes
    ----------
    kind : str
        ``"ellipse"``, ``"box"`` (rounded) or ``"polygon"`` (convex, clockwise on the screen).
    centre, half_size : tuple of float
        In fractions of the picture; for a polygon the box that holds it.
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
        Width of the outline in fractions of the picture, besides one pixel.
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


@dataclass(frozen=True)
class Scene:
    """What is in a picture, before it is painted.

    Attributes
    ----------
    image_id : int
        0-based 73k id.
    category : str
        One of `CATEGORIES`: the main object.
    setting : str
        One of `SETTINGS`.
    sky : str
        Name of the sky, or ``"indoors"``.
    horizon : float
        Height of the horizon, fraction of the picture from above.
    colours : dict of str to tuple
        Colours of ``top``, ``bottom`` (sky or wall) and ``ground``.
    parts : tuple of Part
        Painted in this order, later ones over earlier ones.
    n_objects : int
        Foreground objects, the main one included.
    paint_seed : int
        Seeds textures, hills and clouds.
    """

    image_id: int
    category: str
    setting: str
    sky: str
    horizon: float
    colours: dict[str, tuple[float, float, float]]
    parts: tuple[Part, ...] = field(repr=False)
    n_objects: int
    paint_seed: tuple[int, ...] = field(repr=False)


def describe_scene(seed: int, image_id: int) -> Scene:
    """Draw the contents of one picture.

    Parameters
    ----------
    seed : int
        Seed of the stimulus set.
    image_id : int
        0-based 73k id.

    Returns
    -------
    Scene
        The same for the same two numbers, whatever else was drawn before.
    """
    rng = np.random.default_rng([seed, image_id])
    category = CATEGORIES[rng.integers(len(CATEGORIES))]
    setting = str(rng.choice(_SETTINGS_OF_CATEGORY[category]))
    indoors = setting in ("room", "table")
    sky = "indoors" if indoors else str(rng.choice(list(_SKIES), p=[0.5, 0.25, 0.17, 0.08]))
    horizon = float(rng.uniform(0.5, 0.75) if setting == "room" else rng.uniform(0.25, 0.68))
    colours = _background_colours(rng, setting, sky)
    parts = _background_parts(rng, setting, horizon)
    objects = _place_objects(rng, category, setting, horizon)
    for name, x, foot, size in objects:
        parts += _BUILDERS[name](rng, x, foot, size)
    return Scene(
        image_id=image_id,
        category=category,
        setting=setting,
        sky=sky,
        horizon=horizon,
        colours=colours,
        parts=tuple(parts),
        n_objects=len(objects),
        paint_seed=(seed, image_id, 1),
    )


def paint_scene(scene: Scene, size: int = 425) -> np.ndarray:
    """Paint a scene.

    Parameters
    ----------
    scene : Scene
        From `describe_scene`.
    size : int
        Side of the picture in pixels; 425 is NSD's.

    Returns
    -------
    ndarray, shape (size, size, 3), uint8
        Red, green, blue.
    """
    rng = np.random.default_rng(scene.paint_seed)
    picture = _paint_background(rng, scene, size)
    light = rng.uniform(-1, 1, 2)
    for part in scene.parts:
        _paint_part(picture, part, rng, light)
    return _expose(picture, rng)


def paint_parts(parts: list[Part], rng: np.random.Generator, *, top: np.ndarray, bottom: np.ndarray, size: int) -> np.ndarray:
    """Paint parts over a vertical gradient from ``top`` to ``bottom`` (red, green, blue in 0..1).

    Returns
    -------
    ndarray, shape (size, size, 3), uint8
    """
    fall = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    picture = np.ascontiguousarray(np.broadcast_to(top + fall * (bottom - top), (size, size, 3)), dtype=np.float32)
    light = rng.uniform(-1, 1, 2)
    for part in parts:
        _paint_part(picture, part, rng, light)
    return _expose(picture, rng)


def render_image(seed: int, image_id: int, size: int = 425) -> np.ndarray:
    """Describe and paint one picture; see `describe_scene` and `paint_scene`.

    Returns
    -------
    ndarray, shape (size, size, 3), uint8
    """
    return paint_scene(describe_scene(seed, image_id), size)


@lru_cache(maxsize=1)
def _texture_bank() -> np.ndarray:
    """Return periodic 1/f fields of unit SD, shape (n_textures, 512, 512), float32."""
    rng = np.random.default_rng(73_000)
    fy, fx = np.meshgrid(np.fft.fftfreq(_TEXTURE_SIZE), np.fft.rfftfreq(_TEXTURE_SIZE), indexing="ij")
    radius = np.hypot(fy, fx)
    radius[0, 0] = np.inf
    fields = []
    for index in range(_N_TEXTURES):
        white = np.fft.rfft2(rng.standard_normal((_TEXTURE_SIZE, _TEXTURE_SIZE)))
        exponent = (0.9, 1.1, 1.3)[index % 3]
        texture = np.fft.irfft2(white / radius**exponent, s=(_TEXTURE_SIZE, _TEXTURE_SIZE))
        fields.append(texture / texture.std())
    return np.stack(fields).astype(np.float32)


def _texture(rng: np.random.Generator, height: int, width: int, *, stretch: float = 1.0) -> np.ndarray:
    """Cut a random window, shape (height, width), from a random 1/f field."""
    bank = _texture_bank()[rng.integers(_N_TEXTURES)]
    y0, x0 = rng.integers(_TEXTURE_SIZE, size=2)
    flip = 1 if rng.random() < 0.5 else -1
    rows = (y0 + np.arange(height)) % _TEXTURE_SIZE
    columns = (x0 + flip * (np.arange(width) / stretch).astype(int)) % _TEXTURE_SIZE
    return bank[rows[:, None], columns[None, :]]


def _jitter(rng: np.random.Generator, colour: tuple[float, ...], spread: float = 0.06) -> tuple[float, float, float]:
    """Vary a colour: a shared change of brightness and a smaller one of each channel."""
    values = np.asarray(colour) * np.exp(rng.normal(0, 2 * spread)) + rng.normal(0, spread, 3)
    red, green, blue = np.clip(values, 0.02, 0.98)
    return float(red), float(green), float(blue)


def _pick(rng: np.random.Generator, palette: tuple, spread: float = 0.05) -> tuple[float, float, float]:
    return _jitter(rng, palette[rng.integers(len(palette))], spread)


def _background_colours(rng: np.random.Generator, setting: str, sky: str) -> dict:
    top, bottom = (_WALLS[rng.integers(len(_WALLS))],) * 2 if sky == "indoors" else _SKIES[sky]
    dim = {"dusk": 0.45, "sunset": 0.75}.get(sky, 1.0)
    ground = tuple(dim * value for value in _GROUND[setting])
    return {
        "top": _jitter(rng, top, 0.045),
        "bottom": _jitter(rng, bottom, 0.045),
        "ground": _jitter(rng, ground, 0.06),
        "hill": _jitter(rng, tuple(0.5 * dim * (g + b) for g, b in zip(_GROUND[setting], bottom, strict=True)), 0.08),
    }


def _background_parts(rng: np.random.Generator, setting: str, horizon: float) -> list[Part]:
    """Scatter what lies on the ground: stones, tufts, waves, cracks; nearer ones are larger."""
    parts = []
    if setting == "room" and rng.random() < 0.7:
        parts += _window(rng, rng.uniform(0.15, 0.85), horizon)
    if setting == "street":
        parts += _kerbs(rng, horizon)
    n_scattered = int(rng.integers(6, 28)) if setting not in ("room", "table") else int(rng.integers(0, 8))
    for depth in np.sort(rng.uniform(0.03, 1, n_scattered)):
        y = horizon + depth * (1 - horizon)
        width = depth * rng.lognormal(-3.3, 0.6)
        flat = 0.25 if setting in ("lake", "beach", "street") else 0.6
        colour = _jitter(rng, _GROUND[setting], 0.14)
        parts.append(Part("ellipse", (rng.uniform(0, 1), y), (width, flat * width), colour, texture=0.3, ruffle=0.3))
    return parts


def _window(rng: np.random.Generator, x: float, horizon: float) -> list[Part]:
    half = (rng.uniform(0.08, 0.16), rng.uniform(0.1, 0.18))
    centre = (x, 0.45 * horizon)
    frame = _jitter(rng, (0.85, 0.84, 0.80))
    pane = _jitter(rng, (0.66, 0.80, 0.92))
    return [
        Part("box", centre, (half[0] + 0.012, half[1] + 0.012), frame),
        Part("box", centre, half, pane, texture=0.3, shade=0.4),
        Part("box", centre, (0.006, half[1]), frame),
        Part("box", centre, (half[0], 0.006), frame),
    ]


def _kerbs(rng: np.random.Generator, horizon: float) -> list[Part]:
    vanish = rng.uniform(0.3, 0.7)
    stripe = _jitter(rng, (0.86, 0.84, 0.74))
    side = _jitter(rng, (0.55, 0.53, 0.50))
    verge = [(-0.05, horizon), (vanish - 0.02, horizon), (-0.05, 1.05)]
    line = [(vanish, horizon), (vanish + 0.004, horizon), (0.53, 1.0), (0.48, 1.0)]
    return [_polygon(verge, side, texture=0.3), _polygon(line, stripe)]


def _place_objects(rng: np.random.Generator, category: str, setting: str, horizon: float) -> list[tuple]:
    """Choose foreground objects as (name, x, foot, size), far ones first, the main one large."""
    indoors = setting in ("room", "table")
    others = [name for name, places in _SETTINGS_OF_CATEGORY.items() if setting in places]
    names = [str(rng.choice(others)) for _ in range(rng.integers(0, 5))]
    depths = np.sort(rng.uniform(0.02, 0.75, len(names)))
    objects = []
    for name, depth in zip(names, depths, strict=True):
        size = (0.25 + 0.5 * depth if indoors else 0.08 + 0.5 * depth) * rng.uniform(0.7, 1.2)
        objects.append((name, rng.uniform(0.02, 0.98), horizon + depth * (1 - horizon) * 0.9, size))
    main_size = rng.uniform(0.4, 0.8)
    foot = min(horizon + rng.uniform(0.45, 0.95) * (1 - horizon), 0.97)
    if category == "balloon":
        foot = rng.uniform(0.55, 0.8)
    objects.append((category, rng.uniform(0.25, 0.75), foot, main_size))
    return objects


def _polygon(vertices: list, colour: tuple, **settings: float) -> Part:
    points = np.asarray(vertices)
    low, high = points.min(0), points.max(0)
    corners = tuple((float(x), float(y)) for x, y in points)
    return Part("polygon", tuple((low + high) / 2), tuple((high - low) / 2), colour, vertices=corners, **settings)


def _shadow(x: float, foot: float, width: float) -> Part:
    half = (width, 0.18 * width)
    return Part("ellipse", (x, foot), half, (0.05, 0.05, 0.07), opacity=0.4, texture=0, softness=0.02)


def _person(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    shirt, trousers, skin = _pick(rng, _VIVID), _pick(rng, _VIVID), _pick(rng, _SKIN)
    hair = _pick(rng, _COATS)
    lean = rng.normal(0, 0.12)
    limb = 0.045 * size
    parts = [_shadow(x, foot, 0.2 * size)]
    for side in (-1, 1):
        parts.append(Part("box", (x + side * 0.055 * size, foot - 0.22 * size), (limb, 0.22 * size), trousers))
        swing = side * rng.uniform(0.1, 0.7)
        arm = (x + side * 0.14 * size, foot - 0.58 * size)
        parts.append(Part("box", arm, (0.035 * size, 0.17 * size), shirt, angle=-swing))
    parts += [
        Part("box", (x, foot - 0.6 * size), (0.11 * size, 0.19 * size), shirt, angle=lean, texture=0.25),
        Part("ellipse", (x, foot - 0.9 * size), (0.075 * size, 0.09 * size), skin),
        Part("ellipse", (x, foot - 0.95 * size), (0.08 * size, 0.055 * size), hair, ruffle=0.2),
    ]
    return parts


def _animal(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    coat = _pick(rng, _COATS)
    belly = _jitter(rng, coat, 0.1)
    way = rng.choice((-1, 1))
    body_y = foot - 0.42 * size
    parts = [_shadow(x, foot, 0.4 * size)]
    for offset in (-0.27, -0.17, 0.17, 0.27):
        parts.append(Part("box", (x + offset * size, foot - 0.17 * size), (0.04 * size, 0.18 * size), belly))
    tail = (x - way * 0.42 * size, body_y - 0.08 * size)
    head = (x + way * 0.42 * size, body_y - 0.2 * size)
    parts += [
        Part("box", tail, (0.025 * size, 0.15 * size), coat, angle=way * 0.9),
        Part("ellipse", (x, body_y), (0.38 * size, 0.19 * size), coat, texture=0.25, ruffle=0.1, shade=0.45),
        Part("ellipse", head, (0.14 * size, 0.13 * size), coat, texture=0.3, ruffle=0.08),
        Part("ellipse", (head[0] + way * 0.1 * size, head[1] + 0.04 * size), (0.08 * size, 0.06 * size), belly),
        Part("ellipse", (head[0] + way * 0.03 * size, head[1] - 0.03 * size), (0.016 * size,) * 2, (0.05, 0.05, 0.05)),
    ]
    for ear in (-0.09, 0.03):
        tip = head[0] + ear * size
        top = head[1] - 0.21 * size
        base = head[1] - 0.08 * size
        parts.append(_polygon([(tip, top), (tip + 0.05 * size, base), (tip - 0.05 * size, base)], coat))
    return parts


def _vehicle(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    paint = _pick(rng, _VIVID)
    glass, tyre = _jitter(rng, (0.55, 0.66, 0.74)), (0.07, 0.07, 0.08)
    length, height = 0.5 * size, 0.13 * size
    tall = rng.random() < 0.3
    cabin = (0.30 * size, 0.2 * size if tall else 0.12 * size)
    body_y = foot - 0.1 * size - height
    roof_y = body_y - height - cabin[1] + 0.03 * size
    parts = [
        _shadow(x, foot, length),
        Part("box", (x, roof_y), cabin, paint),
        Part("box", (x - 0.13 * size, roof_y + 0.01 * size), (0.115 * size, 0.7 * cabin[1]), glass, texture=0.3),
        Part("box", (x + 0.13 * size, roof_y + 0.01 * size), (0.115 * size, 0.7 * cabin[1]), glass, texture=0.3),
        Part("box", (x, body_y), (length, height), paint, shade=0.5),
    ]
    for side in (-1, 1):
        hub = (x + side * 0.3 * size, foot - 0.09 * size)
        parts.append(Part("ellipse", hub, (0.1 * size,) * 2, tyre))
        parts.append(Part("ellipse", hub, (0.05 * size,) * 2, (0.6, 0.6, 0.62)))
        lamp = (x + side * 0.46 * size, body_y - 0.02 * size)
        parts.append(Part("ellipse", lamp, (0.03 * size, 0.035 * size), (0.95, 0.88, 0.66)))
    return parts


def _building(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    wall, roof = _pick(rng, _WALLS + _VIVID[:2]), _pick(rng, ((0.45, 0.18, 0.13), (0.28, 0.28, 0.30), (0.5, 0.34, 0.2)))
    glass = _jitter(rng, (0.25, 0.30, 0.38), 0.1)
    half_width = rng.uniform(0.22, 0.42) * size
    height = rng.uniform(0.5, 1.0) * size
    top = foot - height
    parts = [_shadow(x, foot, 1.1 * half_width)]
    parts.append(Part("box", (x, foot - height / 2), (half_width, height / 2), wall, texture=0.25, shade=0.35))
    if rng.random() < 0.65:
        peak = top - rng.uniform(0.12, 0.3) * size
        eaves = 1.15 * half_width
        parts.append(_polygon([(x, peak), (x + eaves, top), (x - eaves, top)], roof, texture=0.3))
    n_columns, n_rows = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    pane = (0.28 * half_width * 2 / n_columns, 0.26 * height / n_rows)
    for row in range(n_rows):
        for column in range(n_columns):
            centre = (x + half_width * (2 * (column + 0.5) / n_columns - 1), top + height * (row + 0.5) / n_rows)
            parts.append(Part("box", centre, pane, glass, texture=0.2))
    return parts


def _tree(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    bark, leaf = _jitter(rng, (0.30, 0.21, 0.14)), _pick(rng, _LEAVES)
    parts = [_shadow(x, foot, 0.3 * size)]
    parts.append(Part("box", (x, foot - 0.25 * size), (0.045 * size, 0.27 * size), bark, texture=0.4))
    if rng.random() < 0.3:  # a conifer
        for level in range(4):
            y, half = foot - (0.3 + 0.2 * level) * size, (0.32 - 0.065 * level) * size
            points = [(x, y - 0.3 * size), (x + half, y), (x - half, y)]
            parts.append(_polygon(points, _jitter(rng, leaf, 0.03), texture=0.4, ruffle=0.12))
        return parts
    for _ in range(int(rng.integers(4, 8))):
        centre = (x + rng.normal(0, 0.14) * size, foot - rng.uniform(0.5, 0.85) * size)
        half = (rng.uniform(0.14, 0.24) * size, rng.uniform(0.12, 0.2) * size)
        parts.append(Part("ellipse", centre, half, _jitter(rng, leaf, 0.04), texture=0.5, ruffle=0.3, shade=0.5))
    return parts


def _boat(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    hull, sail = _pick(rng, _VIVID), _pick(rng, ((0.94, 0.92, 0.88), (0.85, 0.3, 0.2), (0.9, 0.8, 0.5)))
    deck = foot - 0.16 * size
    parts = [_shadow(x, foot + 0.02 * size, 0.42 * size)]
    bow, keel = 0.45 * size, 0.3 * size
    parts.append(_polygon([(x - bow, deck), (x + bow, deck), (x + keel, foot), (x - keel, foot)], hull, shade=0.4))
    parts.append(Part("box", (x, deck - 0.4 * size), (0.012 * size, 0.42 * size), (0.30, 0.22, 0.16)))
    mast_top, boom = deck - 0.8 * size, deck - 0.05 * size
    parts.append(_polygon([(x + 0.02 * size, mast_top), (x + 0.36 * size, boom), (x + 0.02 * size, boom)], sail))
    parts.append(_polygon([(x - 0.02 * size, 0.9 * mast_top + 0.1 * boom), (x - 0.02 * size, boom), (x - 0.26 * size, boom)], sail))
    return parts


def _food(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    y = foot - 0.2 * size
    plate = _jitter(rng, (0.90, 0.89, 0.86))
    parts = [
        _shadow(x, y + 0.04 * size, 0.56 * size),
        Part("ellipse", (x, y), (0.52 * size, 0.27 * size), plate, texture=0.05),
        Part("ellipse", (x, y), (0.40 * size, 0.20 * size), _jitter(rng, plate, 0.02), texture=0.05),
    ]
    for _ in range(int(rng.integers(3, 10))):
        centre = (x + rng.normal(0, 0.16) * size, y + rng.normal(-0.03, 0.07) * size)
        half = rng.uniform(0.06, 0.16) * size
        colour = _pick(rng, _VIVID[:4] + _COATS[:2])
        half_size = (half, half * rng.uniform(0.5, 1))
        parts.append(Part("ellipse", centre, half_size, colour, texture=0.4, ruffle=0.15, shade=0.5))
    return parts


def _flower(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    petal, heart = _pick(rng, _VIVID), _pick(rng, ((0.85, 0.68, 0.15), (0.32, 0.2, 0.1)))
    stem = _jitter(rng, (0.22, 0.42, 0.16))
    y = foot - 0.68 * size
    parts = [Part("box", (x, foot - 0.33 * size), (0.018 * size, 0.35 * size), stem)]
    for side in (-1, 1):
        leaf = (x + side * 0.1 * size, foot - rng.uniform(0.2, 0.4) * size)
        parts.append(Part("ellipse", leaf, (0.12 * size, 0.045 * size), stem, angle=-side * 0.6))
    n_petals = int(rng.integers(5, 9))
    for angle in np.arange(n_petals) * 2 * np.pi / n_petals + rng.uniform(0, 1):
        centre = (x + 0.17 * size * np.cos(angle), y + 0.17 * size * np.sin(angle))
        parts.append(Part("ellipse", centre, (0.15 * size, 0.08 * size), petal, angle=float(angle), shade=0.35))
    parts.append(Part("ellipse", (x, y), (0.09 * size,) * 2, heart, texture=0.5))
    return parts


def _balloon(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    first, second = _pick(rng, _VIVID), _pick(rng, _VIVID)
    y = foot - 0.62 * size
    parts = [Part("ellipse", (x, y), (0.34 * size, 0.38 * size), first, shade=0.5)]
    for half in (0.22, 0.09):
        parts.append(Part("ellipse", (x, y), (half * size, 0.38 * size), second if half > 0.1 else first, shade=0.4))
    parts.append(_polygon([(x - 0.12 * size, y + 0.34 * size), (x + 0.12 * size, y + 0.34 * size), (x + 0.05 * size, foot - 0.1 * size), (x - 0.05 * size, foot - 0.1 * size)], (0.55, 0.45, 0.35), opacity=0.6))
    parts.append(Part("box", (x, foot - 0.05 * size), (0.07 * size, 0.05 * size), (0.42, 0.28, 0.15), texture=0.4))
    return parts


def _vase(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    glaze = _pick(rng, _VIVID)
    parts = [_shadow(x, foot, 0.3 * size)]
    for _ in range(int(rng.integers(0, 5))):
        parts += _flower(rng, x + rng.normal(0, 0.1) * size, foot - 0.35 * size, 0.55 * size)
    neck = foot - 0.5 * size
    parts += [
        Part("box", (x, neck), (0.09 * size, 0.14 * size), glaze, shade=0.5),
        Part("ellipse", (x, foot - 0.24 * size), (0.22 * size, 0.25 * size), glaze, shade=0.7, texture=0.1),
        Part("ellipse", (x, neck - 0.13 * size), (0.11 * size, 0.03 * size), _jitter(rng, glaze, 0.1)),
    ]
    return parts


_BUILDERS = {
    "person": _person,
    "animal": _animal,
    "vehicle": _vehicle,
    "building": _building,
    "tree": _tree,
    "boat": _boat,
    "food": _food,
    "flower": _flower,
    "balloon": _balloon,
    "vase": _vase,
}


def _paint_background(rng: np.random.Generator, scene: Scene, size: int) -> np.ndarray:
    """Paint sky or wall, hills and ground, shape (size, size, 3), float32."""
    y = ((np.arange(size) + 0.5) / size).astype(np.float32)
    fall = np.clip(y / scene.horizon, 0, 1)[:, None, None]
    top, bottom = (np.float32(scene.colours[name]) for name in ("top", "bottom"))
    picture = np.ascontiguousarray(np.broadcast_to(top + fall * (bottom - top), (size, size, 3)))
    texture = _texture(rng, size, size, stretch=1.6)
    if scene.sky == "indoors":
        picture *= (1 + 0.08 * texture)[..., None]
    else:
        cover = {"clear": 1.0, "overcast": -0.2, "sunset": 0.5, "dusk": 0.8}[scene.sky] + rng.normal(0, 0.3)
        cloud = (0.75 * np.clip((texture - cover) / 1.6, 0, 1))[..., None]
        picture += cloud * (np.float32(0.5 + 0.5 * bottom) - picture)
        _paint_hills(picture, rng, scene)
    _paint_ground(picture, rng, scene, y)
    return picture


def _paint_hills(picture: np.ndarray, rng: np.random.Generator, scene: Scene) -> None:
    size = len(picture)
    rows = (np.arange(size) / size)[:, None]
    far, near = np.float32(scene.colours["bottom"]), np.float32(scene.colours["hill"])
    for layer in range(int(rng.integers(0, 3))):
        profile = _texture(rng, 1, size, stretch=2.5)[0]
        height = scene.horizon - rng.uniform(0.02, 0.12) + 0.035 * profile
        mask = np.clip((rows - height) * size, 0, 1)[..., None]
        blend = 0.45 + 0.35 * layer
        colour = far + blend * (near - far)
        shade = 1 + 0.14 * _texture(rng, size, size, stretch=1.5)[..., None]
        picture += mask * (colour * shade - picture)


def _paint_ground(picture: np.ndarray, rng: np.random.Generator, scene: Scene, y: np.ndarray) -> None:
    size = len(picture)
    first = int(scene.horizon * size)
    near = (y[first:] - scene.horizon) / (1 - scene.horizon)
    # Perspective: rows towards the horizon lie further apart on the ground.
    rows = (220 * np.log(near + 0.04)).astype(int) % _TEXTURE_SIZE
    bank = _texture_bank()[rng.integers(_N_TEXTURES)]
    columns = (np.arange(size)[None, :] - size / 2) / (0.25 + near[:, None])
    texture = bank[rows[:, None], (columns.astype(int) + rng.integers(_TEXTURE_SIZE)) % _TEXTURE_SIZE]
    fine = _texture(rng, size - first, size, stretch=3.0 if scene.setting == "lake" else 1.0)
    strength = {"snow": 0.04, "room": 0.09, "table": 0.09, "lake": 0.12}.get(scene.setting, 0.18)
    relief = 1 + strength * (0.6 * texture + 0.7 * fine)
    ground, bottom = np.float32(scene.colours["ground"]), np.float32(scene.colours["bottom"])
    haze = np.exp(-6 * near)[:, None, None] * (0.0 if scene.sky == "indoors" else 0.5)
    picture[first:] = (ground + haze * (bottom - ground)) * relief[..., None] * (1.1 - 0.25 * near)[:, None, None]


def _paint_part(picture: np.ndarray, part: Part, rng: np.random.Generator, light: np.ndarray) -> None:
    """Blend one part into the picture, in place, touching only the box that holds it."""
    size = len(picture)
    reach = np.hypot(*part.half_size) if part.angle else np.asarray(part.half_size)
    margin = np.max(part.half_size) * part.ruffle + part.softness + 1.5 / size
    low = np.floor((np.asarray(part.centre) - reach - margin) * size).astype(int).clip(0, size)
    high = np.ceil((np.asarray(part.centre) + reach + margin) * size).astype(int).clip(0, size)
    (x0, y0), (x1, y1) = low, high
    if x1 <= x0 or y1 <= y0:
        return
    x = ((np.arange(x0, x1, dtype=np.float32) + 0.5) / size - np.float32(part.centre[0]))[None, :]
    y = ((np.arange(y0, y1, dtype=np.float32) + 0.5) / size - np.float32(part.centre[1]))[:, None]
    texture = _texture(rng, y1 - y0, x1 - x0) if part.texture or part.ruffle else np.float32(0)
    distance = _signed_distance(part, x, y) + part.ruffle * np.max(part.half_size) * 0.5 * texture
    coverage = np.clip(0.5 - distance / (part.softness + 1 / size), 0, 1) * part.opacity
    gradient = x / max(part.half_size[0], 1e-3) * light[0] + y / max(part.half_size[1], 1e-3) * light[1]
    tone = (1 + part.texture * texture + 0.5 * part.shade * gradient)[..., None]
    window = picture[y0:y1, x0:x1]
    window += coverage.astype(np.float32)[..., None] * (np.float32(part.colour) * tone.astype(np.float32) - window)


def _signed_distance(part: Part, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the distance to the outline in fractions of the picture, negative inside."""
    if part.kind == "polygon":
        corners = np.asarray(part.vertices) - part.centre
        edges = np.roll(corners, -1, axis=0) - corners
        normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / np.linalg.norm(edges, axis=1, keepdims=True)
        sides = [nx * (x - cx) + ny * (y - cy) for (nx, ny), (cx, cy) in zip(normals, corners, strict=True)]
        return np.max(np.broadcast_arrays(*sides), axis=0)
    cos, sin = np.cos(part.angle), np.sin(part.angle)
    along, across = cos * x + sin * y, cos * y - sin * x
    half_width, half_height = part.half_size
    if part.kind == "ellipse":
        return (np.hypot(along / half_width, across / half_height) - 1) * min(half_width, half_height)
    corner = 0.3 * min(half_width, half_height)
    beyond_x, beyond_y = np.abs(along) - half_width + corner, np.abs(across) - half_height + corner
    outside = np.hypot(np.maximum(beyond_x, 0), np.maximum(beyond_y, 0))
    return outside + np.minimum(np.maximum(beyond_x, beyond_y), 0) - corner


def _expose(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply exposure, a colour cast, vignetting and sensor noise; return uint8."""
    size = len(picture)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    vignette = 1 - rng.uniform(0, 0.22) * (axis[:, None] ** 2 + axis[None, :] ** 2) / 2
    gain = np.float32(np.exp(rng.normal(0, 0.14)) * (1 + rng.normal(0, 0.03, 3)))
    exposed = picture * vignette[..., None] * gain
    grain = 0.025 * _texture(rng, size, size)
    return (255 * np.clip(exposed + grain[..., None], 0, 1) + 0.5).astype(np.uint8)

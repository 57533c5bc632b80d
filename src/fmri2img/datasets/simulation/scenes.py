"""Procedural photographs: a scene is described first, then painted.

A `Scene` is a list of coloured parts over a background, drawn from a random generator that
depends on the seed and the image id alone, so that any image can be made without the others.
Backgrounds carry 1/f textures and foregrounds occlude each other, which together give the
power spectrum of natural photographs (power falling with about the square of the spatial frequency;
Field 1987, doi:10.1364/JOSAA.4.002379).

Coordinates are fractions of the picture: x to the right, y down, (0, 0) the upper left corner.
"""

from dataclasses import dataclass, field

import numpy as np

from fmri2img.datasets.simulation.objects import BUILDERS, WALLS
from fmri2img.datasets.simulation.painting import (
    N_TEXTURES,
    TEXTURE_SIZE,
    clip_to_unit,
    draw_light,
    draw_texture,
    expose,
    gradient,
    paint_part,
    planes,
    texture_bank,
)
from fmri2img.datasets.simulation.parts import Part, jitter, polygon

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
        Colours of ``top``, ``bottom`` (sky or wall), ``ground`` and ``hill``.
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
        Depends only on the two numbers, not on what was drawn before.
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
        parts += BUILDERS[name](rng, x, foot, size)
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
        The scene, from `describe_scene`.
    size : int
        Side of the picture in pixels; 425 is NSD's.

    Returns
    -------
    ndarray, shape (size, size, 3), uint8
        Red, green, blue.
    """
    rng = np.random.default_rng(scene.paint_seed)
    picture = _paint_background(rng, scene, size)
    light = draw_light(rng)
    for part in scene.parts:
        paint_part(picture, part, rng, light)
    return expose(picture, rng)


def render_image(seed: int, image_id: int, size: int = 425) -> np.ndarray:
    """Describe and paint one picture; see `describe_scene` and `paint_scene`.

    Returns
    -------
    ndarray, shape (size, size, 3), uint8
    """
    return paint_scene(describe_scene(seed, image_id), size)


def _background_colours(rng: np.random.Generator, setting: str, sky: str) -> dict:
    top, bottom = (WALLS[rng.integers(len(WALLS))],) * 2 if sky == "indoors" else _SKIES[sky]
    dim = {"dusk": 0.45, "sunset": 0.75}.get(sky, 1.0)
    ground = tuple(dim * value for value in _GROUND[setting])
    return {
        "top": jitter(rng, top, 0.045),
        "bottom": jitter(rng, bottom, 0.045),
        "ground": jitter(rng, ground, 0.06),
        "hill": jitter(
            rng,
            tuple(0.5 * dim * (g + b) for g, b in zip(_GROUND[setting], bottom, strict=True)),
            0.08,
        ),
    }


def _background_parts(rng: np.random.Generator, setting: str, horizon: float) -> list[Part]:
    """Scatter stones, tufts, waves and cracks on the ground; nearer ones are larger."""
    parts = []
    if setting == "room" and rng.random() < 0.7:
        parts += _window(rng, rng.uniform(0.15, 0.85), horizon)
    if setting == "street":
        parts += _kerbs(rng, horizon)
    n_scattered = (
        int(rng.integers(6, 28)) if setting not in ("room", "table") else int(rng.integers(0, 8))
    )
    for depth in np.sort(rng.uniform(0.03, 1, n_scattered)):
        y = horizon + depth * (1 - horizon)
        width = depth * rng.lognormal(-3.3, 0.6)
        flat = 0.25 if setting in ("lake", "beach", "street") else 0.6
        colour = jitter(rng, _GROUND[setting], 0.14)
        parts.append(
            Part(
                "ellipse",
                (rng.uniform(0, 1), y),
                (width, flat * width),
                colour,
                texture=0.3,
                ruffle=0.3,
            )
        )
    return parts


def _window(rng: np.random.Generator, x: float, horizon: float) -> list[Part]:
    half = (rng.uniform(0.08, 0.16), rng.uniform(0.1, 0.18))
    centre = (x, 0.45 * horizon)
    frame = jitter(rng, (0.85, 0.84, 0.80))
    pane = jitter(rng, (0.66, 0.80, 0.92))
    return [
        Part("box", centre, (half[0] + 0.012, half[1] + 0.012), frame),
        Part("box", centre, half, pane, texture=0.3, shade=0.4),
        Part("box", centre, (0.006, half[1]), frame),
        Part("box", centre, (half[0], 0.006), frame),
    ]


def _kerbs(rng: np.random.Generator, horizon: float) -> list[Part]:
    vanish = rng.uniform(0.3, 0.7)
    stripe = jitter(rng, (0.86, 0.84, 0.74))
    side = jitter(rng, (0.55, 0.53, 0.50))
    verge = [(-0.05, horizon), (vanish - 0.02, horizon), (-0.05, 1.05)]
    line = [(vanish, horizon), (vanish + 0.004, horizon), (0.53, 1.0), (0.48, 1.0)]
    return [polygon(verge, side, texture=0.3), polygon(line, stripe)]


def _place_objects(
    rng: np.random.Generator, category: str, setting: str, horizon: float
) -> list[tuple]:
    """Choose foreground objects as (name, x, foot, size), far ones first, the main one large."""
    indoors = setting in ("room", "table")
    others = [name for name, places in _SETTINGS_OF_CATEGORY.items() if setting in places]
    names = [str(rng.choice(others)) for _ in range(rng.integers(0, 5))]
    depths = np.sort(rng.uniform(0.02, 0.75, len(names)))
    objects = []
    for name, depth in zip(names, depths, strict=True):
        size = (0.25 + 0.5 * depth if indoors else 0.08 + 0.5 * depth) * rng.uniform(0.7, 1.2)
        objects.append((name, rng.uniform(0.02, 0.98), horizon + depth * (1 - horizon) * 0.9, size))
    main_size = rng.uniform(0.55, 0.95)  # large enough to be told apart when decoded
    foot = min(horizon + rng.uniform(0.45, 0.95) * (1 - horizon), 0.97)
    if category == "balloon":
        foot = rng.uniform(0.55, 0.8)
    objects.append((category, rng.uniform(0.25, 0.75), foot, main_size))
    return objects


def _paint_background(rng: np.random.Generator, scene: Scene, size: int) -> np.ndarray:
    """Paint sky or wall, hills and ground, shape (3, size, size), float32."""
    y = ((np.arange(size) + 0.5) / size).astype(np.float32)
    fall = np.broadcast_to(np.clip(y / scene.horizon, 0, 1)[:, None], (size, size))
    picture = gradient(scene.colours["top"], scene.colours["bottom"], fall)
    texture = draw_texture(rng, size, size, stretch=1.6)
    if scene.sky == "indoors":
        picture *= 1 + 0.08 * texture
    else:
        usual = {"clear": 1.0, "overcast": -0.2, "sunset": 0.5, "dusk": 0.8}[scene.sky]
        cover = usual + float(rng.normal(0, 0.3))
        texture -= cover
        texture /= 1.6
        clip_to_unit(texture)
        texture *= 0.75
        _blend(picture, 0.5 + 0.5 * planes(scene.colours["bottom"]) - picture, texture)
        _paint_hills(picture, rng, scene)
    _paint_ground(picture, rng, scene, y)
    return picture


def _paint_hills(picture: np.ndarray, rng: np.random.Generator, scene: Scene) -> None:
    size = picture.shape[1]
    rows = (np.arange(size, dtype=np.float32) / size)[:, None]
    far, near = planes(scene.colours["bottom"]), planes(scene.colours["hill"])
    for layer in range(int(rng.integers(0, 3))):
        profile = draw_texture(rng, 1, size, stretch=2.5)[0]
        height = scene.horizon - float(rng.uniform(0.02, 0.12)) + 0.035 * profile
        mask = rows - height
        mask *= size
        clip_to_unit(mask)
        colour = far + (0.45 + 0.35 * layer) * (near - far)
        shade = draw_texture(rng, size, size, stretch=1.5)
        shade *= 0.14
        shade += 1
        change = colour * shade
        change -= picture
        _blend(picture, change, mask)


def _blend(picture: np.ndarray, change: np.ndarray, share: np.ndarray) -> None:
    """Add a share of a change, which is overwritten, to a picture (3, size, size)."""
    change *= share
    picture += change


def _paint_ground(
    picture: np.ndarray, rng: np.random.Generator, scene: Scene, y: np.ndarray
) -> None:
    size = picture.shape[1]
    first = int(scene.horizon * size)
    near = (y[first:] - scene.horizon) / (1 - scene.horizon)
    # Perspective: rows towards the horizon lie further apart on the ground.
    rows = (220 * np.log(near + 0.04)).astype(int) % TEXTURE_SIZE
    bank = texture_bank()[rng.integers(N_TEXTURES)]
    columns = (np.arange(size)[None, :] - size / 2) / (0.25 + near[:, None])
    places = columns.astype(int)
    places += rng.integers(TEXTURE_SIZE)
    places %= TEXTURE_SIZE
    places += bank.shape[1] * rows[:, None]
    texture = bank.ravel().take(places)
    fine = draw_texture(rng, size - first, size, stretch=3.0 if scene.setting == "lake" else 1.0)
    strength = {"snow": 0.04, "room": 0.09, "table": 0.09, "lake": 0.12}.get(scene.setting, 0.18)
    texture *= 0.6
    fine *= 0.7
    relief = texture + fine
    relief *= strength
    relief += 1
    ground, bottom = planes(scene.colours["ground"]), planes(scene.colours["bottom"])
    haze = np.exp(-6 * near)[:, None] * (0.0 if scene.sky == "indoors" else 0.5)
    painted = (ground + haze * (bottom - ground)) * relief
    painted *= (1.1 - 0.25 * near)[:, None]
    picture[:, first:] = painted

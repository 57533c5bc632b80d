"""Shapes and the objects built from them: a list of coloured parts is all that a painter needs.

Coordinates are fractions of the picture: x to the right, y down, (0, 0) the upper left corner.
"""

import numpy as np

from fmri2img.datasets.simulation.parts import Part, jitter, pick, polygon, shadow

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
_COATS = (
    (0.40, 0.26, 0.15),
    (0.78, 0.62, 0.42),
    (0.16, 0.14, 0.13),
    (0.88, 0.85, 0.80),
    (0.55, 0.52, 0.50),
)
_LEAVES = (
    (0.20, 0.36, 0.13),
    (0.32, 0.44, 0.15),
    (0.12, 0.28, 0.14),
    (0.68, 0.40, 0.12),
    (0.60, 0.20, 0.10),
)
_SKIN = ((0.88, 0.69, 0.56), (0.72, 0.50, 0.36), (0.44, 0.28, 0.19))
WALLS = (
    (0.80, 0.76, 0.68),
    (0.60, 0.68, 0.72),
    (0.72, 0.56, 0.48),
    (0.48, 0.56, 0.46),
    (0.30, 0.30, 0.36),
)


def _person(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    shirt, trousers, skin = pick(rng, _VIVID), pick(rng, _VIVID), pick(rng, _SKIN)
    hair = pick(rng, _COATS)
    lean = rng.normal(0, 0.12)
    limb = 0.045 * size
    parts = [shadow(x, foot, 0.2 * size)]
    for side in (-1, 1):
        parts.append(
            Part(
                "box", (x + side * 0.055 * size, foot - 0.22 * size), (limb, 0.22 * size), trousers
            )
        )
        swing = side * rng.uniform(0.1, 0.7)
        arm = (x + side * 0.14 * size, foot - 0.58 * size)
        parts.append(Part("box", arm, (0.035 * size, 0.17 * size), shirt, angle=-swing))
    parts += [
        Part(
            "box",
            (x, foot - 0.6 * size),
            (0.11 * size, 0.19 * size),
            shirt,
            angle=lean,
            texture=0.25,
        ),
        Part("ellipse", (x, foot - 0.9 * size), (0.075 * size, 0.09 * size), skin),
        Part("ellipse", (x, foot - 0.95 * size), (0.08 * size, 0.055 * size), hair, ruffle=0.2),
    ]
    return parts


def _animal(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    coat = pick(rng, _COATS)
    belly = jitter(rng, coat, 0.1)
    way = rng.choice((-1, 1))
    body_y = foot - 0.42 * size
    parts = [shadow(x, foot, 0.4 * size)]
    legs = (-0.27, -0.17, 0.17, 0.27)
    parts += [
        Part("box", (x + offset * size, foot - 0.17 * size), (0.04 * size, 0.18 * size), belly)
        for offset in legs
    ]
    tail = (x - way * 0.42 * size, body_y - 0.08 * size)
    head = (x + way * 0.42 * size, body_y - 0.2 * size)
    parts += [
        Part("box", tail, (0.025 * size, 0.15 * size), coat, angle=way * 0.9),
        Part(
            "ellipse",
            (x, body_y),
            (0.38 * size, 0.19 * size),
            coat,
            texture=0.25,
            ruffle=0.1,
            shade=0.45,
        ),
        Part("ellipse", head, (0.14 * size, 0.13 * size), coat, texture=0.3, ruffle=0.08),
        Part(
            "ellipse",
            (head[0] + way * 0.1 * size, head[1] + 0.04 * size),
            (0.08 * size, 0.06 * size),
            belly,
        ),
        Part(
            "ellipse",
            (head[0] + way * 0.03 * size, head[1] - 0.03 * size),
            (0.016 * size,) * 2,
            (0.05, 0.05, 0.05),
        ),
    ]
    for ear in (-0.09, 0.03):
        tip = head[0] + ear * size
        top = head[1] - 0.21 * size
        base = head[1] - 0.08 * size
        parts.append(
            polygon([(tip, top), (tip + 0.05 * size, base), (tip - 0.05 * size, base)], coat)
        )
    return parts


def _vehicle(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    paint = pick(rng, _VIVID)
    glass, tyre = jitter(rng, (0.55, 0.66, 0.74)), (0.07, 0.07, 0.08)
    length, height = 0.5 * size, 0.13 * size
    tall = rng.random() < 0.3
    cabin = (0.30 * size, 0.2 * size if tall else 0.12 * size)
    body_y = foot - 0.1 * size - height
    roof_y = body_y - height - cabin[1] + 0.03 * size
    parts = [
        shadow(x, foot, length),
        Part("box", (x, roof_y), cabin, paint),
        Part(
            "box",
            (x - 0.13 * size, roof_y + 0.01 * size),
            (0.115 * size, 0.7 * cabin[1]),
            glass,
            texture=0.3,
        ),
        Part(
            "box",
            (x + 0.13 * size, roof_y + 0.01 * size),
            (0.115 * size, 0.7 * cabin[1]),
            glass,
            texture=0.3,
        ),
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
    wall, roof = (
        pick(rng, WALLS + _VIVID[:2]),
        pick(rng, ((0.45, 0.18, 0.13), (0.28, 0.28, 0.30), (0.5, 0.34, 0.2))),
    )
    glass = jitter(rng, (0.25, 0.30, 0.38), 0.1)
    half_width = rng.uniform(0.22, 0.42) * size
    height = rng.uniform(0.5, 1.0) * size
    top = foot - height
    parts = [shadow(x, foot, 1.1 * half_width)]
    parts.append(
        Part(
            "box", (x, foot - height / 2), (half_width, height / 2), wall, texture=0.25, shade=0.35
        )
    )
    if rng.random() < 0.65:
        peak = top - rng.uniform(0.12, 0.3) * size
        eaves = 1.15 * half_width
        parts.append(polygon([(x, peak), (x + eaves, top), (x - eaves, top)], roof, texture=0.3))
    n_columns, n_rows = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    pane = (0.28 * half_width * 2 / n_columns, 0.26 * height / n_rows)
    for row in range(n_rows):
        for column in range(n_columns):
            centre = (
                x + half_width * (2 * (column + 0.5) / n_columns - 1),
                top + height * (row + 0.5) / n_rows,
            )
            parts.append(Part("box", centre, pane, glass, texture=0.2))
    return parts


def _tree(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    bark, leaf = jitter(rng, (0.30, 0.21, 0.14)), pick(rng, _LEAVES)
    parts = [shadow(x, foot, 0.3 * size)]
    parts.append(
        Part("box", (x, foot - 0.25 * size), (0.045 * size, 0.27 * size), bark, texture=0.4)
    )
    if rng.random() < 0.3:  # a conifer
        for level in range(4):
            y, half = foot - (0.3 + 0.2 * level) * size, (0.32 - 0.065 * level) * size
            points = [(x, y - 0.3 * size), (x + half, y), (x - half, y)]
            parts.append(polygon(points, jitter(rng, leaf, 0.03), texture=0.4, ruffle=0.12))
        return parts
    for _ in range(int(rng.integers(4, 8))):
        centre = (x + rng.normal(0, 0.14) * size, foot - rng.uniform(0.5, 0.85) * size)
        half_size = (rng.uniform(0.14, 0.24) * size, rng.uniform(0.12, 0.2) * size)
        parts.append(
            Part(
                "ellipse",
                centre,
                half_size,
                jitter(rng, leaf, 0.04),
                texture=0.5,
                ruffle=0.3,
                shade=0.5,
            )
        )
    return parts


def _boat(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    hull, sail = (
        pick(rng, _VIVID),
        pick(rng, ((0.94, 0.92, 0.88), (0.85, 0.3, 0.2), (0.9, 0.8, 0.5))),
    )
    deck = foot - 0.16 * size
    parts = [shadow(x, foot + 0.02 * size, 0.42 * size)]
    bow, keel = 0.45 * size, 0.3 * size
    parts.append(
        polygon(
            [(x - bow, deck), (x + bow, deck), (x + keel, foot), (x - keel, foot)], hull, shade=0.4
        )
    )
    parts.append(
        Part("box", (x, deck - 0.4 * size), (0.012 * size, 0.42 * size), (0.30, 0.22, 0.16))
    )
    mast_top, boom = deck - 0.8 * size, deck - 0.05 * size
    parts.append(
        polygon(
            [(x + 0.02 * size, mast_top), (x + 0.36 * size, boom), (x + 0.02 * size, boom)], sail
        )
    )
    parts.append(
        polygon(
            [
                (x - 0.02 * size, 0.9 * mast_top + 0.1 * boom),
                (x - 0.02 * size, boom),
                (x - 0.26 * size, boom),
            ],
            sail,
        )
    )
    return parts


def _food(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    y = foot - 0.2 * size
    plate = jitter(rng, (0.90, 0.89, 0.86))
    parts = [
        shadow(x, y + 0.04 * size, 0.56 * size),
        Part("ellipse", (x, y), (0.52 * size, 0.27 * size), plate, texture=0.05),
        Part("ellipse", (x, y), (0.40 * size, 0.20 * size), jitter(rng, plate, 0.02), texture=0.05),
    ]
    for _ in range(int(rng.integers(3, 10))):
        centre = (x + rng.normal(0, 0.16) * size, y + rng.normal(-0.03, 0.07) * size)
        radius = rng.uniform(0.06, 0.16) * size
        colour = pick(rng, _VIVID[:4] + _COATS[:2])
        half_size = (radius, radius * rng.uniform(0.5, 1))
        parts.append(
            Part("ellipse", centre, half_size, colour, texture=0.4, ruffle=0.15, shade=0.5)
        )
    return parts


def _flower(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    petal, heart = pick(rng, _VIVID), pick(rng, ((0.85, 0.68, 0.15), (0.32, 0.2, 0.1)))
    stem = jitter(rng, (0.22, 0.42, 0.16))
    y = foot - 0.68 * size
    parts = [Part("box", (x, foot - 0.33 * size), (0.018 * size, 0.35 * size), stem)]
    for side in (-1, 1):
        leaf = (x + side * 0.1 * size, foot - rng.uniform(0.2, 0.4) * size)
        parts.append(Part("ellipse", leaf, (0.12 * size, 0.045 * size), stem, angle=-side * 0.6))
    n_petals = int(rng.integers(5, 9))
    for angle in np.arange(n_petals) * 2 * np.pi / n_petals + rng.uniform(0, 1):
        centre = (x + 0.17 * size * np.cos(angle), y + 0.17 * size * np.sin(angle))
        parts.append(
            Part(
                "ellipse", centre, (0.15 * size, 0.08 * size), petal, angle=float(angle), shade=0.35
            )
        )
    parts.append(Part("ellipse", (x, y), (0.09 * size,) * 2, heart, texture=0.5))
    return parts


def _balloon(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    first, second = pick(rng, _VIVID), pick(rng, _VIVID)
    y = foot - 0.62 * size
    parts = [Part("ellipse", (x, y), (0.34 * size, 0.38 * size), first, shade=0.5)]
    stripes = ((0.22, second), (0.09, first))
    parts += [
        Part("ellipse", (x, y), (half * size, 0.38 * size), colour, shade=0.4)
        for half, colour in stripes
    ]
    parts.append(
        polygon(
            [
                (x - 0.12 * size, y + 0.34 * size),
                (x + 0.12 * size, y + 0.34 * size),
                (x + 0.05 * size, foot - 0.1 * size),
                (x - 0.05 * size, foot - 0.1 * size),
            ],
            (0.55, 0.45, 0.35),
            opacity=0.6,
        )
    )
    parts.append(
        Part(
            "box",
            (x, foot - 0.05 * size),
            (0.07 * size, 0.05 * size),
            (0.42, 0.28, 0.15),
            texture=0.4,
        )
    )
    return parts


def _vase(rng: np.random.Generator, x: float, foot: float, size: float) -> list[Part]:
    glaze = pick(rng, _VIVID)
    parts = [shadow(x, foot, 0.3 * size)]
    for _ in range(int(rng.integers(0, 5))):
        parts += _flower(rng, x + rng.normal(0, 0.1) * size, foot - 0.35 * size, 0.55 * size)
    neck = foot - 0.5 * size
    parts += [
        Part("box", (x, neck), (0.09 * size, 0.14 * size), glaze, shade=0.5),
        Part(
            "ellipse",
            (x, foot - 0.24 * size),
            (0.22 * size, 0.25 * size),
            glaze,
            shade=0.7,
            texture=0.1,
        ),
        Part(
            "ellipse", (x, neck - 0.13 * size), (0.11 * size, 0.03 * size), jitter(rng, glaze, 0.1)
        ),
    ]
    return parts


BUILDERS = {
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

"""Food of the second edition."""

from __future__ import annotations

import numpy as np

from ..edition import Category
from ..objects.parts import Part, Proportions
from .solids import ball, box, cyl, extrude, pillow, pipe, rod, rotate, spun, turn

_ROUND = ("tall", "low", "wide", "narrow")


def apple(p: Proportions, mode: str | None) -> list[Part]:
    r, h, stem, dip = p.width(0.7, 1.0), p.height(0.7, 1.0), p(0.25, 0.6), p(0.1, 0.25)
    a = np.linspace(-1.35, 1.35, 13)
    rows = [(r * (0.1 + 0.9 * float(np.cos(t)) ** 0.8), h * float(np.sin(t))) for t in a]
    rows = [(max(w, 0.05) * (1 + 0.08 * float(np.sin(t))), y) for (w, y), t in zip(rows, a)]
    body = turn([(0, rows[0][1] + 0.12), *rows, (0, rows[-1][1] - dip)], 26)
    parts: list[Part] = [
        (body, "main"),
        (rod((0, h - dip - 0.15, 0), (0.08, h + stem, 0), 0.05), "stem"),
    ]
    if mode == "leafy":
        parts.append((rotate(ball((0.32, 0.05, 0.15), (0.32, h + 0.06, 0)), "z", 16), "leaf"))
    return parts


def banana(p: Proportions, mode: str | None) -> list[Part]:
    r, bend, length = p.thickness(0.14, 0.26), p(0.9, 1.7), p.length(1.6, 2.4)
    blunt = p(0.5, 0.8)
    radius = length / bend
    a = np.linspace(-bend / 2, bend / 2, 12)
    path = np.stack([radius * np.sin(a), radius * (1 - np.cos(a)), 0 * a], -1)
    t = np.linspace(-1, 1, 12)
    thick = r * (1 - 0.75 * np.abs(t) ** (3 + 3 * blunt))
    fruit = pipe(path, thick.tolist(), 8)
    stem = pipe([path[-1], path[-1] + [0.06, 0.22, 0]], [r * 0.28, r * 0.34])
    tip = ball(r * 0.3, tuple(path[0].tolist()), 10, 7)
    one: list[Part] = [(fruit, "main"), (stem, "stem"), (tip, "dark")]
    if mode != "bunched":
        return one
    end = path[-1].astype(np.float32)
    parts: list[Part] = []
    for k in (-1, 0, 1):
        for (v, f), role in one:
            turned = rotate(rotate((v - end, f), "y", 34 * k), "x", 8 * k)
            parts.append((turned, role))
    return parts


def carrot(p: Proportions, mode: str | None) -> list[Part]:
    h, r, tip, tuft = p.length(1.3, 2.2), p.thickness(0.22, 0.45), p(0.1, 0.3), p(0.35, 0.8)
    profile = [
        (0, -h),
        (r * tip, -h * 0.94),
        (r * (0.35 + tip), -h * 0.5),
        (r, -0.12),
        (r * 0.7, 0),
        (0, 0.03),
    ]
    parts: list[Part] = [(turn(profile, 22), "main")]
    if mode == "bare":
        return [*parts, (cyl(r * 0.35, 0.2, (0, 0.08, 0)), "leaves")]
    leaf = pipe([(0, -0.06, 0), (0, tuft * 0.5, 0.12), (0, tuft, 0.36)], [0.07, 0.1, 0.03], 8)
    return [
        *parts,
        *spun(leaf, "leaves", 5),
        (rod((0, -0.05, 0), (0, tuft * 1.15, 0), 0.08, 0.04), "leaves"),
    ]


def cake(p: Proportions, mode: str | None) -> list[Part]:
    r, h, icing, n = p.width(0.7, 1.1), p.height(0.4, 0.9), p(0.08, 0.2), p(0.25, 0.5)
    if mode == "slice":
        wedge = [(0.0, -r), (r * n * 1.2, r * 0.5), (-r * n * 1.2, r * 0.5)]
        low = [(x, -y) for x, y in wedge][::-1]
        parts: list[Part] = [(extrude(low, h, (0, h / 2, 0), "y"), "main")]
        grown = [(x * 1.04, y * 1.04) for x, y in low]
        parts.append((extrude(grown, icing, (0, h, 0), "y"), "icing"))
        parts.append((extrude(grown, icing * 0.7, (0, h * 0.5, 0), "y"), "icing"))
        return [*parts, (ball(0.14, (0, h + 0.12, -0.3 * r), 12, 7), "cherries")]
    parts = [
        (cyl(r, h, (0, h / 2, 0), segments=30), "main"),
        (cyl(r * 1.04, icing, (0, h, 0), segments=30), "icing"),
    ]
    top = h + icing / 2
    if mode == "tiered":
        parts += [
            (cyl(r * 0.6, h * 0.8, (0, top + h * 0.38, 0), segments=26), "main"),
            (cyl(r * 0.63, icing, (0, top + h * 0.78, 0), segments=26), "icing"),
        ]
        return [*parts, *spun(ball(0.1, (0, top + 0.05, r * 0.82), 10, 6), "cherries", 8)]
    candle = cyl(0.045, 0.36, (0, top + 0.16, r * 0.66), segments=8)
    flame = ball((0.05, 0.09, 0.05), (0, top + 0.4, r * 0.66), 8, 6)
    return [*parts, *spun(candle, "candles", 5), *spun(flame, "carrot", 5)]


def icecream(p: Proportions, mode: str | None) -> list[Part]:
    r, cone, scoop = p.width(0.4, 0.6), p.height(1.0, 1.7), p(0.95, 1.15)
    squash = p(0.85, 1.0)
    if mode == "lolly":
        w, h = r * 1.3, cone * 0.9
        body = pillow((w, h, 0.36), (0, h / 2, 0), 4)
        return [(body, "main"), (box((0.16, 0.7, 0.09), (0, -0.22, 0)), "stick")]
    parts: list[Part] = [
        (
            turn(
                [(0, -cone), (0.06, -cone), (r, 0), (r * 1.06, 0.02), (r * 1.06, 0.14), (0, 0.16)],
                24,
            ),
            "wood",
        )
    ]
    s = r * scoop
    parts.append((ball((s, s * squash, s), (0, s * 0.6, 0), 22, 13), "main"))
    if mode == "double":
        parts.append(
            (ball((s * 0.85, s * 0.85 * squash, s * 0.85), (0, s * 1.85, 0), 22, 13), "top")
        )
    return parts


FOOD = (
    Category(
        name="apple",
        build=apple,
        modes=("bare", "leafy"),
        front=False,
        parts={"stem": "wood", "leaf": "leaf"},
        adjectives=_ROUND,
        size=0.12,
    ),
    Category(
        name="banana",
        build=banana,
        modes=("single", "bunched"),
        front=False,
        parts={"stem": "wood"},
        adjectives=("thick", "thin"),
        size=0.22,
    ),
    Category(
        name="carrot",
        build=carrot,
        modes=("leafy", "bare"),
        front=False,
        parts={"leaves": "leaf"},
        adjectives=("thick", "thin"),
        size=0.3,
    ),
    Category(
        name="cake",
        build=cake,
        modes=("candle", "tiered", "slice"),
        front=False,
        parts={"icing": "cream", "cherries": "roof", "candles": "cream"},
        adjectives=_ROUND,
        size=0.35,
    ),
    Category(
        name="icecream",
        build=icecream,
        modes=("cone", "double", "lolly"),
        front=False,
        parts={"top": "cream", "stick": "wood"},
        adjectives=("tall", "low"),
        size=0.2,
    ),
)

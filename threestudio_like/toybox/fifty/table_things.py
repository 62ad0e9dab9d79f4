"""Vessels and food of the second edition."""

from __future__ import annotations

import numpy as np

from ..edition import Category
from ..objects.parts import Part, Proportions
from .solids import ball, box, cyl, extrude, pair, pillow, pipe, rod, rotate, shift, spun, turn

_ROUND = ("tall", "low", "wide", "narrow")


def _arc(x: float, y: float, reach: float, tall: float, count: int = 11) -> list[tuple[float, float, float]]:
    a = np.linspace(np.pi / 2, -np.pi / 2, count)
    return [(x + reach * float(np.cos(t)), y + tall * float(np.sin(t)), 0.0) for t in a]


def mug(p: Proportions, mode: str | None) -> list[Part]:
    h, r, wall = p.height(0.8, 1.6), p.width(0.4, 0.7), p(0.05, 0.12)
    foot, reach, tall, thick = p(0.65, 1.05), p(0.25, 0.5), p(0.24, 0.38), p.thickness(0.05, 0.1)
    mid = 1.12 if mode == "round" else (1 + foot) / 2
    profile = [(0, 0), (r * foot, 0), (r * mid, h * 0.45), (r, h), (r - wall, h), (r * mid - wall, h * 0.45), (r * foot - wall, 0.12), (0, 0.12)]
    return [(turn(profile, 28), "main"), (pipe(_arc(r * 0.95, h * 0.52, reach, h * tall), thick), "handle")]


def bottle(p: Proportions, mode: str | None) -> list[Part]:
    body, r, neck = p.height(0.8, 1.8), p.width(0.3, 0.6), p(0.3, 0.9)
    n, shoulder, cap = p(0.28, 0.5) * r, p(0.15, 0.5), p(0.1, 0.25)
    top = body + shoulder
    parts: list[Part] = []
    if mode == "square":
        s = r * 1.7
        parts += [(box((s, body, s), (0, body / 2, 0)), "main"), (box((s, shoulder, s), (0, body + shoulder / 2, 0), 2 * n / s), "main"), (cyl(n, neck + 0.1, (0, top + neck / 2 - 0.05, 0)), "main")]
    else:
        profile = [(0, 0), (r, 0), (r, body), (r * 0.85, body + shoulder * 0.45), (n, top), (n, top + neck), (0, top + neck)]
        parts.append((turn(profile, 24), "main"))
    label = cyl(r * 1.02, body * 0.4, (0, body * 0.5, 0), segments=24) if mode != "square" else box((r * 1.74, body * 0.4, r * 1.74), (0, body * 0.5, 0))
    return [*parts, (label, "label"), (cyl(n * 1.2, cap, (0, top + neck + cap / 2 - 0.03, 0)), "cap")]


def vase(p: Proportions, mode: str | None) -> list[Part]:
    from scipy.interpolate import PchipInterpolator

    h, belly, foot = p.height(1.0, 2.2), p.width(0.4, 0.8), p(0.18, 0.4)
    neck, lip, where = p(0.14, 0.3), p(0.2, 0.5), p(0.28, 0.55)
    high = 0.85 if mode == "handled" else 0.78
    knots = np.array([[foot, 0], [belly, where * h], [neck, high * h], [lip, h]])
    y = np.linspace(0, h, 15)
    radius = PchipInterpolator(knots[:, 1], knots[:, 0])(y)
    inside = [(lip * 0.8, h), (neck * 0.7, high * h), (neck * 0.6, 0.6 * h), (0, 0.55 * h)]
    parts: list[Part] = [(turn([(0.0, 0.0), *zip(radius.tolist(), y.tolist()), *inside], 28), "main")]
    if mode == "handled":
        path = [(neck * 0.9, high * h, 0), (belly * 0.9 + 0.1, high * h, 0), (belly + 0.15, (where + 0.3) * h, 0), (belly * 0.9, (where + 0.06) * h, 0)]
        parts += pair(pipe(path, 0.06), "handles")
    return parts


def teapot(p: Proportions, mode: str | None) -> list[Part]:
    r, h, spout = p.width(0.5, 0.75), p.height(0.7, 1.1), p.length(0.3, 0.6)
    thick, lid, reach = p.thickness(0.05, 0.1), p(0.45, 0.65), p(0.25, 0.45)
    if mode == "coffee":
        h *= 1.6
        body = turn([(0, 0), (r * 0.9, 0), (r, h * 0.25), (r * lid, h), (0, h)], 26)
    else:
        a = np.linspace(-1.1, 1.1, 11)
        body = turn([(0, 0), *[(r * float(np.cos(t)), h * (0.5 + 0.56 * float(np.sin(t)))) for t in a], (0, h)], 26)
    parts: list[Part] = [(body, "main"), (ball((r * lid, 0.14, r * lid), (0, h * 0.99, 0)), "lid"), (ball(0.1, (0, h + 0.2, 0), 12, 7), "lid")]
    begin = (r * 0.75, h * 0.35, 0)
    path = [begin, (r + spout * 0.5, h * 0.5, 0), (r + spout, h * 0.92, 0), (r + spout * 1.25, h * 0.98, 0)]
    parts.append((pipe(path, [0.17, 0.13, 0.09, 0.08]), "spout"))
    handle = [(-x, y, z) for x, y, z in _arc(r * 0.8, h * 0.55, reach, h * 0.3)]
    return [*parts, (pipe(handle, thick), "handle")]


def bowl(p: Proportions, mode: str | None) -> list[Part]:
    r, h, foot, wall = p.width(0.7, 1.1), p.height(0.4, 0.8), p(0.3, 0.5), p.thickness(0.05, 0.1)
    a = np.linspace(0.15, np.pi / 2, 8)
    out = [(r * float(np.sin(t)), h * (1 - float(np.cos(t)))) for t in a]
    inner = [((r - wall) * float(np.sin(t)), h - (h - wall) * float(np.cos(t))) for t in a[::-1]]
    parts: list[Part] = [(turn([(0, out[0][1] * 0.5), *out, *inner, (0, wall * 1.05)], 28), "main")]
    high = 0.4 if mode == "footed" else 0.1
    parts.append((cyl(r * foot, high, (0, 0.06 - high / 2, 0), top=r * foot * (0.5 if mode == "footed" else 1.05), segments=24), "foot"))
    return parts


def barrel(p: Proportions, mode: str | None) -> list[Part]:
    h, r, bulge, band = p.length(1.2, 2.2), p.width(0.42, 0.7), p(1.08, 1.4), p(0.06, 0.14)
    line = np.linspace(-0.5, 0.5, 11)
    sizes = [(r * (1 + (bulge - 1) * (1 - (2 * float(y)) ** 2)), float(y) * h) for y in line]
    axis = "z" if mode == "lying" else "y"
    lift = (0.0, 0.0, 0.0)
    parts: list[Part] = [(turn([(0, -h / 2), *sizes, (0, h / 2)], 26, lift, axis), "main")]
    for y in (-0.42, -0.18, 0.18, 0.42):
        radius = r * (1 + (bulge - 1) * (1 - (2 * y) ** 2)) * 1.03
        at = (0.0, y * h, 0.0) if axis == "y" else (0.0, 0.0, y * h)
        parts.append((cyl(radius, band * h * 0.6, at, axis, segments=26), "bands"))
    if axis == "z":
        low = -r * bulge * 0.85
        for z in (-0.25, 0.25):
            parts.append((box((r * 1.6, r * 0.5, 0.12), (0, low, z * h)), "wood"))
    return parts


def box_(p: Proportions, mode: str | None) -> list[Part]:
    x, y, z, rim = p.width(0.7, 1.5), p.height(0.5, 1.4), p.length(0.7, 1.4), p(0.08, 0.22)
    if mode == "open":
        t = 0.07
        parts: list[Part] = [(box((x, t, z), (0, t / 2, 0)), "main")]
        parts += pair(box((t, y, z), ((x - t) / 2, y / 2, 0)), "main")
        for s in (-1, 1):
            parts.append((box((x - 0.01, y - 0.01, t), (0, y / 2, s * (z - t) / 2 * 0.99)), "main"))
            flap = rotate(box((x * 0.96, 0.05, z * 0.4), (0, 0, z * 0.18)), "x", 35)
            flap = shift(flap, (0, y - 0.02, z / 2 - 0.02))
            parts.append((flap if s > 0 else rotate(flap, "y", 180), "lid"))
        return parts
    return [(box((x, y, z), (0, y / 2, 0)), "main"), (box((x * 1.05, rim, z * 1.05), (0, y, 0)), "lid")]


def apple(p: Proportions, mode: str | None) -> list[Part]:
    r, h, stem, dip = p.width(0.7, 1.0), p.height(0.7, 1.0), p(0.25, 0.6), p(0.1, 0.25)
    a = np.linspace(-1.35, 1.35, 13)
    rows = [(r * (0.1 + 0.9 * float(np.cos(t)) ** 0.8), h * float(np.sin(t))) for t in a]
    rows = [(max(w, 0.05) * (1 + 0.08 * float(np.sin(t))), y) for (w, y), t in zip(rows, a)]
    body = turn([(0, rows[0][1] + 0.12), *rows, (0, rows[-1][1] - dip)], 26)
    parts: list[Part] = [(body, "main"), (rod((0, h - dip - 0.15, 0), (0.08, h + stem, 0), 0.05), "stem")]
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
            turned = rotate((v - end, f), "x", 26 * k)
            parts.append((turned, role))
    return parts


def carrot(p: Proportions, mode: str | None) -> list[Part]:
    h, r, tip, tuft = p.length(1.3, 2.2), p.thickness(0.22, 0.45), p(0.1, 0.3), p(0.35, 0.8)
    profile = [(0, -h), (r * tip, -h * 0.94), (r * (0.35 + tip), -h * 0.5), (r, -0.12), (r * 0.7, 0), (0, 0.03)]
    parts: list[Part] = [(turn(profile, 22), "main")]
    if mode == "bare":
        return [*parts, (cyl(r * 0.35, 0.2, (0, 0.08, 0)), "leaves")]
    leaf = pipe([(0, -0.06, 0), (0, tuft * 0.5, 0.12), (0, tuft, 0.36)], [0.07, 0.1, 0.03], 8)
    return [*parts, *spun(leaf, "leaves", 5), (rod((0, -0.05, 0), (0, tuft * 1.15, 0), 0.08, 0.04), "leaves")]


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
    parts = [(cyl(r, h, (0, h / 2, 0), segments=30), "main"), (cyl(r * 1.04, icing, (0, h, 0), segments=30), "icing")]
    top = h + icing / 2
    if mode == "tiered":
        parts += [(cyl(r * 0.6, h * 0.8, (0, top + h * 0.38, 0), segments=26), "main"), (cyl(r * 0.63, icing, (0, top + h * 0.78, 0), segments=26), "icing")]
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
    parts: list[Part] = [(turn([(0, -cone), (0.06, -cone), (r, 0), (r * 1.06, 0.02), (r * 1.06, 0.14), (0, 0.16)], 24), "wood")]
    s = r * scoop
    parts.append((ball((s, s * squash, s), (0, s * 0.6, 0), 22, 13), "main"))
    if mode == "double":
        parts.append((ball((s * 0.85, s * 0.85 * squash, s * 0.85), (0, s * 1.85, 0), 22, 13), "top"))
    return parts


TABLE_THINGS = (
    Category(name="mug", build=mug, modes=("straight", "round"), parts={"handle": "main"}, adjectives=_ROUND, size=0.12),
    Category(name="bottle", build=bottle, modes=("round", "square"), front=False, parts={"cap": "dark", "label": "cream"}, adjectives=_ROUND, size=0.3),
    Category(name="vase", build=vase, modes=("smooth", "handled"), front=False, parts={"handles": "main"}, adjectives=_ROUND, size=0.35),
    Category(name="teapot", build=teapot, modes=("tea", "coffee"), parts={"lid": "main", "spout": "main", "handle": "main"}, adjectives=_ROUND, materials=("metal",), size=0.3),
    Category(name="bowl", build=bowl, modes=("flat", "footed"), front=False, parts={"foot": "main"}, adjectives=_ROUND, materials=("wooden", "metal"), size=0.25),
    Category(name="barrel", build=barrel, modes=("upright", "lying"), front=False, parts={"bands": "metal"}, adjectives=("wide", "narrow"), materials=("wooden",), size=1.0),
    Category(name="box", build=box_, modes=("closed", "open"), front=False, parts={"lid": "wood"}, adjectives=_ROUND, materials=("wooden",), plural="boxes", size=0.6),
    Category(name="apple", build=apple, modes=("bare", "leafy"), front=False, parts={"stem": "wood", "leaf": "leaf"}, adjectives=_ROUND, size=0.12),
    Category(name="banana", build=banana, modes=("single", "bunched"), front=False, parts={"stem": "wood"}, adjectives=("thick", "thin"), size=0.22),
    Category(name="carrot", build=carrot, modes=("leafy", "bare"), front=False, parts={"leaves": "leaf"}, adjectives=("thick", "thin"), size=0.3),
    Category(name="cake", build=cake, modes=("candle", "tiered", "slice"), front=False, parts={"icing": "cream", "cherries": "roof", "candles": "cream"}, adjectives=_ROUND, size=0.35),
    Category(name="icecream", build=icecream, modes=("cone", "double", "lolly"), front=False, parts={"top": "cream", "stick": "wood"}, adjectives=("tall", "low"), size=0.2),
)

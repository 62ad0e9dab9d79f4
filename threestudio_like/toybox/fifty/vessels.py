"""Vessels of the second edition."""

from __future__ import annotations

import numpy as np

from ..edition import Category
from ..objects.parts import Part, Proportions, bottle_outline
from .solids import ball, box, cyl, pair, pipe, rotate, shift, turn

_ROUND = ("tall", "low", "wide", "narrow")


def _arc(
    x: float, y: float, reach: float, tall: float, count: int = 11
) -> list[tuple[float, float, float]]:
    a = np.linspace(np.pi / 2, -np.pi / 2, count)
    return [(x + reach * float(np.cos(t)), y + tall * float(np.sin(t)), 0.0) for t in a]


def mug(p: Proportions, mode: str | None) -> list[Part]:
    h, r, wall = p.height(0.8, 1.6), p.width(0.4, 0.7), p(0.05, 0.12)
    foot, reach, tall, thick = p(0.65, 1.05), p(0.25, 0.5), p(0.24, 0.38), p.thickness(0.05, 0.1)
    mid = 1.12 if mode == "round" else (1 + foot) / 2
    profile = [
        (0, 0),
        (r * foot, 0),
        (r * mid, h * 0.45),
        (r, h),
        (r - wall, h),
        (r * mid - wall, h * 0.45),
        (r * foot - wall, 0.12),
        (0, 0.12),
    ]
    return [
        (turn(profile, 28), "main"),
        (pipe(_arc(r * 0.95, h * 0.52, reach, h * tall), thick), "handle"),
    ]


def bottle(p: Proportions, mode: str | None) -> list[Part]:
    body, r, neck = p.height(0.8, 1.8), p.width(0.3, 0.6), p(0.3, 0.9)
    n, shoulder, cap = p(0.28, 0.5) * r, p(0.15, 0.5), p(0.1, 0.25)
    top = body + shoulder
    parts: list[Part] = []
    if mode == "square":
        s = r * 1.7
        parts += [
            (box((s, body, s), (0, body / 2, 0)), "main"),
            (box((s, shoulder, s), (0, body + shoulder / 2, 0), 2 * n / s), "main"),
            (cyl(n, neck + 0.1, (0, top + neck / 2 - 0.05, 0)), "main"),
        ]
    else:
        parts.append((turn(bottle_outline(r, body, shoulder, n, neck), 24), "main"))
    label = (
        cyl(r * 1.02, body * 0.4, (0, body * 0.5, 0), segments=24)
        if mode != "square"
        else box((r * 1.74, body * 0.4, r * 1.74), (0, body * 0.5, 0))
    )
    return [
        *parts,
        (label, "label"),
        (cyl(n * 1.2, cap, (0, top + neck + cap / 2 - 0.03, 0)), "cap"),
    ]


def vase(p: Proportions, mode: str | None) -> list[Part]:
    from scipy.interpolate import PchipInterpolator

    h, belly, foot = p.height(1.0, 2.2), p.width(0.4, 0.8), p(0.18, 0.4)
    neck, lip, where = p(0.14, 0.3), p(0.2, 0.5), p(0.28, 0.55)
    high = 0.85 if mode == "handled" else 0.78
    knots = np.array([[foot, 0], [belly, where * h], [neck, high * h], [lip, h]])
    y = np.linspace(0, h, 15)
    radius = PchipInterpolator(knots[:, 1], knots[:, 0])(y)
    inside = [(lip * 0.8, h), (neck * 0.7, high * h), (neck * 0.6, 0.6 * h), (0, 0.55 * h)]
    parts: list[Part] = [
        (turn([(0.0, 0.0), *zip(radius.tolist(), y.tolist()), *inside], 28), "main")
    ]
    if mode == "handled":
        # From the neck round to the belly, its middle farther out than the belly.
        a = np.linspace(0, np.pi, 10)
        down = (1 - np.cos(a)) / 2
        out = belly + 0.18 - 0.45 * (neck + belly)
        x = 0.85 * (neck + (belly - neck) * down) + out * np.sin(a)
        rise = high + (where + 0.06 - high) * down
        parts += pair(pipe(np.stack([x, rise * h, 0 * a], 1), 0.06), "handles")
    return parts


def teapot(p: Proportions, mode: str | None) -> list[Part]:
    r, h, spout = p.width(0.5, 0.75), p.height(0.7, 1.1), p.length(0.3, 0.6)
    thick, lid, reach = p.thickness(0.05, 0.1), p(0.45, 0.65), p(0.25, 0.45)
    if mode == "coffee":
        h *= 1.6
        body = turn([(0, 0), (r * 0.9, 0), (r, h * 0.25), (r * lid, h), (0, h)], 26)
    else:
        a = np.linspace(-1.1, 1.1, 11)
        body = turn(
            [
                (0, 0),
                *[(r * float(np.cos(t)), h * (0.5 + 0.56 * float(np.sin(t)))) for t in a],
                (0, h),
            ],
            26,
        )
    parts: list[Part] = [
        (body, "main"),
        (ball((r * lid, 0.14, r * lid), (0, h * 0.99, 0)), "lid"),
        (ball(0.1, (0, h + 0.2, 0), 12, 7), "lid"),
    ]
    begin = (r * 0.75, h * 0.35, 0)
    path = [
        begin,
        (r + spout * 0.5, h * 0.5, 0),
        (r + spout, h * 0.92, 0),
        (r + spout * 1.25, h * 0.98, 0),
    ]
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
    parts.append(
        (
            cyl(
                r * foot,
                high,
                (0, 0.06 - high / 2, 0),
                top=r * foot * (0.5 if mode == "footed" else 1.05),
                segments=24,
            ),
            "foot",
        )
    )
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
    return [
        (box((x, y, z), (0, y / 2, 0)), "main"),
        (box((x * 1.05, rim, z * 1.05), (0, y, 0)), "lid"),
    ]


VESSELS = (
    Category(
        name="mug",
        build=mug,
        modes=("straight", "round"),
        parts={"handle": "main"},
        adjectives=_ROUND,
        size=0.12,
    ),
    Category(
        name="bottle",
        build=bottle,
        modes=("round", "square"),
        front=False,
        parts={"cap": "dark", "label": "cream"},
        adjectives=_ROUND,
        size=0.3,
    ),
    Category(
        name="vase",
        build=vase,
        modes=("smooth", "handled"),
        front=False,
        parts={"handles": "main"},
        adjectives=_ROUND,
        size=0.35,
    ),
    Category(
        name="teapot",
        build=teapot,
        modes=("tea", "coffee"),
        parts={"lid": "main", "spout": "main", "handle": "main"},
        adjectives=_ROUND,
        materials=("metal",),
        size=0.3,
    ),
    Category(
        name="bowl",
        build=bowl,
        modes=("flat", "footed"),
        front=False,
        parts={"foot": "main"},
        adjectives=_ROUND,
        materials=("wooden", "metal"),
        size=0.25,
    ),
    Category(
        name="barrel",
        build=barrel,
        modes=("upright", "lying"),
        front=False,
        parts={"bands": "metal"},
        adjectives=("wide", "narrow"),
        materials=("wooden",),
        size=1.0,
    ),
    Category(
        name="box",
        build=box_,
        modes=("closed", "open"),
        front=False,
        parts={"lid": "wood"},
        adjectives=_ROUND,
        materials=("wooden",),
        plural="boxes",
        size=0.6,
    ),
)

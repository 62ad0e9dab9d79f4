"""Vehicles on roads and rails of the second edition."""

from __future__ import annotations

import numpy as np

from ..edition import Category
from ..objects.parts import Part, Proportions
from .solids import ball, box, cyl, extrude, loft, pair, ring, rod

_LONG = ("long", "short", "wide", "narrow", "tall", "low")


def _wheels(width: float, places: list[float], radius: float, thick: float) -> list[Part]:
    parts: list[Part] = []
    for z in places:
        parts += pair(cyl(radius, thick, (width / 2, radius, z), "x"), "wheels")
        parts += pair(
            cyl(radius * 0.5, thick + 0.03, (width / 2, radius, z), "x", segments=12), "metal"
        )
    return parts


def _lights(width: float, y: float, front: float) -> list[Part]:
    return pair(cyl(0.07, 0.08, (width * 0.33, y, front), "z", segments=12), "cream")


def car(p: Proportions, mode: str | None) -> list[Part]:
    length, width, h = p.length(1.7, 2.9), p.width(0.8, 1.2), p.height(0.3, 0.5)
    wheel, roof, share = p(0.18, 0.3), p.height(0.26, 0.5), p(0.4, 0.62)
    base, nose = wheel * 0.7, p(0.6, 0.9)
    half, top = length / 2, base + h
    profile = [
        (-half, base),
        (half, base),
        (half, base + h * nose),
        (half * 0.9, top),
        (-half * 0.96, top),
        (-half, top - 0.06),
    ]
    parts: list[Part] = [(extrude(profile, width, axis="x"), "main")]
    cabin, back = length * share, -0.06 * length
    if mode == "pickup":
        cabin, back = length * 0.36, length * 0.04
        parts += pair(
            box((0.07, 0.16, half * 0.66), (width * 0.46, top + 0.07, -half * 0.62)), "main"
        )
        parts.append((box((width * 0.95, 0.16, 0.07), (0, top + 0.07, -half * 0.93)), "main"))
    elif mode == "sports":
        roof, back = roof * 0.7, -0.16 * length
        parts.append((box((width, 0.05, 0.2), (0, top + 0.2, -half * 0.93)), "main"))
        parts += pair(box((0.06, 0.24, 0.12), (width * 0.35, top + 0.09, -half * 0.93)), "main")
    parts.append(
        (
            box((width * 0.88, roof, cabin), (0, top + roof / 2 - 0.01, back), 0.86, taper_z=0.7),
            "windows",
        )
    )
    parts.append((box((width * 0.78, 0.06, cabin * 0.7), (0, top + roof, back)), "main"))
    parts += _wheels(width * 0.94, [half * 0.62, -half * 0.62], wheel, 0.18)
    return parts + _lights(width, base + h * nose * 0.7, half)


def truck(p: Proportions, mode: str | None) -> list[Part]:
    length, width, h = p.length(1.6, 2.8), p.width(0.8, 1.1), p.height(0.8, 1.3)
    cab, wheel, low = p(0.5, 0.75), p(0.18, 0.28), p(0.85, 1.1)
    base, half = wheel * 1.2, length / 2
    parts: list[Part] = [(box((width * 0.8, 0.12, length + cab), (0, base, cab / 2)), "dark")]
    tall = h * 0.8 * low
    parts.append((box((width, tall, cab), (0, base + tall / 2, half + cab / 2 + 0.03)), "main"))
    parts.append(
        (
            box((width * 0.86, tall * 0.36, 0.06), (0, base + tall * 0.7, half + cab + 0.03)),
            "windows",
        )
    )
    parts += pair(
        box((0.06, tall * 0.34, cab * 0.5), (width / 2, base + tall * 0.7, half + cab * 0.6)),
        "windows",
    )
    if mode == "tipper":
        tray = [
            (-half, base + h * 0.55),
            (-half * 0.8, base + 0.05),
            (half * 0.96, base + 0.05),
            (half * 0.96, base + h * 0.55),
            (half * 0.84, base + h * 0.55),
            (half * 0.84, base + 0.18),
            (-half * 0.72, base + 0.18),
            (-half * 0.9, base + h * 0.55),
        ]
        parts.append((extrude(tray, width * 0.9, axis="x"), "load"))
        parts += pair(
            extrude(
                [
                    (-half * 0.94, base + h * 0.55),
                    (-half * 0.76, base + 0.1),
                    (half * 0.9, base + 0.1),
                    (half * 0.9, base + h * 0.55),
                ],
                0.08,
                (width * 0.48, 0, 0),
                "x",
            ),
            "load",
        )
    else:
        parts.append(
            (box((width * 1.02, h, length * 0.97), (0, base + h / 2 + 0.04, -0.01)), "load")
        )
    parts += _wheels(
        width * 0.9, [half + cab * 0.5, -half * 0.35, -half * 0.35 - 2.2 * wheel], wheel, 0.2
    )
    return parts + _lights(width, base + 0.15, half + cab + 0.03)


def bus(p: Proportions, mode: str | None) -> list[Part]:
    length, width, h = p.length(2.2, 3.6), p.width(0.75, 1.05), p.height(0.75, 1.1)
    wheel, glass, floor = p(0.16, 0.24), p(0.28, 0.42), p(0.9, 1.3)
    base, half = wheel * floor, length / 2
    rows = 2 if mode == "decker" else 1
    total = h * (1.65 if rows == 2 else 1)
    parts: list[Part] = [
        (box((width, total, length), (0, base + total / 2, 0), 0.94, taper_z=0.98), "main")
    ]
    for row in range(rows):
        y, n = base + h * 0.66 + row * h * 0.72, 5
        pane = length * 0.86 / n
        for k in range(n):
            z = (k - (n - 1) / 2) * pane
            parts += pair(box((0.08, h * glass, pane * 0.78), (width * 0.48, y, z)), "windows")
        parts.append((box((width * 0.84, h * glass, 0.08), (0, y, half * 0.99)), "windows"))
        parts.append((box((width * 0.7, h * glass * 0.8, 0.08), (0, y, -half * 0.99)), "windows"))
    if mode == "school":
        parts.append((box((width * 0.86, h * 0.48, 0.5), (0, base + h * 0.24, half + 0.2)), "main"))
        parts += _lights(width * 0.86, base + h * 0.26, half + 0.45)
    else:
        parts += _lights(width, base + h * 0.2, half)
    return parts + _wheels(width * 0.93, [half * 0.62, -half * 0.62], wheel, 0.16)


def train(p: Proportions, mode: str | None) -> list[Part]:
    length, width, h = p.length(1.8, 2.8), p.width(0.7, 1.0), p.height(0.6, 0.9)
    wheel, cab, chimney = p(0.15, 0.24), p(0.3, 0.4), p(0.25, 0.5)
    half, base = length / 2, 1.5 * wheel
    places = [half * 0.7, half * 0.25, -half * 0.25, -half * 0.7]
    parts: list[Part] = _wheels(width * 0.8, places, wheel, 0.12)
    parts.append((box((width, 0.16, length), (0, base, 0)), "dark"))
    if mode == "express":
        nose = [
            (-half, base + h * 0.5, width / 2, h / 2),
            (half * 0.3, base + h * 0.5, width / 2, h / 2),
            (half * 0.8, base + h * 0.42, width * 0.4, h * 0.4),
            (half * 1.25, base + h * 0.2, width * 0.12, h * 0.12),
        ]
        parts.append((loft(nose, 20, power=4), "main"))
        for z in (-0.7, -0.3, 0.1):
            parts += pair(
                box((0.06, h * 0.28, half * 0.3), (width / 2, base + h * 0.62, half * z)), "windows"
            )
        return parts
    r, deep = h * 0.5, length * cab
    boiler = length - deep
    parts.append((cyl(r, boiler, (0, base + r, half - boiler / 2), "z", segments=22), "main"))
    parts.append((cyl(r * 0.7, 0.1, (0, base + r, half), "z"), "dark"))
    parts.append(
        (
            cyl(
                r * 0.28,
                chimney + 0.2,
                (0, base + 2 * r + chimney / 2 - 0.1, half - 0.3),
                top=r * 0.42,
            ),
            "chimney",
        )
    )
    parts.append((ball(r * 0.4, (0, base + 2 * r, half - boiler * 0.6)), "chimney"))
    tall = h * 1.35
    parts.append(
        (box((width * 0.96, tall, deep), (0, base + tall / 2 + 0.05, -half + deep / 2)), "main")
    )
    parts.append(
        (box((width * 1.08, 0.1, deep * 1.15), (0, base + tall + 0.06, -half + deep / 2)), "dark")
    )
    return parts + pair(
        box((0.06, tall * 0.3, deep * 0.5), (width * 0.48, base + tall * 0.7, -half + deep / 2)),
        "windows",
    )


def bicycle(p: Proportions, mode: str | None) -> list[Part]:
    r, gap, t = p(0.42, 0.58), p.length(1.2, 1.6), p.thickness(0.03, 0.055)
    saddle, bar, wide = p.height(0.9, 1.2), p(0.95, 1.2), p.width(0.4, 0.7)
    if mode == "tandem":
        gap *= 1.5
    z = gap / 2
    parts: list[Part] = []
    for k in (-z, z):
        parts.append((ring(r, t * 1.4, (0, r, k), "x", 26), "wheels"))
        parts.append((cyl(t * 1.6, 0.12, (0, r, k), "x", segments=10), "metal"))
        for n in range(4):
            a = n * np.pi / 4
            d = (0.0, r * np.sin(a), r * np.cos(a))
            parts.append(
                (rod((0, r - d[1], k - d[2]), (0, r + d[1], k + d[2]), 0.012, segments=5), "metal")
            )
    seats = (-z * 0.35, z * 0.3) if mode == "tandem" else (-z * 0.35,)
    head = (0, r + bar * 0.55, z * 0.72)
    for s in seats:
        low, high = (0, r * 0.8, s + 0.12), (0, saddle, s - 0.06)
        parts += [
            (rod(low, high, t), "frame"),
            (rod(low, (0, head[1] - 0.1, head[2]), t), "frame"),
            (rod((0, saddle * 0.9, s - 0.04), head, t), "frame"),
        ]
        parts.append((ball((0.11, 0.05, 0.2), (0, saddle + 0.02, s - 0.05)), "saddle"))
        parts.append((cyl(0.13, 0.05, (0.05, low[1], low[2]), "x", segments=14), "metal"))
    back = (0, r * 0.8, seats[0] + 0.12)
    parts += [
        (rod((0, r, -z), back, t), "frame"),
        (rod((0, r, -z), (0, saddle * 0.85, seats[0] - 0.03), t), "frame"),
    ]
    top = (0, r + bar * 0.75, z * 0.62)
    parts += [
        (rod((0, r, z), top, t), "frame"),
        (rod((-wide / 2, top[1], top[2]), (wide / 2, top[1], top[2]), t), "dark"),
    ]
    return [(q, "main" if role == "frame" else role) for q, role in parts]


VEHICLES = (
    Category(
        name="car",
        build=car,
        modes=("saloon", "pickup", "sports"),
        parts={"wheels": "dark", "windows": "glass"},
        adjectives=_LONG,
        size=4.5,
    ),
    Category(
        name="truck",
        build=truck,
        modes=("closed", "tipper"),
        parts={"load": "cream", "wheels": "dark", "windows": "glass"},
        adjectives=_LONG,
        size=8.0,
    ),
    Category(
        name="bus",
        build=bus,
        modes=("city", "school", "decker"),
        parts={"wheels": "dark", "windows": "glass"},
        adjectives=_LONG,
        plural="buses",
        size=11.0,
    ),
    Category(
        name="train",
        build=train,
        modes=("steam", "express"),
        parts={"wheels": "dark", "chimney": "dark", "windows": "glass"},
        adjectives=("long", "short"),
        size=12.0,
    ),
    Category(
        name="bicycle",
        build=bicycle,
        modes=("single", "tandem"),
        parts={"wheels": "dark", "saddle": "dark"},
        adjectives=("long", "short"),
        size=2.0,
    ),
)

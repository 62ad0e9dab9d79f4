"""Ships and aircraft of the second edition."""

from __future__ import annotations

import numpy as np

from ..edition import Category
from ..objects.parts import Part, Proportions
from .solids import ball, box, cyl, extrude, loft, pair, rod, rotate, shift, spun, turn


def boat(p: Proportions, mode: str | None) -> list[Part]:
    length, width, h = p.length(1.6, 2.8), p.width(0.6, 1.1), p(0.35, 0.6)
    mast, keel, boom = p.height(1.1, 2.2), p(0.5, 0.8), p(0.7, 0.95)
    half = length / 2
    rows = [
        (-half, 0, width * 0.38, h * 0.5),
        (-half * 0.3, 0, width / 2, h * 0.5),
        (half * 0.3, 0, width * 0.42, h * 0.5),
        (half * 0.75, 0.03, width * 0.22, h * 0.5),
        (half, 0.06, width * 0.03, h * 0.42),
    ]
    hull = loft(rows, 20, (0, h / 2, 0), power=5)
    hull[0][:, 0] *= np.where(hull[0][:, 1] < h / 2, keel, 1.0).astype(np.float32)
    parts: list[Part] = [(hull, "main")]
    if mode == "motor":
        parts.append(
            (
                box((width * 0.66, 0.4, half * 0.7), (0, h + 0.18, -half * 0.2), 0.85, taper_z=0.8),
                "cabin",
            )
        )
        parts.append((box((width * 0.6, 0.16, half * 0.1), (0, h + 0.26, half * 0.12)), "windows"))
        return [*parts, (cyl(0.12, 0.4, (0, h + 0.5, -half * 0.35)), "dark")]
    if mode == "rowing":
        parts.append(
            (box((width * 0.9, 0.06, length * 0.86), (0, h * 0.98, -half * 0.08), 0.9), "cabin")
        )
        for z in (-0.4, 0.1):
            parts.append((box((width * 0.94, 0.1, 0.2), (0, h + 0.04, half * z)), "wood"))
        oar = rod((width * 0.3, h + 0.14, 0), (width * 1.1, h * 0.4, 0.0), 0.04)
        blade = ball((0.2, 0.1, 0.03), (width * 1.15, h * 0.36, 0.0))
        return [*parts, *pair(oar, "wood"), *pair(blade, "wood")]
    parts.append((cyl(0.06, mast, (0, h + mast / 2 - 0.06, 0.1), segments=10), "wood"))
    sail = extrude(
        [(-half * boom, h + 0.2), (0.06, h + 0.2), (0.06, h + mast * 0.95)], 0.07, axis="x"
    )
    jib = extrude([(0.12, h + 0.16), (half * 0.9, h + 0.1), (0.12, h + mast * 0.7)], 0.05, axis="x")
    return [*parts, (shift(sail, (0, 0, 0.04)), "sail"), (jib, "sail")]


def aeroplane(p: Proportions, mode: str | None) -> list[Part]:
    length, span, r = p.length(1.8, 2.8), p.width(1.6, 2.8), p.thickness(0.16, 0.3)
    chord, sweep, fin = p(0.3, 0.55), p(0.0, 0.5), p.height(0.35, 0.6)
    half = length / 2
    body = [
        (-half, r * 0.5, r * 0.15, r * 0.15),
        (-half * 0.5, r * 0.15, r * 0.7, r * 0.7),
        (0, 0, r, r),
        (half * 0.6, 0, r, r),
        (half * 0.88, -r * 0.1, r * 0.7, r * 0.7),
        (half, -r * 0.15, r * 0.25, r * 0.25),
    ]
    parts: list[Part] = [(loft(body, 20), "main")]
    jet = mode == "jet"
    lean = sweep + (0.4 if jet else 0.0)

    def wing(reach: float, deep: float, z: float, y: float) -> None:
        plan = [
            (r * 0.3, -z - deep * 0.5),
            (reach, -z + lean * reach * 0.5 + deep * 0.1 - deep * 0.2),
            (reach, -z + lean * reach * 0.5 + deep * 0.4),
            (r * 0.3, -z + deep * 0.5),
        ]
        outline = [(x, -w) for x, w in plan][::-1]
        parts.extend(pair(extrude(outline, 0.08, (0, y, 0), "y"), "wings"))

    wing(span / 2, chord + 0.15, half * 0.1, -r * 0.3)
    wing(span * 0.2, chord * 0.6, -half * 0.82, r * 0.5)
    tail = [
        (-half, r * 0.4),
        (-half * 0.72, r * 0.5),
        (-half * 0.88, r * 0.4 + fin),
        (-half * 1.02, r * 0.4 + fin),
    ]
    parts.append((extrude(tail, 0.07, axis="x"), "tail"))
    parts.append((ball((r * 0.6, r * 0.6, half * 0.2), (0, r * 0.7, half * 0.55)), "windows"))
    if jet:
        return parts + pair(cyl(r * 0.42, 0.5, (span * 0.2, -r * 0.75, half * 0.12), "z"), "metal")
    # Outwards and back; the root lies within the hub.
    shape = [
        (0, -0.02),
        (0.25, -0.07),
        (0.85, -0.06),
        (1, 0),
        (0.85, 0.05),
        (0.25, 0.06),
        (0, 0.02),
    ]
    blade = extrude([(x * r * 2.2, y) for x, y in shape], 0.04)
    return [
        *parts,
        *(
            (shift(rotate(blade, "z", angle), (0, -r * 0.15, half + 0.06)), "dark")
            for angle in (90, 210, 330)
        ),
        (cyl(r * 0.24, 0.2, (0, -r * 0.15, half + 0.02), "z"), "dark"),
        *pair(cyl(0.12, 0.1, (r * 1.1, -r - 0.12, half * 0.3), "x"), "dark"),
        *pair(rod((r * 0.4, -r * 0.6, half * 0.3), (r * 1.1, -r - 0.12, half * 0.3), 0.04), "dark"),
    ]


def rocket(p: Proportions, mode: str | None) -> list[Part]:
    body, r, nose = p.height(1.0, 2.2), p.width(0.24, 0.45), p(0.4, 1.0)
    fin, low = p(0.25, 0.55), p(0.25, 0.5)
    a = np.linspace(0, np.pi / 2, 7)[:-1]
    tip = [(r * np.cos(t), 0.2 + body + nose * np.sin(t)) for t in a]
    parts: list[Part] = [(cyl(r, body, (0, 0.2 + body / 2, 0), segments=24), "main")]
    parts.append(
        (
            turn([(0, 0.19 + body), (r * 1.01, 0.19 + body), *tip[1:], (0, 0.2 + body + nose)], 24),
            "nose",
        )
    )
    count = 3
    if mode == "shuttle":
        for k in (-1, 1):
            parts.append(
                (cyl(r * 0.45, body * 0.8, (k * r * 1.4, body * 0.45 + 0.1, 0)), "boosters")
            )
            parts.append(
                (cyl(r * 0.45, r, (k * r * 1.4, body * 0.85 + 0.1 + r / 2, 0), top=0), "boosters")
            )
        count = 0
    blade = extrude(
        [(r * 0.6, 0.25), (r + fin, 0.0), (r + fin, low * 0.5), (r * 0.6, 0.3 + low)], 0.09
    )
    parts += spun(blade, "fins", count, 90)
    parts.append((cyl(r * 0.42, 0.1, (0, 0.2 + body * 0.7, r * 0.96), "z", segments=16), "windows"))
    return [*parts, (cyl(r * 0.5, 0.3, (0, 0.1, 0), top=r * 0.75), "dark")]


CRAFT = (
    Category(
        name="boat",
        build=boat,
        modes=("sailing", "motor", "rowing"),
        parts={"sail": "cream", "cabin": "cream", "windows": "glass"},
        adjectives=("long", "short", "wide", "narrow"),
        materials=("wooden",),
        size=6.0,
    ),
    Category(
        name="aeroplane",
        build=aeroplane,
        modes=("propeller", "jet"),
        parts={"wings": "main", "tail": "main", "windows": "glass"},
        adjectives=("long", "short", "thick", "thin"),
        materials=("metal",),
        size=12.0,
    ),
    Category(
        name="rocket",
        build=rocket,
        modes=("finned", "shuttle"),
        parts={"nose": "roof", "fins": "roof", "boosters": "cream", "windows": "glass"},
        adjectives=("tall", "low", "wide", "narrow"),
        materials=("metal",),
        size=30.0,
    ),
)

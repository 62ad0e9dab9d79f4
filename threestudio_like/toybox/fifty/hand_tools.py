"""Tools and instruments of the second edition."""

from __future__ import annotations

import numpy as np

from ..edition import Category
from ..objects.parts import Part, Proportions
from .solids import box, cyl, extrude, pipe, ring, rod, turn

_STICK = ("thick", "thin")


def hammer(p: Proportions, mode: str | None) -> list[Part]:
    h, t, head = p.height(1.3, 2.1), p.thickness(0.07, 0.13), p.width(0.5, 0.9)
    size, face = p(0.1, 0.18), p(1.1, 1.5)
    parts: list[Part] = [(rod((0, 0, 0), (0, h, 0), t * 1.2, t), "handle")]
    if mode == "mallet":
        return [*parts, (cyl(size * 2.2, head, (0, h - 0.1, 0), "x", segments=22), "main")]
    parts += [
        (box((head * 0.5, size * 1.8, size * 1.8), (0, h - 0.05, 0)), "main"),
        (cyl(size * face, head * 0.3, (head * 0.38, h - 0.05, 0), "x"), "main"),
    ]
    claw = pipe(
        [(-head * 0.2, h - 0.05, 0), (-head * 0.42, h, 0), (-head * 0.62, h - 0.16, 0)],
        [size * 0.9, size * 0.7, 0.03],
        10,
    )
    return [*parts, (claw, "main")]


def screwdriver(p: Proportions, mode: str | None) -> list[Part]:
    grip, blade, r = p.height(0.6, 1.0), p(0.7, 1.4), p.thickness(0.14, 0.26)
    thin, tip = p(0.04, 0.07), p(0.1, 0.16)
    handle = turn(
        [
            (0, 0),
            (r * 0.7, 0),
            (r, 0.12),
            (r * 0.85, grip * 0.5),
            (r, grip * 0.8),
            (r * 0.6, grip),
            (0, grip),
        ],
        10 if mode != "round" else 22,
    )
    y = grip + blade
    return [
        (handle, "main"),
        (rod((0, grip - 0.05, 0), (0, y, 0), thin), "blade"),
        (cyl(r * 0.5, 0.14, (0, grip + 0.03, 0)), "blade"),
        (box((tip, 0.24, 0.05), (0, y, 0), 1.2, taper_z=0.4), "blade"),
    ]


def spade(p: Proportions, mode: str | None) -> list[Part]:
    h, w, blade = p.height(1.2, 2.0), p.width(0.4, 0.7), p(0.5, 0.8)
    t, grip = p.thickness(0.045, 0.08), p(0.3, 0.5)
    half = w / 2
    if mode == "pointed":
        outline = [(0, -blade), (half, -blade * 0.5), (half, 0), (-half, 0), (-half, -blade * 0.5)]
    else:
        outline = [(-half * 0.9, -blade), (half * 0.9, -blade), (half, 0), (-half, 0)]
    return [
        (extrude(outline, 0.07), "main"),
        (rod((0, -blade * 0.25, 0.02), (0, h, 0), t), "handle"),
        (rod((-grip / 2, h, 0), (grip / 2, h, 0), t * 1.1), "handle"),
        (cyl(t * 1.6, 0.34, (0, -0.02, 0.02)), "main"),
    ]


def key(p: Proportions, mode: str | None) -> list[Part]:
    length, bow, t = p.length(1.0, 1.7), p.width(0.28, 0.46), p.thickness(0.06, 0.11)
    tooth, gap = p(0.18, 0.34), p(0.18, 0.28)
    if mode == "flat":
        head = extrude(
            [(bow * float(np.cos(a)), bow * float(np.sin(a))) for a in np.arange(6) * np.pi / 3],
            t * 1.6,
        )
        blade = [
            (-t * 1.2, -bow * 0.8),
            (-t * 1.2, -bow - length),
            (t * 0.4, -bow - length),
            (t * 1.6, -bow - length + 0.16),
        ]
        for n in range(3):
            y = -bow - length + 0.3 + n * 0.22
            blade += [(t * 0.5, y), (t * 1.7, y + 0.1)]
        return [
            (head, "main"),
            (extrude([*blade, (t * 1.7, -bow * 0.8)], t * 1.1), "main"),
            (cyl(bow * 0.3, t * 1.8, (0, bow * 0.5, 0), "z"), "dark"),
        ]
    low = -bow - length
    parts: list[Part] = [
        (ring(bow, t, axis="z"), "main"),
        (rod((0, -bow + t, 0), (0, low, 0), t), "main"),
    ]
    for n in range(2):
        parts.append((box((tooth, 0.12, t * 1.2), (tooth / 2, low + 0.12 + gap * n, 0)), "main"))
    return [*parts, (ring(t * 1.3, t * 0.6, (0, -bow - 0.12, 0)), "main")]


def guitar(p: Proportions, mode: str | None) -> list[Part]:
    w, h, neck = p.width(0.42, 0.58), p.height(0.9, 1.2), p(0.9, 1.3)
    t, waist, depth = p(0.05, 0.08), p(0.6, 0.75), p.thickness(0.12, 0.26)
    a = np.linspace(0, 2 * np.pi, 29)[:-1]
    y = -np.cos(a) * h / 2
    girth = (
        w
        * (0.9 - 0.14 * np.cos(a + np.pi) * -1)
        * (waist + (1 - waist) * np.abs(np.cos(a)) ** 0.8 + 0.12)
    )
    outline = [
        (float(g * np.sin(u) if abs(np.sin(u)) > 1e-9 else 0.0), float(v))
        for g, u, v in zip(girth, a, y)
    ]
    electric = mode == "electric"
    if electric:
        depth *= 0.6
        outline = [
            (0.0, -h / 2),
            (w * 0.75, -h * 0.42),
            (w, -h * 0.15),
            (w * 0.7, h * 0.1),
            (w * 0.95, h * 0.5),
            (w * 0.55, h * 0.35),
            (w * 0.2, h * 0.22),
            (-w * 0.2, h * 0.22),
            (-w * 0.6, h * 0.42),
            (-w, h * 0.62),
            (-w * 0.75, h * 0.1),
            (-w, -h * 0.15),
            (-w * 0.75, -h * 0.42),
        ]
    base = h * (0.2 if electric else 0.45)
    top = base + neck
    parts: list[Part] = [
        (extrude(outline, depth), "main"),
        (box((2 * t, neck + 0.1, 0.07), (0, base + neck / 2 - 0.05, depth / 2 - 0.02)), "neck"),
        (box((3.4 * t, 0.3, 0.06), (0, top + 0.12, depth / 2 - 0.04), 1.25), "head"),
    ]
    front = depth / 2
    for k in (-1, 1):
        for n in range(3):
            parts.append(
                (
                    cyl(
                        0.03,
                        0.12,
                        (k * t * 2.0, top + 0.04 + 0.09 * n, front - 0.04),
                        "x",
                        segments=8,
                    ),
                    "metal",
                )
            )
    if electric:
        parts += [
            (box((w * 0.5, 0.08, 0.06), (0, v, front + 0.01)), "dark") for v in (-h * 0.05, h * 0.1)
        ]
    else:
        parts.append((cyl(w * 0.32, 0.06, (0, h * 0.08, front - 0.01), "z", segments=22), "dark"))
    return [*parts, (box((w * 0.55, 0.07, 0.07), (0, -h * 0.24, front + 0.015)), "dark")]


def drum(p: Proportions, mode: str | None) -> list[Part]:
    r, h, rim = p.width(0.55, 0.85), p.height(0.5, 1.0), p(0.05, 0.1)
    tie, stick = p(0.02, 0.04), p(0.7, 1.0)
    if mode == "goblet":
        h *= 1.6
        body = turn(
            [
                (0, 0),
                (r * 0.6, 0),
                (r * 0.4, h * 0.4),
                (r * 0.55, h * 0.6),
                (r * 0.95, h * 0.8),
                (r * 0.95, h),
                (0, h),
            ],
            28,
        )
        return [
            (body, "main"),
            (cyl(r * 0.98, rim, (0, h - 0.02, 0), segments=28), "rims"),
            (cyl(r * 0.88, 0.06, (0, h + rim / 2 - 0.02, 0), segments=28), "skins"),
        ]
    parts: list[Part] = [(cyl(r, h, (0, h / 2, 0), segments=30), "main")]
    parts += [(cyl(r * 1.05, rim * 1.5, (0, y, 0), segments=30), "rims") for y in (rim, h - rim)]
    parts.append((cyl(r * 0.93, 0.08, (0, h, 0), segments=30), "skins"))
    for n in range(10):
        a, b = 2 * np.pi * n / 10, 2 * np.pi * (n + 0.5) / 10
        q = r * 1.02
        low, high = (q * np.sin(b), rim, q * np.cos(b)), (q * np.sin(a), h - rim, q * np.cos(a))
        last = (q * np.sin(b + 2 * np.pi / 10), rim, q * np.cos(b + 2 * np.pi / 10))
        parts += [
            (rod(low, high, tie, segments=6), "cream"),
            (rod(high, (last[0] * 1, last[1], last[2]), tie, segments=6), "cream"),
        ][:1]
    for k in (-1, 1):
        parts.append(
            (rod((k * 0.1, h + 0.08, r * 0.5), (k * 0.3, h + 0.1, r * 0.5 - stick), 0.045), "wood")
        )
    return parts


TOOLS = (
    Category(
        name="hammer",
        build=hammer,
        modes=("claw", "mallet"),
        parts={"handle": "wood"},
        adjectives=("wide", "narrow"),
        materials=("metal", "wooden"),
        size=0.35,
    ),
    Category(
        name="screwdriver",
        build=screwdriver,
        modes=("angular", "round"),
        front=False,
        parts={"blade": "metal"},
        adjectives=_STICK,
        size=0.25,
    ),
    Category(
        name="spade",
        build=spade,
        modes=("straight", "pointed"),
        front=False,
        parts={"handle": "wood"},
        adjectives=("wide", "narrow"),
        materials=("metal",),
        size=1.1,
    ),
    Category(
        name="key",
        build=key,
        modes=("toothed", "flat"),
        front=False,
        adjectives=("long", "short"),
        materials=("metal",),
        size=0.08,
    ),
    Category(
        name="guitar",
        build=guitar,
        modes=("acoustic", "electric"),
        parts={"neck": "wood", "head": "dark"},
        adjectives=("wide", "narrow", *_STICK),
        materials=("wooden",),
        size=1.0,
    ),
    Category(
        name="drum",
        build=drum,
        modes=("snare", "goblet"),
        front=False,
        parts={"rims": "wood", "skins": "cream"},
        adjectives=("tall", "low", "wide", "narrow"),
        materials=("wooden", "metal"),
        size=0.5,
    ),
)

"""Letters, numbers and things to wear or to play with of the second edition."""

from __future__ import annotations

import numpy as np

from ..edition import Category
from ..objects.parts import Part, Proportions
from .solids import ball, cyl, extrude, pipe, ring, rod, rotate, spun, stroke, turn

_STICK = ("thick", "thin")
_STROKES: dict[str, list[list[tuple[float, float]]]] = {
    "t": [[(-0.5, 0.8), (0.5, 0.8)], [(0, 0), (0, 0.8)]],
    "h": [[(-0.4, 0), (-0.4, 1)], [(0.4, 0), (0.4, 1)], [(-0.4, 0.5), (0.4, 0.5)]],
    "e": [[(0.35, 0), (-0.3, 0), (-0.3, 1), (0.35, 1)], [(-0.3, 0.5), (0.25, 0.5)]],
    "x": [[(-0.4, 0), (0.4, 1)], [(0.4, 0), (-0.4, 1)]],
    "one": [[(-0.25, 0.75), (0.05, 1), (0.05, 0)], [(-0.25, 0), (0.35, 0)]],
    "four": [[(-0.4, 0.35), (0.2, 1), (0.2, 0)], [(-0.4, 0.35), (0.45, 0.35)]],
    "seven": [[(-0.35, 1), (0.35, 1), (-0.1, 0)]],
}
"""The strokes of letters and numbers, along their middles."""


def sign(p: Proportions, mode: str | None) -> list[Part]:
    h, w, t, d = p.height(1.0, 1.8), p.width(0.9, 1.5), p.thickness(0.16, 0.34), p(0.2, 0.5)
    # The slope of a four begins within its bar.
    flush = 0 if mode == "four" else None
    return [
        # No two strokes have their faces in one plane.
        (
            extrude(
                stroke(np.asarray(path) * [w, h], t, begin=n != flush), depth=d * (1 - 0.02 * n)
            ),
            "main",
        )
        for n, path in enumerate(_STROKES[mode or "t"])
    ]


def toy_ball(p: Proportions, mode: str | None) -> list[Part]:
    y, long = p.height(0.9, 1.0), p.length(1.4, 1.8)
    if mode == "rugby":
        return [(ball((long, y, y), segments=22, rows=15, axis="x"), "main")]
    return [(ball((1, y, 1), segments=26, rows=15), "main")]


def umbrella(p: Proportions, mode: str | None) -> list[Part]:
    r, h, pole = p.width(0.8, 1.2), p(0.35, 0.6), p.height(1.3, 1.9)
    t, hook = p.thickness(0.035, 0.06), p(0.14, 0.24)
    a = np.linspace(np.pi, 2 * np.pi, 8)
    bend = [(hook + hook * float(np.cos(u)), hook * float(np.sin(u)), 0.0) for u in a]
    parts: list[Part] = [
        (rod((0, -0.02, 0), (0, pole, 0), t), "metal"),
        (pipe(bend, t * 1.4), "handle"),
    ]
    if mode == "folded":
        cover = turn(
            [
                (0, hook + 0.3),
                (0.14, hook + 0.3),
                (0.2, pole * 0.45),
                (0.13, pole * 0.85),
                (0.05, pole),
                (0, pole),
            ],
            14,
        )
        return [*parts, (cover, "main")]
    b = np.linspace(0, np.pi / 2, 7)[:-1]
    out = [(r * float(np.cos(u)), pole - h + h * float(np.sin(u))) for u in b]
    inner = [
        (0, pole - 0.06),
        *[(q * 0.93, y - 0.05) for q, y in out[1:]][::-1],
        (r * 0.96, pole - h),
    ]
    return [
        *parts,
        (turn([*inner, *out, (0, pole)], 8), "main"),
        (cyl(0.04, 0.2, (0, pole + 0.06, 0), top=0.02), "metal"),
    ]


def hat(p: Proportions, mode: str | None) -> list[Part]:
    r, h, brim = p(0.45, 0.6), p.height(0.35, 1.0), p.width(0.75, 1.15)
    flare, band = p(0.8, 1.1), p(0.1, 0.2)
    parts: list[Part] = [
        (cyl(brim, 0.07, (0, 0.035, 0), segments=30), "main"),
        (
            cyl(r * 1.02, band, (0, 0.07 + band / 2 - 0.02, 0), top=r * 1.0 + 0.02, segments=28),
            "band",
        ),
    ]
    if mode == "pointed":
        return [*parts, (cyl(r, h * 1.8, (0, 0.05 + h * 0.9, 0), top=0, segments=28), "main")]
    top = cyl(r, h, (0, 0.05 + h / 2, 0), top=r * flare, segments=28)
    return [*parts, (top, "main")]


def crown(p: Proportions, mode: str | None) -> list[Part]:
    r, h, spike = p.width(0.6, 0.9), p.height(0.25, 0.5), p(0.25, 0.55)
    count, t, gem = 8, p.thickness(0.05, 0.09), p(0.05, 0.09)
    wall = turn(
        [(0, 0.0), (r, 0.0), (r * 1.05, h), (r * 1.05 - t, h), (r - t, 0.06), (0, 0.06)], 32
    )
    parts: list[Part] = [(wall, "main"), (ring(r * 1.01, t * 0.9, (0, 0.06, 0)), "main")]
    if mode == "arched":
        a = np.linspace(-np.pi / 2, np.pi / 2, 13)
        arch = pipe(
            [(0, h - 0.03 + spike * 1.6 * float(np.cos(u)), r * float(np.sin(u))) for u in a], t
        )
        parts += [
            (arch, "main"),
            (rotate(arch, "y", 90), "main"),
            (ball(0.13, (0, h + spike * 1.6, 0), 14, 9), "gems"),
            (ball((r * 0.85, spike * 1.3, r * 0.85), (0, h * 0.6, 0)), "roof"),
        ]
    else:
        point = extrude(
            [(-r * 0.3, 0), (r * 0.3, 0), (0, spike + 0.06)],
            t,
            (0, h - 0.06, r * 1.05 - t / 2 - 0.005),
        )
        parts += spun(point, "main", count)
        parts += spun(ball(0.07, (0, h + spike, r * 1.05 - t / 2), 10, 7), "gems", count)
    return [
        *parts,
        *spun(ball((gem * 1.3, gem * 1.3, gem), (0, h * 0.55, r * 1.03), 10, 7), "gems", count),
    ]


def anchor(p: Proportions, mode: str | None) -> list[Part]:
    h, w, t = p.height(1.3, 1.9), p.width(0.5, 0.8), p.thickness(0.07, 0.13)
    eye, bar, fluke = p(0.13, 0.22), p(0.35, 0.6), p(0.2, 0.32)
    parts: list[Part] = [
        (rod((0, 0, 0), (0, h, 0), t), "main"),
        (ring(eye, t * 0.7, (0, h + eye, 0), "z"), "main"),
    ]
    a = np.linspace(0, np.pi / 2, 7)
    arm = [(w * float(np.sin(u)), w * (1 - float(np.cos(u))), 0.0) for u in a]
    end = arm[-1]
    hook: list[Part] = [
        (pipe(arm, np.linspace(t * 1.1, t * 0.7, 7).tolist()), "main"),
        (
            cyl(fluke * 0.7, fluke * 1.5, (end[0], end[1] + fluke * 0.4, 0), top=0, segments=4),
            "main",
        ),
    ]
    count = 4 if mode == "grapnel" else 2
    for k in range(count):
        parts += [(rotate(q, "y", 360 * k / count), role) for q, role in hook]
    if mode != "grapnel":
        parts += [
            (rod((-bar, h * 0.82, 0), (bar, h * 0.82, 0), t * 0.8), "bar"),
            *((ball(t * 1.2, (k * bar, h * 0.82, 0), 12, 8), "bar") for k in (-1, 1)),
        ]
    return [*parts, (ball(t * 1.3, (0, 0, 0), 14, 9), "main")]


SUNDRIES = (
    Category(
        name="letter",
        build=sign,
        modes=("t", "h", "e", "x"),
        adjectives=("tall", "low", "wide", "narrow", *_STICK),
        materials=("wooden", "metal"),
        size=0.2,
    ),
    Category(
        name="number",
        build=sign,
        modes=("one", "four", "seven"),
        adjectives=("tall", "low", "wide", "narrow", *_STICK),
        materials=("wooden", "metal"),
        size=0.2,
    ),
    Category(
        name="ball", build=toy_ball, modes=("round", "rugby"), front=False, adjectives=(), size=0.25
    ),
    Category(
        name="umbrella",
        build=umbrella,
        modes=("open", "folded"),
        front=False,
        parts={"handle": "wood"},
        adjectives=("wide", "narrow"),
        size=1.2,
    ),
    Category(
        name="hat",
        build=hat,
        modes=("round", "pointed"),
        front=False,
        parts={"band": "dark"},
        adjectives=("tall", "low", "wide", "narrow"),
        size=0.4,
    ),
    Category(
        name="crown",
        build=crown,
        modes=("spiked", "arched"),
        front=False,
        parts={"gems": "roof"},
        adjectives=("tall", "low", "wide", "narrow"),
        materials=("metal",),
        size=0.3,
    ),
    Category(
        name="anchor",
        build=anchor,
        modes=("stocked", "grapnel"),
        front=False,
        parts={"bar": "wood"},
        adjectives=("wide", "narrow", *_STICK),
        materials=("metal",),
        size=1.5,
    ),
)

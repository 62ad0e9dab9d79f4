"""Tools, instruments, letters, numbers and things to wear or to play with of the second edition."""

from __future__ import annotations

import numpy as np

from ..edition import Category
from ..objects.parts import Part, Proportions
from .solids import ball, box, cyl, extrude, pipe, ring, rod, rotate, shift, spun, turn

_STICK = ("thick", "thin")


def hammer(p: Proportions, mode: str | None) -> list[Part]:
    h, t, head = p.height(1.3, 2.1), p.thickness(0.07, 0.13), p.width(0.5, 0.9)
    size, face = p(0.1, 0.18), p(1.1, 1.5)
    parts: list[Part] = [(rod((0, 0, 0), (0, h, 0), t * 1.2, t), "handle")]
    if mode == "mallet":
        return [*parts, (cyl(size * 2.2, head, (0, h - 0.1, 0), "x", segments=22), "main")]
    parts += [(box((head * 0.5, size * 1.8, size * 1.8), (0, h - 0.05, 0)), "main"), (cyl(size * face, head * 0.3, (head * 0.38, h - 0.05, 0), "x"), "main")]
    claw = pipe([(-head * 0.2, h - 0.05, 0), (-head * 0.42, h, 0), (-head * 0.62, h - 0.16, 0)], [size * 0.9, size * 0.7, 0.03], 10)
    return [*parts, (claw, "main")]


def screwdriver(p: Proportions, mode: str | None) -> list[Part]:
    grip, blade, r = p.height(0.6, 1.0), p(0.7, 1.4), p.thickness(0.14, 0.26)
    thin, tip = p(0.04, 0.07), p(0.1, 0.16)
    handle = turn([(0, 0), (r * 0.7, 0), (r, 0.12), (r * 0.85, grip * 0.5), (r, grip * 0.8), (r * 0.6, grip), (0, grip)], 10 if mode != "round" else 22)
    y = grip + blade
    return [(handle, "main"), (rod((0, grip - 0.05, 0), (0, y, 0), thin), "blade"), (cyl(r * 0.5, 0.14, (0, grip + 0.03, 0)), "blade"), (box((tip, 0.24, 0.05), (0, y, 0), 1.2, taper_z=0.4), "blade")]


def spade(p: Proportions, mode: str | None) -> list[Part]:
    h, w, blade = p.height(1.2, 2.0), p.width(0.4, 0.7), p(0.5, 0.8)
    t, grip = p.thickness(0.045, 0.08), p(0.3, 0.5)
    half = w / 2
    if mode == "pointed":
        outline = [(0, -blade), (half, -blade * 0.5), (half, 0), (-half, 0), (-half, -blade * 0.5)]
    else:
        outline = [(-half * 0.9, -blade), (half * 0.9, -blade), (half, 0), (-half, 0)]
    return [(extrude(outline, 0.07), "main"), (rod((0, -blade * 0.25, 0.02), (0, h, 0), t), "handle"), (rod((-grip / 2, h, 0), (grip / 2, h, 0), t * 1.1), "handle"), (cyl(t * 1.6, 0.34, (0, -0.02, 0.02)), "main")]


def key(p: Proportions, mode: str | None) -> list[Part]:
    length, bow, t = p.length(1.0, 1.7), p.width(0.28, 0.46), p.thickness(0.06, 0.11)
    tooth, gap = p(0.18, 0.34), p(0.18, 0.28)
    if mode == "flat":
        head = extrude([(bow * float(np.cos(a)), bow * float(np.sin(a))) for a in np.arange(6) * np.pi / 3], t * 1.6)
        blade = [(-t * 1.2, -bow * 0.8), (-t * 1.2, -bow - length), (t * 0.4, -bow - length), (t * 1.6, -bow - length + 0.16)]
        for n in range(3):
            y = -bow - length + 0.3 + n * 0.22
            blade += [(t * 0.5, y), (t * 1.7, y + 0.1)]
        return [(head, "main"), (extrude([*blade, (t * 1.7, -bow * 0.8)], t * 1.1), "main"), (cyl(bow * 0.3, t * 1.8, (0, bow * 0.5, 0), "z"), "dark")]
    low = -bow - length
    parts: list[Part] = [(ring(bow, t, axis="z"), "main"), (rod((0, -bow + t, 0), (0, low, 0), t), "main")]
    for n in range(2):
        parts.append((box((tooth, 0.12, t * 1.2), (tooth / 2, low + 0.12 + gap * n, 0)), "main"))
    return [*parts, (ring(t * 1.3, t * 0.6, (0, -bow - 0.12, 0)), "main")]


def guitar(p: Proportions, mode: str | None) -> list[Part]:
    w, h, neck = p.width(0.42, 0.58), p.height(0.9, 1.2), p(0.9, 1.3)
    t, waist, depth = p(0.05, 0.08), p(0.6, 0.75), p.thickness(0.12, 0.26)
    a = np.linspace(0, 2 * np.pi, 29)[:-1]
    y = -np.cos(a) * h / 2
    girth = w * (0.9 - 0.14 * np.cos(a + np.pi) * -1) * (waist + (1 - waist) * np.abs(np.cos(a)) ** 0.8 + 0.12)
    outline = [(float(g * np.sin(u) if abs(np.sin(u)) > 1e-9 else 0.0), float(v)) for g, u, v in zip(girth, a, y)]
    electric = mode == "electric"
    if electric:
        depth *= 0.6
        outline = [(0.0, -h / 2), (w * 0.75, -h * 0.42), (w, -h * 0.15), (w * 0.7, h * 0.1), (w * 0.95, h * 0.5), (w * 0.55, h * 0.35), (w * 0.2, h * 0.22), (-w * 0.2, h * 0.22), (-w * 0.6, h * 0.42), (-w, h * 0.62), (-w * 0.75, h * 0.1), (-w, -h * 0.15), (-w * 0.75, -h * 0.42)]
    base = h * (0.2 if electric else 0.45)
    top = base + neck
    parts: list[Part] = [(extrude(outline, depth), "main"), (box((2 * t, neck + 0.1, 0.07), (0, base + neck / 2 - 0.05, depth / 2 - 0.02)), "neck"), (box((3.4 * t, 0.3, 0.06), (0, top + 0.12, depth / 2 - 0.04), 1.25), "head")]
    front = depth / 2
    for k in (-1, 1):
        for n in range(3):
            parts.append((cyl(0.03, 0.12, (k * t * 2.0, top + 0.04 + 0.09 * n, front - 0.04), "x", segments=8), "metal"))
    if electric:
        parts += [(box((w * 0.5, 0.08, 0.06), (0, v, front + 0.01)), "dark") for v in (-h * 0.05, h * 0.1)]
    else:
        parts.append((cyl(w * 0.32, 0.06, (0, h * 0.08, front - 0.01), "z", segments=22), "dark"))
    return [*parts, (box((w * 0.55, 0.07, 0.07), (0, -h * 0.24, front + 0.015)), "dark")]


def drum(p: Proportions, mode: str | None) -> list[Part]:
    r, h, rim = p.width(0.55, 0.85), p.height(0.5, 1.0), p(0.05, 0.1)
    tie, stick = p(0.02, 0.04), p(0.7, 1.0)
    if mode == "goblet":
        h *= 1.6
        body = turn([(0, 0), (r * 0.6, 0), (r * 0.4, h * 0.4), (r * 0.55, h * 0.6), (r * 0.95, h * 0.8), (r * 0.95, h), (0, h)], 28)
        return [(body, "main"), (cyl(r * 0.98, rim, (0, h - 0.02, 0), segments=28), "rims"), (cyl(r * 0.88, 0.06, (0, h + rim / 2 - 0.02, 0), segments=28), "skins")]
    parts: list[Part] = [(cyl(r, h, (0, h / 2, 0), segments=30), "main")]
    parts += [(cyl(r * 1.05, rim * 1.5, (0, y, 0), segments=30), "rims") for y in (rim, h - rim)]
    parts.append((cyl(r * 0.93, 0.08, (0, h, 0), segments=30), "skins"))
    for n in range(10):
        a, b = 2 * np.pi * n / 10, 2 * np.pi * (n + 0.5) / 10
        q = r * 1.02
        low, high = (q * np.sin(b), rim, q * np.cos(b)), (q * np.sin(a), h - rim, q * np.cos(a))
        last = (q * np.sin(b + 2 * np.pi / 10), rim, q * np.cos(b + 2 * np.pi / 10))
        parts += [(rod(low, high, tie, segments=6), "cream"), (rod(high, (last[0] * 1, last[1], last[2]), tie, segments=6), "cream")][:1]
    for k in (-1, 1):
        parts.append((rod((k * 0.1, h + 0.08, r * 0.5), (k * 0.3, h + 0.1, r * 0.5 - stick), 0.045), "wood"))
    return parts


_STROKES = {
    "t": [((-0.5, 0.8, 0), (0.5, 0.8, 0)), ((0, 0, 0), (0, 0.8, 0))],
    "h": [((-0.4, 0, 0), (-0.4, 1, 0)), ((0.4, 0, 0), (0.4, 1, 0)), ((-0.4, 0.5, 0), (0.4, 0.5, 0))],
    "e": [((-0.3, 0, 0), (-0.3, 1, 0)), ((-0.3, 0, 0), (0.35, 0, 0)), ((-0.3, 0.5, 0), (0.25, 0.5, 0)), ((-0.3, 1, 0), (0.35, 1, 0))],
    "x": [((-0.4, 0, 0), (0.4, 1, 0)), ((0.4, 0, 0), (-0.4, 1, 0))],
    "one": [((0.05, 0, 0), (0.05, 1, 0)), ((-0.25, 0, 0), (0.35, 0, 0)), ((0.05, 1, 0), (-0.25, 0.75, 0))],
    "four": [((0.2, 0, 0), (0.2, 1, 0)), ((0.2, 1, 0), (-0.4, 0.35, 0)), ((-0.4, 0.35, 0), (0.45, 0.35, 0))],
    "seven": [((-0.35, 1, 0), (0.35, 1, 0)), ((0.35, 1, 0), (-0.1, 0, 0))],
}
"""The strokes of letters and numbers, between the middles of their ends."""


def sign(p: Proportions, mode: str | None) -> list[Part]:
    h, w, t, d = p.height(1.0, 1.8), p.width(0.9, 1.5), p.thickness(0.16, 0.34), p(0.2, 0.5)
    parts: list[Part] = []
    for n, (begin, end) in enumerate(_STROKES[mode or "t"]):
        a, b = np.asarray(begin) * [w, h, 1], np.asarray(end) * [w, h, 1]
        length, angle = float(np.linalg.norm(b - a)), float(np.degrees(np.arctan2(b[1] - a[1], b[0] - a[0])))
        bar = rotate(box((length + t, t, d * (1 - 0.02 * n))), "z", angle)
        parts.append((shift(bar, tuple(((a + b) / 2).tolist())), "main"))
    return parts


def toy_ball(p: Proportions, mode: str | None) -> list[Part]:
    y, long = p.height(0.9, 1.0), p.length(1.4, 1.8)
    if mode == "rugby":
        a = np.linspace(-1, 1, 15)
        profile = [(0.0, -long), *[(y * float(1 - abs(t) ** 2.2) * 0.95 + 0.03, long * float(t)) for t in a[1:-1]], (0.0, long)]
        return [(turn(profile, 24, axis="x"), "main")]
    return [(ball((1, y, 1), segments=26, rows=15), "main")]


def umbrella(p: Proportions, mode: str | None) -> list[Part]:
    r, h, pole = p.width(0.8, 1.2), p(0.35, 0.6), p.height(1.3, 1.9)
    t, hook = p.thickness(0.035, 0.06), p(0.14, 0.24)
    a = np.linspace(np.pi, 2 * np.pi, 8)
    bend = [(hook + hook * float(np.cos(u)), hook * float(np.sin(u)), 0.0) for u in a]
    parts: list[Part] = [(rod((0, -0.02, 0), (0, pole, 0), t), "metal"), (pipe(bend, t * 1.4), "handle")]
    if mode == "folded":
        cover = turn([(0, hook + 0.3), (0.14, hook + 0.3), (0.2, pole * 0.45), (0.13, pole * 0.85), (0.05, pole), (0, pole)], 14)
        return [*parts, (cover, "main")]
    b = np.linspace(0, np.pi / 2, 7)[:-1]
    out = [(r * float(np.cos(u)), pole - h + h * float(np.sin(u))) for u in b]
    inner = [(0, pole - 0.06), *[(q * 0.93, y - 0.05) for q, y in out[1:]][::-1], (r * 0.96, pole - h)]
    return [*parts, (turn([*inner, *out, (0, pole)], 8), "main"), (cyl(0.04, 0.2, (0, pole + 0.06, 0), top=0.02), "metal")]


def hat(p: Proportions, mode: str | None) -> list[Part]:
    r, h, brim = p(0.45, 0.6), p.height(0.35, 1.0), p.width(0.75, 1.15)
    flare, band = p(0.8, 1.1), p(0.1, 0.2)
    parts: list[Part] = [(cyl(brim, 0.07, (0, 0.035, 0), segments=30), "main"), (cyl(r * 1.02, band, (0, 0.07 + band / 2 - 0.02, 0), top=r * 1.0 + 0.02, segments=28), "band")]
    if mode == "pointed":
        return [*parts, (cyl(r, h * 1.8, (0, 0.05 + h * 0.9, 0), top=0, segments=28), "main")]
    top = cyl(r, h, (0, 0.05 + h / 2, 0), top=r * flare, segments=28)
    return [*parts, (top, "main")]


def crown(p: Proportions, mode: str | None) -> list[Part]:
    r, h, spike = p.width(0.6, 0.9), p.height(0.25, 0.5), p(0.25, 0.55)
    count, t, gem = 8, p.thickness(0.05, 0.09), p(0.05, 0.09)
    wall = turn([(0, 0.0), (r, 0.0), (r * 1.05, h), (r * 1.05 - t, h), (r - t, 0.06), (0, 0.06)], 32)
    parts: list[Part] = [(wall, "main"), (ring(r * 1.01, t * 0.9, (0, 0.06, 0)), "main")]
    if mode == "arched":
        a = np.linspace(-np.pi / 2, np.pi / 2, 13)
        arch = pipe([(0, h - 0.03 + spike * 1.6 * float(np.cos(u)), r * float(np.sin(u))) for u in a], t)
        parts += [(arch, "main"), (rotate(arch, "y", 90), "main"), (ball(0.13, (0, h + spike * 1.6, 0), 14, 9), "gems"), (ball((r * 0.85, spike * 1.3, r * 0.85), (0, h * 0.6, 0)), "roof")]
    else:
        point = extrude([(-r * 0.3, 0), (r * 0.3, 0), (0, spike + 0.06)], t, (0, h - 0.06, r * 1.05 - t / 2 - 0.005))
        parts += spun(point, "main", count)
        parts += spun(ball(0.07, (0, h + spike, r * 1.05 - t / 2), 10, 7), "gems", count)
    return [*parts, *spun(ball((gem * 1.3, gem * 1.3, gem), (0, h * 0.55, r * 1.03), 10, 7), "gems", count)]


def anchor(p: Proportions, mode: str | None) -> list[Part]:
    h, w, t = p.height(1.3, 1.9), p.width(0.5, 0.8), p.thickness(0.07, 0.13)
    eye, bar, fluke = p(0.13, 0.22), p(0.35, 0.6), p(0.2, 0.32)
    parts: list[Part] = [(rod((0, 0, 0), (0, h, 0), t), "main"), (ring(eye, t * 0.7, (0, h + eye, 0), "z"), "main")]
    a = np.linspace(0, np.pi / 2, 7)
    arm = [(w * float(np.sin(u)), w * (1 - float(np.cos(u))), 0.0) for u in a]
    end = arm[-1]
    hook: list[Part] = [(pipe(arm, np.linspace(t * 1.1, t * 0.7, 7).tolist()), "main"), (cyl(fluke * 0.7, fluke * 1.5, (end[0], end[1] + fluke * 0.4, 0), top=0, segments=4), "main")]
    count = 4 if mode == "grapnel" else 2
    for k in range(count):
        parts += [(rotate(q, "y", 360 * k / count), role) for q, role in hook]
    if mode != "grapnel":
        parts += [(rod((-bar, h * 0.82, 0), (bar, h * 0.82, 0), t * 0.8), "bar"), *((ball(t * 1.2, (k * bar, h * 0.82, 0), 12, 8), "bar") for k in (-1, 1))]
    return [*parts, (ball(t * 1.3, (0, 0, 0), 14, 9), "main")]


HANDY = (
    Category(name="hammer", build=hammer, modes=("claw", "mallet"), parts={"handle": "wood"}, adjectives=("wide", "narrow"), materials=("metal", "wooden"), size=0.35),
    Category(name="screwdriver", build=screwdriver, modes=("angular", "round"), front=False, parts={"blade": "metal"}, adjectives=_STICK, size=0.25),
    Category(name="spade", build=spade, modes=("straight", "pointed"), front=False, parts={"handle": "wood"}, adjectives=("wide", "narrow"), materials=("metal",), size=1.1),
    Category(name="key", build=key, modes=("toothed", "flat"), front=False, adjectives=("long", "short"), materials=("metal",), size=0.08),
    Category(name="guitar", build=guitar, modes=("acoustic", "electric"), parts={"neck": "wood", "head": "dark"}, adjectives=("wide", "narrow", *_STICK), materials=("wooden",), size=1.0),
    Category(name="drum", build=drum, modes=("snare", "goblet"), front=False, parts={"rims": "wood", "skins": "cream"}, adjectives=("tall", "low", "wide", "narrow"), materials=("wooden", "metal"), size=0.5),
    Category(name="letter", build=sign, modes=("t", "h", "e", "x"), adjectives=("tall", "low", "wide", "narrow", *_STICK), materials=("wooden", "metal"), size=0.2),
    Category(name="number", build=sign, modes=("one", "four", "seven"), adjectives=("tall", "low", "wide", "narrow", *_STICK), materials=("wooden", "metal"), size=0.2),
    Category(name="ball", build=toy_ball, modes=("round", "rugby"), front=False, adjectives=(), size=0.25),
    Category(name="umbrella", build=umbrella, modes=("open", "folded"), front=False, parts={"handle": "wood"}, adjectives=("wide", "narrow"), size=1.2),
    Category(name="hat", build=hat, modes=("round", "pointed"), front=False, parts={"band": "dark"}, adjectives=("tall", "low", "wide", "narrow"), size=0.4),
    Category(name="crown", build=crown, modes=("spiked", "arched"), front=False, parts={"gems": "roof"}, adjectives=("tall", "low", "wide", "narrow"), materials=("metal",), size=0.3),
    Category(name="anchor", build=anchor, modes=("stocked", "grapnel"), front=False, parts={"bar": "wood"}, adjectives=("wide", "narrow", *_STICK), materials=("metal",), size=1.5),
)

"""Vehicles of the second edition."""

from __future__ import annotations

import numpy as np

from ..edition import Category
from ..objects.parts import Part, Proportions
from .solids import ball, box, cyl, extrude, loft, pair, ring, rod, shift, spun, turn

_LONG = ("long", "short", "wide", "narrow", "tall", "low")


def _wheels(width: float, places: list[float], radius: float, thick: float) -> list[Part]:
    parts: list[Part] = []
    for z in places:
        parts += pair(cyl(radius, thick, (width / 2, radius, z), "x"), "wheels")
        parts += pair(cyl(radius * 0.5, thick + 0.03, (width / 2, radius, z), "x", segments=12), "metal")
    return parts


def _lights(width: float, y: float, front: float) -> list[Part]:
    return pair(cyl(0.07, 0.08, (width * 0.33, y, front), "z", segments=12), "cream")


def car(p: Proportions, mode: str | None) -> list[Part]:
    length, width, h = p.length(1.7, 2.9), p.width(0.8, 1.2), p.height(0.3, 0.5)
    wheel, roof, share = p(0.18, 0.3), p.height(0.26, 0.5), p(0.4, 0.62)
    base, nose = wheel * 0.7, p(0.6, 0.9)
    half, top = length / 2, base + h
    profile = [(-half, base), (half, base), (half, base + h * nose), (half * 0.9, top), (-half * 0.96, top), (-half, top - 0.06)]
    parts: list[Part] = [(extrude(profile, width, axis="x"), "main")]
    cabin, back = length * share, -0.06 * length
    if mode == "pickup":
        cabin, back = length * 0.36, length * 0.04
        parts += pair(box((0.07, 0.16, half * 0.66), (width * 0.46, top + 0.07, -half * 0.62)), "main")
        parts.append((box((width * 0.95, 0.16, 0.07), (0, top + 0.07, -half * 0.93)), "main"))
    elif mode == "sports":
        roof, back = roof * 0.7, -0.16 * length
        parts.append((box((width, 0.05, 0.2), (0, top + 0.2, -half * 0.93)), "main"))
        parts += pair(box((0.06, 0.24, 0.12), (width * 0.35, top + 0.09, -half * 0.93)), "main")
    parts.append((box((width * 0.88, roof, cabin), (0, top + roof / 2 - 0.01, back), 0.86, taper_z=0.7), "windows"))
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
    parts.append((box((width * 0.86, tall * 0.36, 0.06), (0, base + tall * 0.7, half + cab + 0.03)), "windows"))
    parts += pair(box((0.06, tall * 0.34, cab * 0.5), (width / 2, base + tall * 0.7, half + cab * 0.6)), "windows")
    if mode == "tipper":
        tray = [(-half, base + h * 0.55), (-half * 0.8, base + 0.05), (half * 0.96, base + 0.05), (half * 0.96, base + h * 0.55), (half * 0.84, base + h * 0.55), (half * 0.84, base + 0.18), (-half * 0.72, base + 0.18), (-half * 0.9, base + h * 0.55)]
        parts.append((extrude(tray, width * 0.9, axis="x"), "load"))
        parts += pair(extrude([(-half * 0.94, base + h * 0.55), (-half * 0.76, base + 0.1), (half * 0.9, base + 0.1), (half * 0.9, base + h * 0.55)], 0.08, (width * 0.48, 0, 0), "x"), "load")
    else:
        parts.append((box((width * 1.02, h, length * 0.97), (0, base + h / 2 + 0.04, -0.01)), "load"))
    parts += _wheels(width * 0.9, [half + cab * 0.5, -half * 0.35, -half * 0.35 - 2.2 * wheel], wheel, 0.2)
    return parts + _lights(width, base + 0.15, half + cab + 0.03)


def bus(p: Proportions, mode: str | None) -> list[Part]:
    length, width, h = p.length(2.2, 3.6), p.width(0.75, 1.05), p.height(0.75, 1.1)
    wheel, glass, floor = p(0.16, 0.24), p(0.28, 0.42), p(0.9, 1.3)
    base, half = wheel * floor, length / 2
    rows = 2 if mode == "decker" else 1
    total = h * (1.65 if rows == 2 else 1)
    parts: list[Part] = [(box((width, total, length), (0, base + total / 2, 0), 0.94, taper_z=0.98), "main")]
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
        nose = [(-half, base + h * 0.5, width / 2, h / 2), (half * 0.3, base + h * 0.5, width / 2, h / 2), (half * 0.8, base + h * 0.42, width * 0.4, h * 0.4), (half * 1.25, base + h * 0.2, width * 0.12, h * 0.12)]
        parts.append((loft(nose, 20, power=4), "main"))
        for z in (-0.7, -0.3, 0.1):
            parts += pair(box((0.06, h * 0.28, half * 0.3), (width / 2, base + h * 0.62, half * z)), "windows")
        return parts
    r, deep = h * 0.5, length * cab
    boiler = length - deep
    parts.append((cyl(r, boiler, (0, base + r, half - boiler / 2), "z", segments=22), "main"))
    parts.append((cyl(r * 0.7, 0.1, (0, base + r, half), "z"), "dark"))
    parts.append((cyl(r * 0.28, chimney + 0.2, (0, base + 2 * r + chimney / 2 - 0.1, half - 0.3), top=r * 0.42), "chimney"))
    parts.append((ball(r * 0.4, (0, base + 2 * r, half - boiler * 0.6)), "chimney"))
    tall = h * 1.35
    parts.append((box((width * 0.96, tall, deep), (0, base + tall / 2 + 0.05, -half + deep / 2)), "main"))
    parts.append((box((width * 1.08, 0.1, deep * 1.15), (0, base + tall + 0.06, -half + deep / 2)), "dark"))
    return parts + pair(box((0.06, tall * 0.3, deep * 0.5), (width * 0.48, base + tall * 0.7, -half + deep / 2)), "windows")


def boat(p: Proportions, mode: str | None) -> list[Part]:
    length, width, h = p.length(1.6, 2.8), p.width(0.6, 1.1), p(0.35, 0.6)
    mast, keel, boom = p.height(1.1, 2.2), p(0.5, 0.8), p(0.7, 0.95)
    half = length / 2
    rows = [(-half, 0, width * 0.38, h * 0.5), (-half * 0.3, 0, width / 2, h * 0.5), (half * 0.3, 0, width * 0.42, h * 0.5), (half * 0.75, 0.03, width * 0.22, h * 0.5), (half, 0.06, width * 0.03, h * 0.42)]
    hull = loft(rows, 20, (0, h / 2, 0), power=5)
    hull[0][:, 0] *= np.where(hull[0][:, 1] < h / 2, keel, 1.0).astype(np.float32)
    parts: list[Part] = [(hull, "main")]
    if mode == "motor":
        parts.append((box((width * 0.66, 0.4, half * 0.7), (0, h + 0.18, -half * 0.2), 0.85, taper_z=0.8), "cabin"))
        parts.append((box((width * 0.6, 0.16, half * 0.1), (0, h + 0.26, half * 0.12)), "windows"))
        return [*parts, (cyl(0.12, 0.4, (0, h + 0.5, -half * 0.35)), "dark")]
    if mode == "rowing":
        parts.append((box((width * 0.9, 0.06, length * 0.86), (0, h * 0.98, -half * 0.08), 0.9), "cabin"))
        for z in (-0.4, 0.1):
            parts.append((box((width * 0.94, 0.1, 0.2), (0, h + 0.04, half * z)), "wood"))
        oar = rod((width * 0.3, h + 0.14, 0), (width * 1.1, h * 0.4, 0.0), 0.04)
        blade = ball((0.2, 0.1, 0.03), (width * 1.15, h * 0.36, 0.0))
        return [*parts, *pair(oar, "wood"), *pair(blade, "wood")]
    parts.append((cyl(0.06, mast, (0, h + mast / 2 - 0.06, 0.1), segments=10), "wood"))
    sail = extrude([(-half * boom, h + 0.2), (0.06, h + 0.2), (0.06, h + mast * 0.95)], 0.07, axis="x")
    jib = extrude([(0.12, h + 0.16), (half * 0.9, h + 0.1), (0.12, h + mast * 0.7)], 0.05, axis="x")
    return [*parts, (shift(sail, (0, 0, 0.04)), "sail"), (jib, "sail")]


def aeroplane(p: Proportions, mode: str | None) -> list[Part]:
    length, span, r = p.length(1.8, 2.8), p.width(1.6, 2.8), p.thickness(0.16, 0.3)
    chord, sweep, fin = p(0.3, 0.55), p(0.0, 0.5), p.height(0.35, 0.6)
    half = length / 2
    body = [(-half, r * 0.5, r * 0.15, r * 0.15), (-half * 0.5, r * 0.15, r * 0.7, r * 0.7), (0, 0, r, r), (half * 0.6, 0, r, r), (half * 0.88, -r * 0.1, r * 0.7, r * 0.7), (half, -r * 0.15, r * 0.25, r * 0.25)]
    parts: list[Part] = [(loft(body, 20), "main")]
    jet = mode == "jet"
    lean = sweep + (0.4 if jet else 0.0)

    def wing(reach: float, deep: float, z: float, y: float) -> None:
        plan = [(r * 0.3, -z - deep * 0.5), (reach, -z + lean * reach * 0.5 + deep * 0.1 - deep * 0.2), (reach, -z + lean * reach * 0.5 + deep * 0.4), (r * 0.3, -z + deep * 0.5)]
        outline = [(x, -w) for x, w in plan][::-1]
        parts.extend(pair(extrude(outline, 0.08, (0, y, 0), "y"), "wings"))

    wing(span / 2, chord + 0.15, half * 0.1, -r * 0.3)
    wing(span * 0.2, chord * 0.6, -half * 0.82, r * 0.5)
    tail = [(-half, r * 0.4), (-half * 0.72, r * 0.5), (-half * 0.88, r * 0.4 + fin), (-half * 1.02, r * 0.4 + fin)]
    parts.append((extrude(tail, 0.07, axis="x"), "tail"))
    parts.append((ball((r * 0.6, r * 0.6, half * 0.2), (0, r * 0.7, half * 0.55)), "windows"))
    if jet:
        return parts + pair(cyl(r * 0.42, 0.5, (span * 0.2, -r * 0.75, half * 0.12), "z"), "metal")
    blades = box((r * 4.4, 0.09, 0.04), (0, -r * 0.15, half + 0.06))
    return [*parts, (blades, "dark"), (cyl(r * 0.24, 0.2, (0, -r * 0.15, half + 0.02), "z"), "dark"), *pair(cyl(0.12, 0.1, (r * 1.1, -r - 0.12, half * 0.3), "x"), "dark"), *pair(rod((r * 0.4, -r * 0.6, half * 0.3), (r * 1.1, -r - 0.12, half * 0.3), 0.04), "dark")]


def rocket(p: Proportions, mode: str | None) -> list[Part]:
    body, r, nose = p.height(1.0, 2.2), p.width(0.24, 0.45), p(0.4, 1.0)
    fin, low = p(0.25, 0.55), p(0.25, 0.5)
    a = np.linspace(0, np.pi / 2, 7)[:-1]
    tip = [(r * np.cos(t), 0.2 + body + nose * np.sin(t)) for t in a]
    parts: list[Part] = [(cyl(r, body, (0, 0.2 + body / 2, 0), segments=24), "main")]
    parts.append((turn([(0, 0.19 + body), (r * 1.01, 0.19 + body), *tip[1:], (0, 0.2 + body + nose)], 24), "nose"))
    count = 3
    if mode == "shuttle":
        for k in (-1, 1):
            parts.append((cyl(r * 0.45, body * 0.8, (k * r * 1.4, body * 0.45 + 0.1, 0)), "boosters"))
            parts.append((cyl(r * 0.45, r, (k * r * 1.4, body * 0.85 + 0.1 + r / 2, 0), top=0), "boosters"))
        count = 0
    blade = extrude([(r * 0.6, 0.25), (r + fin, 0.0), (r + fin, low * 0.5), (r * 0.6, 0.3 + low)], 0.09)
    parts += spun(blade, "fins", count, 90)
    parts.append((cyl(r * 0.42, 0.1, (0, 0.2 + body * 0.7, r * 0.96), "z", segments=16), "windows"))
    return [*parts, (cyl(r * 0.5, 0.3, (0, 0.1, 0), top=r * 0.75), "dark")]


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
            parts.append((rod((0, r - d[1], k - d[2]), (0, r + d[1], k + d[2]), 0.012, segments=5), "metal"))
    seats = (-z * 0.35, z * 0.3) if mode == "tandem" else (-z * 0.35,)
    head = (0, r + bar * 0.55, z * 0.72)
    for s in seats:
        low, high = (0, r * 0.8, s + 0.12), (0, saddle, s - 0.06)
        parts += [(rod(low, high, t), "frame"), (rod(low, (0, head[1] - 0.1, head[2]), t), "frame"), (rod((0, saddle * 0.9, s - 0.04), head, t), "frame")]
        parts.append((ball((0.11, 0.05, 0.2), (0, saddle + 0.02, s - 0.05)), "saddle"))
        parts.append((cyl(0.13, 0.05, (0.05, low[1], low[2]), "x", segments=14), "metal"))
    back = (0, r * 0.8, seats[0] + 0.12)
    parts += [(rod((0, r, -z), back, t), "frame"), (rod((0, r, -z), (0, saddle * 0.85, seats[0] - 0.03), t), "frame")]
    top = (0, r + bar * 0.75, z * 0.62)
    parts += [(rod((0, r, z), top, t), "frame"), (rod((-wide / 2, top[1], top[2]), (wide / 2, top[1], top[2]), t), "dark")]
    return [(q, "main" if role == "frame" else role) for q, role in parts]


VEHICLES = (
    Category(name="car", build=car, modes=("saloon", "pickup", "sports"), parts={"wheels": "dark", "windows": "glass"}, adjectives=_LONG, size=4.5),
    Category(name="truck", build=truck, modes=("closed", "tipper"), parts={"load": "cream", "wheels": "dark", "windows": "glass"}, adjectives=_LONG, size=8.0),
    Category(name="bus", build=bus, modes=("city", "school", "decker"), parts={"wheels": "dark", "windows": "glass"}, adjectives=_LONG, plural="buses", size=11.0),
    Category(name="train", build=train, modes=("steam", "express"), parts={"wheels": "dark", "chimney": "dark", "windows": "glass"}, adjectives=("long", "short", "wide", "narrow"), size=12.0),
    Category(name="boat", build=boat, modes=("sailing", "motor", "rowing"), parts={"sail": "cream", "cabin": "cream", "windows": "glass"}, adjectives=("long", "short", "wide", "narrow"), materials=("wooden",), size=6.0),
    Category(name="aeroplane", build=aeroplane, modes=("propeller", "jet"), parts={"wings": "main", "tail": "main", "windows": "glass"}, adjectives=("long", "short", "thick", "thin"), materials=("metal",), size=12.0),
    Category(name="rocket", build=rocket, modes=("finned", "shuttle"), parts={"nose": "roof", "fins": "roof", "boosters": "cream", "windows": "glass"}, adjectives=("tall", "low", "wide", "narrow"), materials=("metal",), size=30.0),
    Category(name="bicycle", build=bicycle, modes=("single", "tandem"), parts={"wheels": "dark", "saddle": "dark"}, adjectives=("long", "short"), size=2.0),
)

"""More kinds of things that the embedded world has no words for: words in letters, turned pieces,
tools, boolean solids, figures and trees; `unknown_things` draws and shows them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from second_world.solids import (
    Part,
    bar,
    block,
    disc,
    ellipsoid,
    hollow,
    outline,
    rod,
    skin,
    slab,
    tube,
    turned_solid,
    upright,
)

Rng = np.random.Generator
Parts = list[Part]

STROKES = {
    "A": [((0, 0), (0.4, 1)), ((0.4, 1), (0.8, 0)), ((0.16, 0.4), (0.64, 0.4))],
    "E": [((0, 0), (0, 1)), ((0, 0), (0.6, 0)), ((0, 0.5), (0.5, 0.5)), ((0, 1), (0.6, 1))],
    "H": [((0, 0), (0, 1)), ((0.6, 0), (0.6, 1)), ((0, 0.5), (0.6, 0.5))],
    "K": [((0, 0), (0, 1)), ((0, 0.45), (0.6, 1)), ((0.15, 0.55), (0.6, 0))],
    "4": [((0.5, 0), (0.5, 1)), ((0.5, 1), (0, 0.35)), ((0, 0.35), (0.75, 0.35))],
    "T": [((0.3, 0), (0.3, 1)), ((0, 1), (0.6, 1))],
    "Z": [((0, 1), (0.7, 1)), ((0.7, 1), (0, 0)), ((0, 0), (0.7, 0))],
}
"""Strokes of letters, each from one point to another."""


def sign(name: str, wide: float, deep: float, at: float = 0.0) -> Parts:
    """A letter of bars, `at` to the right."""
    parts = []
    for (ax, ay), (bx, by) in STROKES[name]:
        length, angle = math.hypot(bx - ax, by - ay), math.degrees(math.atan2(by - ay, bx - ax))
        piece = block((length + wide, wide, deep), (0, 0, 0), 0.01).rotate((0, 0, angle))
        parts.append(Part(piece.translate((at + (ax + bx) / 2, (ay + by) / 2, 0))))
    return parts


def word(rng: Rng) -> Parts:
    letters = rng.choice(list(STROKES), int(rng.integers(2, 4)))
    deep, wide = rng.uniform(0.15, 0.4), rng.uniform(0.12, 0.18)
    parts = [p for k, name in enumerate(letters) for p in sign(str(name), wide, deep, 0.95 * k)]
    long = 0.95 * len(letters)
    return [*parts, Part(block((long, 0.1, deep), (long / 2 - 0.15, -0.1, 0)), "accent")]


def rook(rng: Rng) -> Parts:
    top = rng.uniform(0.24, 0.3)
    side = [(0.36, 0), (0.36, 0.1), (0.22, 0.22), (0.17, 0.65), (top, 0.75), (top, 1.0)]
    body = turned_solid(side) - upright(slab(disc(0.6 * top), 0.2, 0.0)).translate((0, 1, 0))
    for turn in (0, 60, 120):
        body = body - block((0.09, 0.16, 1), (0, 1, 0)).rotate((0, turn, 0))
    return [Part(body)]


def fluted_vase(rng: Rng) -> Parts:
    belly = rng.uniform(0.25, 0.36)
    body = hollow([(0.14, 0), (belly, 0.35), (0.12, 0.75), (0.2, 0.95)], 0.03, 0.06)
    for k in range(10):
        a = 2 * math.pi * k / 10
        x, z = 1.08 * belly * math.cos(a), 1.08 * belly * math.sin(a)
        body = body - rod((x, -0.1, z), (x, 0.8, z), 0.07, 0.07)
    return [Part(body)]


def screwdriver(rng: Rng) -> Parts:
    grip = turned_solid([(0.05, 0), (0.13, 0.08), (0.1, 0.25), (0.13, 0.4), (0.06, 0.48)])
    reach = rng.uniform(0.9, 1.3)
    tip = block((0.12, 0.12, 0.03), (0, reach, 0))
    return [Part(grip), Part(rod((0, 0.4, 0), (0, reach, 0), 0.04, 0.04), "accent"), Part(tip)]


def saw(rng: Rng) -> Parts:
    long, teeth = rng.uniform(0.9, 1.3), 16
    edge = [(long * k / teeth, 0.0 if k % 2 else 0.05) for k in range(teeth + 1)]
    blade = slab(outline([*edge, (long, 0.12), (0, 0.32)]), 0.03, 0.0)
    ring = slab(disc(0.24), 0.1, 0.0).scale((0.7, 1.0, 1.0)) - slab(disc(0.12), 1.0, 0.0)
    return [Part(blade), Part(ring.translate((-0.1, 0.16, 0)), "accent")]


def pliers(rng: Rng) -> Parts:
    spread = rng.uniform(0.15, 0.35)
    parts: Parts = [Part(slab(disc(0.12), 0.12, 0.0))]
    for side in (-1, 1):
        parts.append(Part(bar((side * 0.05, 0, 0), (side * 0.06, 0.4, 0), 0.08, 0.035)))
        handle = [(side * 0.05, 0, 0), (side * spread, -0.4, 0), (side * spread, -0.8, 0)]
        parts.append(Part(tube(np.array(handle), 0.05), "accent"))
    return parts


def hexagon_nut(rng: Rng) -> Parts:
    corners = [(0.5 * math.cos(k * math.pi / 3), 0.5 * math.sin(k * math.pi / 3)) for k in range(6)]
    hole = slab(disc(rng.uniform(0.2, 0.3)), 2.0, 0.0)
    return [Part(slab(outline(corners), rng.uniform(0.2, 0.45), 0.0) - hole)]


def pipe_elbow(rng: Rng) -> Parts:
    t, thick = np.linspace(0, math.pi / 2, 13), rng.uniform(0.13, 0.2)
    path = np.stack([0.5 * (1 - np.cos(t)), 0.5 * np.sin(t), 0 * t], 1)
    path = np.concatenate([[(0, -0.4, 0)], path, [(0.9, 0.5, 0)]])
    rim = upright(slab(disc(1.6 * thick), 0.1, 0.0)).translate((0, -0.4, 0))
    end = slab(disc(1.6 * thick), 0.1, 0.0).rotate((0, 90, 0)).translate((0.9, 0.5, 0))
    return [Part(tube(path, thick)), Part(rim, "accent"), Part(end, "accent")]


def sliced_ball(rng: Rng) -> Parts:
    body = ellipsoid((0.5, 0.5, 0.5), (0, 0.5, 0))
    body = body - block((1, 1, 1), (0.5, 0.5 + rng.uniform(0.3, 0.5), 0.5))
    return [Part(body - upright(slab(disc(0.14), 3.0, 0.0)).translate((-0.15, 0, -0.1)))]


def star(rng: Rng) -> Parts:
    count, inner = int(rng.integers(5, 8)), rng.uniform(0.2, 0.3)
    points = []
    for k in range(2 * count):
        reach, a = (0.55, inner)[k % 2], math.pi / 2 + math.pi * k / count
        points.append((reach * math.cos(a), reach * math.sin(a)))
    return [Part(slab(outline(points), rng.uniform(0.12, 0.3), 0.02))]


def pine(rng: Rng) -> Parts:
    parts: Parts = [Part(rod((0, 0, 0), (0, 0.3, 0), 0.08, 0.07), "accent")]
    layers = int(rng.integers(3, 6))
    for k in range(layers):
        low, wide = 0.2 + 0.24 * k, 0.5 - 0.38 * k / layers
        parts.append(Part(rod((0, low, 0), (0, low + 0.4, 0), wide, 0.02)))
    return parts


def palm(rng: Rng) -> Parts:
    t = np.linspace(0, 1, 9)
    lean = rng.uniform(-0.3, 0.3)
    stem = np.stack([lean * t**2, 1.1 * t, 0 * t], 1)
    parts: Parts = [Part(tube(stem, 0.05), "accent")]
    for k in range(7):
        a = 2 * math.pi * k / 7
        x, z = math.cos(a), math.sin(a)
        leaf = [(lean + 0.5 * s * x, 1.1 + 0.3 * s - 0.5 * s * s, 0.5 * s * z) for s in t]
        parts.append(Part(tube(np.array(leaf), 0.035)))
    return parts


def robot(rng: Rng) -> Parts:
    wide = rng.uniform(0.3, 0.5)
    parts: Parts = [Part(block((wide, 0.5, 0.3), (0, 0.65, 0), 0.03))]
    parts += [Part(block((0.7 * wide, 0.25, 0.25), (0, 1.07, 0), 0.03), "accent")]
    for side in (-1, 1):
        x = side * (wide / 2 + 0.07)
        parts.append(Part(block((0.1, 0.5, 0.12), (x, 0.6, 0), 0.02), "accent"))
        parts.append(Part(block((0.12, 0.4, 0.15), (side * 0.12, 0.2, 0), 0.02)))
        parts.append(Part(ellipsoid((0.05, 0.05, 0.05), (side * 0.07, 1.1, 0.13))))
    return parts


def octopus(rng: Rng) -> Parts:
    balls = [(0, 0.6, 0, 0.28), (0, 0.4, 0, 0.2)]
    for k in range(6):
        a, curl = 2 * math.pi * k / 6 + 0.3, rng.uniform(0.5, 0.9)
        for s in np.linspace(0.2, 1, 7):
            reach, height = 0.6 * s * curl, 0.35 * (1 - s) + 0.06
            balls.append((reach * math.cos(a), height, reach * math.sin(a), 0.09 - 0.04 * s))
    return [Part(skin(np.array(balls), 0.06))]


MORE: tuple[Callable[[Rng], Parts], ...] = (
    *(word, rook, fluted_vase, screwdriver, saw, pliers, hexagon_nut, pipe_elbow, sliced_ball),
    *(star, pine, palm, robot, octopus),
)

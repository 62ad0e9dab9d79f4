"""Things that the embedded world has no words for, in thirty-five kinds (more in `unknown_kinds`):
letters, turned pieces, tools, boolean solids, characters, animals, branching trees, bent tubes.
They are built by Manifold and seen by the ray caster of the second world, with its sun and sky:
nothing of the toybox takes part.

Run: python benchmarks/unknown_things.py --count 40 --sheet unknown.jpg
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from second_world.render import Light, Views, render
from second_world.shapes import RADIUS, Material, Thing
from second_world.solids import (
    Part,
    bar,
    block,
    disc,
    ellipsoid,
    fused,
    hollow,
    mirrored,
    outline,
    rod,
    skin,
    slab,
    tube,
    turned_solid,
    upright,
)
from unknown_kinds import MORE, STROKES, sign

SEED = 7001
SIZE = 192
Rng = np.random.Generator
Parts = list[Part]


def letter(rng: Rng) -> Parts:
    return sign(str(rng.choice(list(STROKES))), rng.uniform(0.09, 0.14), rng.uniform(0.1, 0.25))


def pawn(rng: Rng) -> Parts:
    neck = rng.uniform(0.1, 0.16)
    body = [(0.36, 0), (0.38, 0.08), (0.24, 0.2), (neck, 0.55), (neck * 1.2, 0.7), (0.12, 0.75)]
    head = ellipsoid((0.2, rng.uniform(0.18, 0.26), 0.2), (0, 0.9, 0))
    return [Part(turned_solid(body)), Part(head)]


def goblet(rng: Rng) -> Parts:
    bowl = hollow([(0.06, 0.5), (0.3, 0.65), (rng.uniform(0.26, 0.4), 1.05)], 0.03, 0.06)
    foot = turned_solid([(0.3, 0), (0.28, 0.03), (0.05, 0.1), (0.045, 0.4), (0.07, 0.55)])
    return [Part(bowl), Part(foot, "accent")]


def bell(rng: Rng) -> Parts:
    lip = rng.uniform(0.4, 0.5)
    body = turned_solid([(lip, 0), (lip * 0.8, 0.1), (0.26, 0.35), (0.22, 0.6), (0.02, 0.7)])
    ring = tube(_ring(0.08, (0, 0.76, 0)), 0.025)
    return [Part(body), Part(ring, "accent")]


def hammer(rng: Rng) -> Parts:
    handle = bar((0, 0, 0), (0, 1, 0), 0.05, 0.04)
    wide = rng.uniform(0.2, 0.3)
    head = block((2 * wide, 0.14, 0.14), (0.05, 1, 0), 0.02)
    return [Part(handle, "accent"), Part(head)]


def wrench(rng: Rng) -> Parts:
    flat = rng.uniform(0.06, 0.1)
    shaft = block((0.14, 0.8, flat), (0, 0.5, 0), 0.02)
    jaw = slab(disc(0.17), flat, 0.0) - block((0.14, 0.2, 0.4), (0, 0.12, 0))
    ring = slab(disc(0.15), flat, 0.0) - slab(disc(0.08), 1.0, 0.0)
    return [Part(shaft), Part(jaw.translate((0, 1, 0))), Part(ring.translate((0, 0.05, 0)))]


def key(rng: Rng) -> Parts:
    flat = 0.06
    bow = slab(disc(0.2), flat, 0.0) - slab(disc(0.11), 1.0, 0.0)
    shaft = block((0.08, 0.8, flat), (0, -0.55, 0))
    teeth = [
        Part(block((rng.uniform(0.1, 0.2), 0.06, flat), (0.09, -0.9 + 0.12 * k, 0)))
        for k in range(3)
    ]
    return [Part(bow), Part(shaft), *teeth]


def gear(rng: Rng) -> Parts:
    count, points = int(rng.integers(7, 12)), []
    for k in range(4 * count):
        reach = 0.5 if k % 4 in (0, 1) else 0.38
        angle = math.pi * k / (2 * count)
        points.append((reach * math.cos(angle), reach * math.sin(angle)))
    body = slab(outline(points), rng.uniform(0.12, 0.3), 0.0) - slab(disc(0.14), 2.0, 0.0)
    return [Part(body)]


def bracket(rng: Rng) -> Parts:
    wide = rng.uniform(0.3, 0.6)
    solid = block((0.8, 0.12, wide), (0, 0.06, 0)) + block((0.12, 0.8, wide), (-0.34, 0.4, 0))
    hole = upright(slab(disc(0.09), 1.0, 0.0)).translate((0.15, 0, 0))
    other = slab(disc(0.1), 2.0, 0.0).rotate((0, 90, 0)).translate((-0.34, 0.5, 0))
    return [Part(solid - hole - other)]


def knot(rng: Rng) -> Parts:
    t = np.linspace(0, 2 * np.pi, 121)
    q = int(rng.choice([3, 5]))
    reach = 0.45 + 0.17 * np.cos(q * t)
    path = np.stack([reach * np.cos(2 * t), reach * np.sin(2 * t), 0.2 * np.sin(q * t)], 1)
    return [Part(tube(path, rng.uniform(0.05, 0.09)))]


def dinosaur(rng: Rng) -> Parts:
    long = rng.uniform(0.8, 1.2)
    balls = [(0, 0.55, 0, 0.27), (0, 0.5, -0.3, 0.2), (0, 0.4, -0.6 * long, 0.1)]
    balls += [(0, 0.3, -0.9 * long, 0.05), (0, 0.8, 0.25, 0.15), (0, 1.05, 0.35, 0.14)]
    balls += [(0, 1.02, 0.52, 0.1)]
    for side in (-1, 1):
        balls += [(side * 0.18, 0.3, 0.02, 0.12), (side * 0.18, 0.1, 0.05, 0.1)]
        balls += [(side * 0.16, 0.68, 0.3, 0.06)]
    return [Part(skin(np.array(balls), 0.08))]


def rabbit(rng: Rng) -> Parts:
    ears = rng.uniform(0.3, 0.5)
    balls = [(0, 0.3, 0, 0.3), (0, 0.28, -0.2, 0.28), (0, 0.7, 0.18, 0.2), (0, 0.65, 0.33, 0.1)]
    balls += [(0, 0.3, -0.5, 0.09)]
    for side in (-1, 1):
        balls += [(side * 0.08, 0.9 + ears * k / 3, 0.12, 0.06) for k in range(4)]
        balls += [(side * 0.15, 0.06, 0.2, 0.08)]
    return [Part(skin(np.array(balls), 0.06))]


def duck(rng: Rng) -> Parts:
    body = skin(
        np.array(
            [(0, 0.3, 0, 0.3), (0, 0.36, -0.3, 0.18), (0, 0.62, 0.2, 0.16), (0, 0.8, 0.24, 0.18)]
        ),
        0.08,
    )
    beak = ellipsoid((0.08, 0.03, rng.uniform(0.1, 0.18)), (0, 0.77, 0.45))
    return [Part(body), Part(beak, "accent")]


def person(rng: Rng) -> Parts:
    arm = rng.uniform(-0.3, 0.4)
    solids = [Part(ellipsoid((0.12, 0.14, 0.12), (0, 1.15, 0)), "accent")]
    solids += [Part(bar((0, 0.55, 0), (0, 0.98, 0), 0.14, 0.16))]
    for side in (-1, 1):
        solids += [Part(bar((side * 0.08, 0.5, 0), (side * 0.12, 0, 0), 0.08, 0.06), "accent")]
        hand = (side * 0.5, 0.75 + arm, 0.1)
        solids += [Part(bar((side * 0.17, 0.97, 0), hand, 0.06, 0.045))]
    return solids


def branches(rng: Rng) -> Parts:
    parts: Parts = []

    def grow(at: np.ndarray, way: np.ndarray, length: float, thick: float, left: int) -> None:
        end = at + way * length
        parts.append(Part(bar(tuple(at), tuple(end), thick, thick * 0.7)))
        if left == 0:
            return
        for _ in range(2):
            turn = way + rng.normal(0, 0.5, 3) * (1, 0.5, 1)
            grow(end, turn / np.linalg.norm(turn), length * 0.75, thick * 0.7, left - 1)

    grow(np.zeros(3), np.array([0.0, 1.0, 0.0]), 0.45, 0.07, 3)
    return parts


def guitar(rng: Rng) -> Parts:
    low = slab(disc(0.3), 0.14, 0.0)
    top = slab(disc(rng.uniform(0.19, 0.25)), 0.14, 0.0).translate((0, 0.36, 0))
    neck = block((0.08, 0.8, 0.06), (0, 0.85, 0.03))
    head = block((0.14, 0.18, 0.05), (0, 1.3, 0.03))
    return [Part(low), Part(top), Part(neck, "accent"), Part(head, "accent")]


def teapot(rng: Rng) -> Parts:
    body = ellipsoid((0.38, rng.uniform(0.28, 0.36), 0.38), (0, 0.33, 0))
    lid = ellipsoid((0.07, 0.06, 0.07), (0, 0.7, 0))
    spout = tube(np.array([(0.3, 0.25, 0), (0.5, 0.35, 0), (0.6, 0.55, 0), (0.68, 0.6, 0)]), 0.06)
    handle = tube(_ring(0.2, (-0.42, 0.36, 0), math.pi / 2, 3 * math.pi / 2), 0.04)
    return [Part(body), Part(lid), Part(spout), Part(handle)]


def plane(rng: Rng) -> Parts:
    span = rng.uniform(0.8, 1.1)
    body = ellipsoid((0.12, 0.13, 0.8), (0, 0.2, 0))
    wing = block((2 * span * 0.8, 0.04, 0.28), (0, 0.2, 0.05), 0.015)
    tail = block((0.5, 0.03, 0.15), (0, 0.24, -0.68), 0.01)
    fin = block((0.03, 0.3, 0.18), (0, 0.4, -0.68), 0.01)
    return [Part(body), Part(wing, "accent"), Part(tail, "accent"), Part(fin, "accent")]


def rocking_chair(rng: Rng) -> Parts:
    parts: Parts = [Part(block((0.5, 0.05, 0.5), (0, 0.42, 0), 0.02))]
    t = np.linspace(-0.9, 0.9, 15)
    for side in (-0.24, 0.24):
        runner = np.stack([np.full(15, side), 0.75 - 0.75 * np.cos(t), 0.6 * np.sin(t)], 1)
        parts.append(Part(tube(runner, 0.028)))
        for z in (-0.2, 0.2):
            parts.append(Part(rod((side, 0.02, z), (side, 0.42, z), 0.03, 0.03)))
        parts.append(Part(bar((side, 0.42, -0.22), (side, 1.15, -0.45), 0.03, 0.03)))
    parts += [
        Part(
            bar(
                (-0.24, y, -0.22 - 0.315 * (y - 0.42)),
                (0.24, y, -0.22 - 0.315 * (y - 0.42)),
                0.03,
                0.03,
            )
        )
        for y in rng.choice([0.6, 0.75, 0.9, 1.05, 1.12], 3, replace=False)
    ]
    return parts


def ladder(rng: Rng) -> Parts:
    wide = rng.uniform(0.16, 0.26)
    parts = [Part(bar((s * wide, 0, 0.3), (s * wide, 1.4, 0), 0.035, 0.035)) for s in (-1, 1)]
    for k in range(6):
        y, z = 0.15 + 0.22 * k, 0.3 - 0.3 * (0.15 + 0.22 * k) / 1.4
        parts.append(Part(bar((-wide, y, z), (wide, y, z), 0.028, 0.028)))
    return parts


def spectacles(rng: Rng) -> Parts:
    side = tube(_ring(rng.uniform(0.16, 0.22), (0.26, 0, 0)), 0.03)
    arm = bar((0.46, 0.03, 0), (0.46, 0.03, -0.7), 0.025, 0.025)
    return [
        Part(mirrored(side)),
        Part(mirrored(arm)),
        Part(bar((-0.08, 0, 0), (0.08, 0, 0), 0.03, 0.03)),
    ]


KINDS: dict[str, Callable[[Rng], Parts]] = {
    made.__name__: made
    for made in (
        *(letter, pawn, goblet, bell, hammer, wrench, key, gear, bracket, knot, dinosaur, rabbit),
        *(duck, person, branches, guitar, teapot, plane, rocking_chair, ladder, spectacles),
        *MORE,
    )
}


def _ring(
    reach: float, middle: tuple[float, float, float], start: float = 0.0, end: float = 2 * math.pi
) -> np.ndarray:
    t = np.linspace(start, end, 33)
    circle = np.stack([reach * np.cos(t), reach * np.sin(t), np.zeros_like(t)], 1)
    return circle + np.array(middle)


def unknown(index: int) -> Thing:
    """Thing `index`: its kind goes through the table in order, all else is drawn."""
    rng = np.random.Generator(np.random.Philox(key=[SEED, index]))
    name = list(KINDS)[index % len(KINDS)]
    parts = KINDS[name](rng)
    vertices, faces, owner = fused(parts)
    centre = (vertices.min(0) + vertices.max(0)) / 2
    life = float(np.linalg.norm(vertices - centre, axis=1).max())
    points = ((vertices - centre) * (RADIUS / life)).astype(np.float32)
    main, accent = rng.uniform(0.1, 0.9, 3), rng.uniform(0.1, 0.9, 3)
    patterned = rng.random() < 0.25
    materials = [
        Material(
            main if p.role == "main" else accent,
            accent,
            "striped" if patterned and p.role == "main" else "plain",
            gloss=0.4,
        )
        for p in parts
    ]
    return Thing(points, faces, owner, materials, name, "", "plain", name, life)


def camera(index: int) -> tuple[float, float, Light]:
    """Azimuth and elevation in radians, and the light, of the picture of a thing."""
    rng = np.random.Generator(np.random.Philox(key=[SEED + 1, index]))
    azimuth, light = float(rng.uniform(-1.0, 1.0)), Light.draw(rng)
    turned = Light(light.azimuth + azimuth, light.elevation, light.sun, light.sky, light.warmth)
    return azimuth, float(np.deg2rad(rng.uniform(0, 35))), turned


def view_of(index: int, size: int = SIZE, turns: tuple[float, ...] = (0.0,)) -> Views:
    """Pictures of a thing from its camera, turned about the vertical by `turns` (radians)."""
    azimuth, elevation, light = camera(index)
    angles = np.array([azimuth + t for t in turns])
    return render(unknown(index), angles, np.full(len(turns), elevation), size, light, seed=index)


def main() -> None:
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=42)
    parser.add_argument("--sheet", type=Path, default=Path("unknown_things.jpg"))
    a = parser.parse_args()
    cells = []
    for index in range(a.count):
        image = view_of(index, 96).image[0]
        cells.append(image[..., :3] * image[..., 3:] + 1 - image[..., 3:])
    cells += [np.ones_like(cells[0])] * (-len(cells) % 7)
    rows = [np.concatenate(cells[k : k + 7], 1) for k in range(0, len(cells), 7)]
    Image.fromarray((np.concatenate(rows) * 255).astype(np.uint8)).save(a.sheet)


if __name__ == "__main__":
    main()

"""Boat and rocket of the second world, in metres."""

from __future__ import annotations

import math

import numpy as np
from manifold3d import Manifold

from .solids import (
    Part,
    across,
    bar,
    block,
    disc,
    join,
    lathe,
    mirrored,
    outline,
    plate,
    slab,
    tube,
    turned_solid,
)


def hull(length: float, width: float, tall: float, full: float) -> Manifold:
    """A boat's body with its bow to the front: a pointed plan, extruded, whose section narrows and
    whose bow and stern rise."""
    t = np.linspace(0, 1, 40)
    half = (
        width
        / 2
        * np.minimum(1, (1 - t**2.6))
        * (full + (1 - full) * np.sin(np.pi * (0.25 + 0.6 * t)))
    )
    right = np.stack([half, length * (t - 0.5)], 1)
    left = right[::-1] * [-1, 1]
    # Level shapes are of x and -z.
    points = np.concatenate([right, left[1:]]) * [1, -1]
    solid = plate(outline(points), tall, tall).refine_to_length(length / 36)

    def bend(points: np.ndarray) -> np.ndarray:
        out = np.array(points)
        s = out[:, 1] / tall
        along = out[:, 2] / length + 0.5
        out[:, 0] *= 0.35 + 0.65 * np.sqrt(np.clip(s, 0, 1))
        out[:, 2] = np.where(
            along > 0.5, out[:, 2] * (0.86 + 0.14 * s), out[:, 2] * (0.93 + 0.07 * s)
        )
        out[:, 1] += tall * 0.42 * np.clip(along - 0.45, 0, 1) ** 2 * 2.2
        return out

    return solid.warp_batch(bend)


def boat(rng: np.random.Generator, kind: str) -> list[Part]:
    """A rowing boat with benches and oars, or a small sailing boat."""
    u = rng.uniform
    length = u(3.2, 4.0)
    width, tall = length * u(0.33, 0.38), u(0.5, 0.6)
    body = hull(length, width, tall, 0.8)
    wall = 0.06
    inner = hull(length - 2.6 * wall, width - 2 * wall, tall, 0.8).translate((0, wall * 1.2, 0))
    shell = body - (inner + inner.translate((0, 0.25, 0)))
    bench = [
        block((width * 0.86, 0.04, 0.24), (0, tall * 0.66, z * length)) for z in (-0.28, 0.0, 0.22)
    ]
    seats = join(bench) ^ body
    parts = [Part(shell), Part(seats, "wood")]
    if kind == "rowing":
        oar = bar(
            (width * 0.12, tall * 0.75, -0.05), (width * 0.95, tall * 0.88, -0.55), 0.022, 0.022, 12
        )
        blade = (
            block((0.42, 0.02, 0.15), (0, 0, 0), 0.008)
            .rotate((0, 30, 0))
            .rotate((0, 0, 6))
            .translate((width * 1.08, tall * 0.90, -0.65))
        )
        return [*parts, Part(mirrored(oar + blade), "wood")]
    mast, z = length * u(0.95, 1.15), length * 0.12
    pole = bar((0, 0.06, z), (0, tall + mast, z), 0.045, 0.025, 16)
    boom = bar((0, tall + 0.28, z), (0, tall + 0.28, -length * 0.42), 0.028, 0.022, 12)
    t = np.linspace(0, 1, 12)
    leech = np.stack(
        [
            -length * 0.41 * (1 - t) + (z - 0.06) * t - 0.16 * np.sin(np.pi * t) * (1 - t),
            tall + 0.34 + (mast - 0.45) * t,
        ],
        1,
    )
    main = across(
        outline([(z - 0.03, tall + 0.32), (z - 0.03, tall + mast - 0.1), *leech[::-1].tolist()]),
        0.035,
    )
    jib = across(
        outline(
            [(z + 0.08, tall + 0.25), (length * 0.46, tall + 0.26), (z + 0.06, tall + mast * 0.8)]
        ),
        0.03,
    )
    return [*parts, Part(join([pole, boom]), "wood"), Part(join([main, jib]), "linen")]


def rocket(rng: np.random.Generator, kind: str) -> list[Part]:
    """A storybook rocket with swept fins and a porthole, or a slim one with a coloured body and
    four small fins."""
    u = rng.uniform
    if kind == "slim":
        r, tall, nose = u(0.16, 0.2), u(1.25, 1.5), u(0.36, 0.48)
        side = [(r * 0.94, 0.1), (r, 0.14), (r, tall * 0.5), (r, tall)]
        cone = [
            (r, tall),
            (r * 0.86, tall + nose * 0.4),
            (r * 0.5, tall + nose * 0.75),
            (0.012, tall + nose),
        ]
        count, sweep, reach = 4, u(0.02, 0.1), r * u(0.75, 1.0)
    else:
        r, tall, nose = u(0.27, 0.33), u(0.85, 1.0), u(0.32, 0.42)
        side = [(r * 0.62, 0.1), (r * 0.9, 0.36), (r, 0.62), (r * 0.93, tall)]
        cone = [
            (r * 0.93, tall),
            (r * 0.72, tall + nose * 0.45),
            (r * 0.38, tall + nose * 0.8),
            (0.012, tall + nose),
        ]
        count, sweep, reach = (3 if rng.random() < 0.5 else 4), u(0.10, 0.2), r * u(0.85, 1.1)
    parts = [Part(turned_solid(side, 48), round=True), Part(turned_solid(cone, 36), "roof", True)]
    root = side[0][0] * 0.85
    fin = outline(
        [(root, 0.16), (r + reach, -sweep), (r + reach * 1.04, 0.10), (r * 0.98, 0.5), (root, 0.5)],
        0.02,
    )
    blade = slab(fin, 0.045, 0.012)
    blades = join(
        [blade.rotate((0, 360 * k / count + (45 if count == 4 else 90), 0)) for k in range(count)]
    )
    parts.append(Part(blades, "roof"))
    parts.append(Part(lathe([(0, 0.02), (r * 0.5, 0.02), (r * 0.36, 0.16), (0, 0.16)]), "dark"))
    y = tall * (0.72 if kind != "slim" else 0.82)
    edge = float(np.interp(y, [p[1] for p in side], [p[0] for p in side]))
    angle = np.linspace(0, 2 * math.pi, 25)
    hole = 0.42 * r
    rim = tube(
        np.stack(
            [
                hole * np.cos(angle),
                y + hole * np.sin(angle),
                edge * 0.99 - (edge - np.sqrt(edge**2 - (hole * np.cos(angle)) ** 2)),
            ],
            1,
        ),
        0.16 * hole,
        12,
    )
    pane = slab(disc(hole, 40), 2 * edge).translate((0, y, edge)) ^ turned_solid(
        [(p[0] * 1.015, p[1]) for p in side], 48
    )
    return [*parts, Part(rim, "metal"), Part(pane, "glass")]

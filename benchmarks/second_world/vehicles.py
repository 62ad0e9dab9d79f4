"""Car, boat and rocket of the second world, in metres."""

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
    rectangle,
    slab,
    spline,
    tube,
    turned_solid,
)


def car(rng: np.random.Generator, kind: str) -> list[Part]:
    """A saloon, a hatchback or a van: three outlines cut with each other, wheel arches cut out."""
    u = rng.uniform
    length, width = {
        "saloon": (u(4.3, 4.7), u(1.76, 1.86)),
        "hatchback": (u(3.6, 4.0), u(1.66, 1.76)),
        "van": (u(4.6, 5.2), u(1.85, 1.98)),
    }[kind]
    wheel = u(0.31, 0.35)
    floor, sill = 0.20, 0.30
    belt = u(0.88, 0.96) if kind != "van" else u(1.05, 1.15)
    roof = {"saloon": u(1.40, 1.47), "hatchback": u(1.45, 1.54), "van": u(1.9, 2.1)}[kind]
    f, b = length / 2, -length / 2
    nose = belt - u(0.12, 0.2)
    screen = {"saloon": f - 1.15, "hatchback": f - 0.95, "van": f - 0.62}[kind]
    tail = {"saloon": b + 0.85, "hatchback": b + 0.10, "van": b + 0.02}[kind]
    back_top = {"saloon": b + 1.35, "hatchback": b + 0.55, "van": b + 0.10}[kind]
    front_top = screen - {"saloon": 0.80, "hatchback": 0.70, "van": 0.55}[kind]
    lower = outline(
        [
            (b, sill),
            (b + 0.12, floor),
            (f - 0.14, floor),
            (f, sill + 0.05),
            (f - 0.03, nose - 0.10),
            (f - 0.14, nose),
            (screen + 0.1, belt),
            (tail, belt + 0.02),
            (b + 0.06, belt - 0.02),
            (b, belt - 0.2),
        ],
        0.07,
    )
    upper = outline(
        [
            (screen + 0.1, belt - 0.1),
            (screen, belt),
            (front_top, roof - 0.03),
            (front_top - 0.25, roof),
            (back_top + 0.25, roof - 0.01),
            (back_top, roof - 0.06),
            (tail, belt),
            (tail, belt - 0.1),
        ],
        0.06,
    )
    plan = plate(rectangle(width, length, 0.42), 5.0, 4.0)
    shell = (
        across(lower, 3.0)
        ^ plan
        ^ slab(
            outline(
                [
                    (-width / 2, 0),
                    (width / 2, 0),
                    (width / 2 + 0.01, belt * 0.6),
                    (width / 2 - 0.06, belt + 0.06),
                    (-width / 2 + 0.06, belt + 0.06),
                    (-width / 2 - 0.01, belt * 0.6),
                ],
                0.05,
            ),
            8,
        )
    )
    tumble = width / 2 - 0.06
    waist = slab(
        outline(
            [
                (-tumble, belt - 0.2),
                (tumble, belt - 0.2),
                (tumble, belt),
                (tumble - 0.17, roof),
                (-tumble + 0.17, roof),
                (-tumble, belt),
            ],
            0.05,
        ),
        8,
    )
    cabin = across(upper, 3.0) ^ waist
    axles = (f - 0.20 * length + 0.06, b + 0.19 * length)
    arch = join([across_disc(wheel + 0.055, 3.0).translate((0, wheel, z)) for z in axles])
    body = shell - arch
    # Windows: what of a slightly larger cabin lies in the outlines of the panes.
    post = 0.07
    side = outline(
        [
            (screen - 0.08, belt + 0.05),
            (front_top + 0.02, roof - 0.10),
            (back_top + 0.06, roof - 0.10),
            (tail + 0.16, belt + 0.05),
        ],
        0.04,
    )
    middle = (front_top + back_top) / 2
    pillar = across(
        outline(
            [
                (middle - post / 2, 0),
                (middle + post / 2, 0),
                (middle + post / 2, 3),
                (middle - post / 2, 3),
            ]
        ),
        4,
    )
    grown = cabin.translate((0.012, 0, 0)) + cabin.translate((-0.012, 0, 0))
    sides = (grown ^ across(side, 4.0)) - pillar
    if kind == "van":
        sides = sides ^ block((4, 4, 1.9), (0, 2, screen - 0.95 + 0.3))
    ahead = cabin.translate((0, 0.004, 0.02))
    front_pane = slab(rectangle(2 * tumble - 0.30, roof - belt - 0.15, 0.06), 8).translate(
        (0, (roof + belt) / 2 - 0.01, 0)
    )
    ends = (ahead ^ front_pane ^ block((4, 4, 4), (0, 2, front_top + 2.0))) + (
        cabin.translate((0, 0.004, -0.02)) ^ front_pane ^ block((4, 4, 4), (0, 2, back_top - 2.0))
    )
    glass = join([sides, ends])
    tyre = lathe(
        np.concatenate(
            [
                spline(
                    [
                        (wheel * 0.62, -0.10),
                        (wheel * 0.97, -0.10),
                        (wheel, -0.05),
                        (wheel, 0.05),
                        (wheel * 0.97, 0.10),
                        (wheel * 0.62, 0.10),
                    ],
                    24,
                )
            ]
        ),
        48,
    )
    rim = lathe(
        [
            (0, -0.08),
            (wheel * 0.66, -0.09),
            (wheel * 0.66, 0.09),
            (wheel * 0.56, 0.07),
            (wheel * 0.2, 0.075),
            (wheel * 0.18, 0.095),
            (0, 0.095),
        ],
        40,
    )
    tyre, rim = (s.rotate((0, 0, -90)) for s in (tyre, rim))
    place = width / 2 - 0.12
    parts = [Part(body), Part(cabin), Part(glass, "glass")]
    parts += [
        Part(mirrored(join([s.translate((place, wheel, z)) for z in axles])), role)
        for s, role in ((tyre, "tyre"), (rim, "metal"))
    ]
    lamp_y = nose - 0.12
    bright = block((0.34, 0.13, 0.4), (width * 0.34, lamp_y, f - 0.14), 0.05)
    red = block((0.30, 0.14, 0.3), (width * 0.36, belt - 0.14, b + 0.13), 0.04)
    parts += [Part(mirrored(bright), "linen"), Part(mirrored(red), "signal")]
    bumper = [
        block((width * 0.86, 0.10, 0.3), (0, sill + 0.06, s), 0.04) for s in (f - 0.12, b + 0.12)
    ]
    parts.append(Part(join(bumper), "dark"))
    parts.append(
        Part(
            mirrored(block((0.14, 0.11, 0.08), (tumble + 0.06, belt + 0.06, screen - 0.25), 0.03)),
            "dark",
        )
    )
    return parts


def across_disc(radius: float, width: float) -> Manifold:
    """A disc whose axis is x."""
    return slab(disc(radius, 64), width).rotate((0, 90, 0))


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


__all__ = ["boat", "car", "rocket"]

"""House, tree, mushroom, cactus, snowman and robot of the second world; houses and trees in metres
too."""

from __future__ import annotations

import math

import numpy as np
from manifold3d import Manifold

from .solids import (
    Part,
    bar,
    block,
    disc,
    ellipsoid,
    hollow,
    join,
    lathe,
    mirrored,
    outline,
    rod,
    skin,
    slab,
    spline,
    tube,
    turned_solid,
)


def house(rng: np.random.Generator, kind: str) -> list[Part]:
    """A house whose gable looks to the front, or its eaves; with windows, door and chimney."""
    u = rng.uniform
    width, depth, wall, rise = u(5.5, 7.5), u(6.0, 8.5), u(2.7, 3.4), u(1.9, 2.9)
    span = width if kind == "gable" else depth
    half, eave, thick = span / 2, 0.45, 0.22
    long = depth if kind == "gable" else width
    section = outline([(-half, 0), (half, 0), (half, wall), (0, wall + rise), (-half, wall)])
    slope = rise / half
    low = wall - eave * slope
    sheet = [(-half - eave, low), (0, wall + rise), (half + eave, low)]
    cover = outline([*sheet, *[(x, y + thick * math.hypot(1, slope)) for x, y in sheet[::-1]]])
    body, roof = slab(section, long), slab(cover, long + 0.7)
    if kind != "gable":
        body, roof = body.rotate((0, 90, 0)), roof.rotate((0, 90, 0))
    openings, panes, frames = [], [], []

    def window(x: float, y: float, z: float, wide: float, high: float, side: bool) -> None:
        turn = (0, 90, 0) if side else (0, 0, 0)
        at = (x, y, z)
        openings.append(block((wide, high, 0.3), (0, 0, 0)).rotate(turn).translate(at))
        panes.append(block((wide, high, 0.12), (0, 0, 0)).rotate(turn).translate(at))
        rim = block((wide + 0.2, high + 0.2, 0.36), (0, 0, 0)) - block((wide, high, 1), (0, 0, 0))
        bars = [block((0.07, high, 0.2), (0, 0, 0)), block((wide, 0.07, 0.2), (0, 0, 0))]
        frames.append(join([rim, *bars]).rotate(turn).translate(at))

    front = depth / 2 - 0.05
    for x in (-0.31 * width, 0.31 * width):
        window(x, wall * 0.55, front, 1.0, 1.25, False)
        window(x, wall * 0.55, -front, 1.0, 1.25, False)
    for z in (-0.24 * depth, 0.24 * depth):
        for s in (-1, 1):
            window(s * (width / 2 - 0.05), wall * 0.55, z, 1.0, 1.25, True)
    if kind == "gable":
        window(0, wall + rise * 0.32, front, 0.8, 0.8, False)
    door = block((1.05, 2.15, 0.25), (0, 1.075, depth / 2 - 0.07), 0.03)
    step = block((1.7, 0.16, 0.7), (0, 0.08, depth / 2 + 0.25))
    ridge = wall + rise
    place = (half * 0.45, ridge - 0.1, -long * 0.18)
    if kind != "gable":
        place = (long * 0.24, ridge - 0.1, -half * 0.45)
    chimney = join(
        [
            block((0.6, 1.7, 0.6), place),
            block((0.75, 0.16, 0.75), (place[0], place[1] + 0.8, place[2])),
        ]
    )
    walls = body - join(openings)
    return [
        Part(walls),
        Part(roof, "roof"),
        Part(chimney, "brick"),
        Part(join(panes), "glass"),
        Part(join(frames), "linen"),
        Part(door, "wood"),
        Part(step, "stone"),
    ]


def tree(rng: np.random.Generator, kind: str) -> list[Part]:
    """A broad-leaved tree of many leaf balls on a branching trunk, or a pine of ragged skirts."""
    u = rng.uniform
    if kind == "pine":
        tall, wide = u(3.4, 4.6), u(0.85, 1.15)
        parts = [Part(rod((0, 0, 0), (0, tall * 0.5, 0), 0.15, 0.10), "bark", True)]
        levels = int(rng.integers(3, 6))
        step = (tall - 0.7) / (levels + 0.6)
        for k in range(levels):
            reach = wide * (1 - 0.78 * k / levels)
            low, high = 0.7 + k * step, min(tall, 0.7 + k * step + 1.75 * step)
            skirt = [
                (0.05, low + 0.14),
                (reach * 0.6, low + 0.05),
                (reach, low - 0.04),
                (reach * 0.93, low + 0.06),
            ]
            side = spline(
                [
                    (reach * 0.93, low + 0.06),
                    (reach * 0.45, low + (high - low) * 0.42),
                    (0.012, high),
                ],
                14,
            )
            cone = lathe([(0, low + 0.14), *skirt, *side[1:].tolist(), (0, high)], 40)
            parts.append(Part(cone.rotate((0, float(u(0, 90)), 0)), round=True))
        return parts
    trunk, crown = u(1.3, 1.9), u(1.0, 1.35)
    fork = np.array([u(-0.06, 0.06), trunk, u(-0.06, 0.06)])
    wood = [bar((0, 0.04, 0), fork, 0.20, 0.12), rod((0, 0, 0), (0, 0.25, 0), 0.27, 0.18)]
    balls = []
    count = int(rng.integers(34, 52))
    for k in range(count):
        # Points of a sunflower's spiral over a ball, flattened below.
        height = 1 - 1.75 * (k + 0.5) / count
        angle, reach = 2.4 * k + u(-0.25, 0.25), crown * u(0.62, 0.82)
        flat = reach * math.sqrt(max(0.0, 1 - height**2))
        lift = crown * 0.75 + reach * height * (0.95 if height > 0 else 0.7)
        at = fork + np.array([flat * math.cos(angle), lift, flat * math.sin(angle)])
        balls.append([*at, crown * u(0.17, 0.27)])
        if k % 9 == 4 and height < 0.6:
            wood.append(bar(fork, fork + (at - fork) * 0.8, 0.09, 0.04, 12))
    balls.append([fork[0], fork[1] + crown * 0.75, fork[2], crown * 0.66])
    leaves = skin(np.array(balls), 0.07 * crown, 72)
    return [Part(join(wood), "bark", True), Part(leaves)]


def mushroom(rng: np.random.Generator, kind: str) -> list[Part]:
    """A toadstool with a domed cap and a ring, or a broad flat-capped one."""
    u = rng.uniform
    tall, stem = u(0.10, 0.14), u(0.013, 0.019)
    flat = kind == "flat"
    cap, rise = (u(0.065, 0.08), u(0.026, 0.034)) if flat else (u(0.05, 0.062), u(0.045, 0.058))
    edge = tall - 0.008
    foot = [(stem * 1.2, 0), (stem * 1.6, 0.012), (stem, tall * 0.4), (stem * 0.85, tall + 0.005)]
    dome = np.linspace(0, math.pi / 2, 22)
    power = 0.8 if flat else 1.0
    top = np.stack([cap * np.cos(dome), edge + rise * np.sin(dome) ** power], 1)
    under = [(0, edge + rise * 0.35), (stem, edge + rise * 0.30), (cap * 0.7, edge + rise * 0.06)]
    rim = [(cap * 0.93, edge - 0.004), (cap * 0.985, edge - 0.003)]
    parts = [
        Part(turned_solid(foot, 32), "linen", True),
        Part(lathe([*under, *rim, *top.tolist()]), round=True),
    ]
    if not flat:
        ring = lathe(
            [
                (stem * 0.8, tall * 0.62),
                (stem * 1.8, tall * 0.56),
                (stem * 1.8, tall * 0.575),
                (stem * 0.8, tall * 0.66),
            ]
        )
        parts.append(Part(ring, "linen"))
    return parts


def cactus(rng: np.random.Generator, kind: str) -> list[Part]:
    """A ribbed column with arms in a pot, or a ball cactus in a pot."""
    u = rng.uniform
    pot = hollow([(0.075, 0), (0.1, 0.12), (0.112, 0.122), (0.112, 0.15)], 0.01, 0.01)
    soil = turned_solid([(0.088, 0.108), (0.090, 0.128)], 8)
    ribs = int(rng.integers(9, 14))
    r, tall = (u(0.10, 0.12), u(0.17, 0.22)) if kind == "ball" else (u(0.05, 0.062), u(0.40, 0.55))
    angle = np.linspace(0, 2 * math.pi, ribs * 10, endpoint=False)
    star = 1 - 0.10 * (0.5 - 0.5 * np.cos(ribs * angle)) ** 0.8

    def column(radius: float, high: float, dome: float) -> Manifold:
        shape = outline(np.stack([radius * star * np.cos(angle), radius * star * np.sin(angle)], 1))
        solid = shape.extrude(1.0, 30)

        def bend(points: np.ndarray) -> np.ndarray:
            out = np.array(points)
            s = out[:, 2]
            y = high * s
            over = np.clip((y - (high - dome)) / dome, 0, 1)
            below = np.clip((0.5 * dome - y) / (0.5 * dome), 0, 1) if kind == "ball" else 0 * s
            size = np.sqrt(np.maximum(1 - over**2, 1e-4)) * np.sqrt(1 - 0.6 * below**2)
            # The steps grow denser to the top, where the dome turns.
            out[:, 0] *= size
            out[:, 1] *= size
            out[:, 2] = y
            return out

        return solid.warp_batch(bend).rotate((-90, 0, 0))

    body = column(r, tall, tall * 0.62 if kind == "ball" else r * 1.1).translate((0, 0.12, 0))
    parts = [Part(pot, "clay", True), Part(soil, "soil"), Part(body, round=True)]
    if kind != "ball":
        for side in (-1, 1)[: 2 if rng.random() < 0.75 else 1]:
            low, out, up = 0.12 + tall * u(0.28, 0.52), r + u(0.055, 0.08), u(0.10, 0.18)
            bow = np.linspace(0, math.pi / 2, 6)
            turn = np.stack(
                [
                    side * (out - 0.03 + 0.03 * np.sin(bow)),
                    low + 0.03 - 0.03 * np.cos(bow),
                    0 * bow,
                ],
                1,
            )
            path = np.concatenate([[[0, low, 0]], turn, [[side * out, low + up, 0]]])
            parts.append(Part(tube(path, r * u(0.55, 0.68), 20)))
    return parts


def snowman(rng: np.random.Generator, kind: str) -> list[Part]:
    """Three balls that flow into each other (or two), with hat, carrot, coal and twigs."""
    u = rng.uniform
    a, b, c = u(0.40, 0.46), u(0.29, 0.34), u(0.20, 0.24)
    y = [a * 0.88]
    y.append(y[0] + 0.72 * (a + b))
    if kind == "two":
        y[1] = y[0] + 0.78 * (a + c)
        balls, head = [[0, y[0], 0, a], [0, y[1], 0, c]], (y[1], c)
    else:
        y.append(y[1] + 0.80 * (b + c))
        balls, head = [[0, y[0], 0, a], [0, y[1], 0, b], [0, y[2], 0, c]], (y[2], c)
    floor = block((4, 1, 4), (0, -0.5, 0))
    parts = [Part(skin(np.array(balls), 0.05, 72) - floor)]
    h, r = head
    parts.append(
        Part(
            rod((0, h, r * 0.9), (0, h, r * 0.91), 0.01, 0.01)
            + bar((0, h, r * 0.85), (0, h - 0.02, r + 0.19), 0.035, 0.006),
            "carrot",
        )
    )
    coal = [
        ellipsoid((0.026, 0.026, 0.02), (s * r * 0.36, h + r * 0.34, r * 0.86), 16) for s in (-1, 1)
    ]
    chest = (y[1], b) if kind != "two" else (y[0], a)
    for share in (0.45, 0.05, -0.35):
        up = chest[1] * share
        coal.append(
            ellipsoid((0.03, 0.03, 0.02), (0, chest[0] + up, math.sqrt(chest[1] ** 2 - up**2)), 16)
        )
    parts.append(Part(join(coal), "coal"))
    brim, crown = r * 0.95, r * 0.62
    hat_low = h + r * 0.74
    hat = lathe(
        [
            (0, hat_low),
            (brim, hat_low),
            (brim, hat_low + 0.025),
            (crown, hat_low + 0.03),
            (crown * 1.05, hat_low + u(0.2, 0.3)),
            (0, hat_low + 0.27),
        ]
    )
    parts.append(Part(hat, "dark"))
    shoulder = chest[0] + chest[1] * 0.25
    twig = [
        bar(
            (chest[1] * 0.8, shoulder, 0),
            (chest[1] + 0.34, shoulder + 0.22, 0.05),
            0.016,
            0.011,
            10,
        )
    ]
    twig += [
        bar(
            (chest[1] + 0.24, shoulder + 0.155, 0.035),
            (chest[1] + 0.34, shoulder + d, 0.1),
            0.009,
            0.007,
            8,
        )
        for d in (0.11, 0.3)
    ]
    parts.append(Part(mirrored(join(twig)), "bark"))
    return parts


def robot(rng: np.random.Generator, kind: str) -> list[Part]:
    """A tin robot with a boxy or a domed head, tube arms with grippers, and feet."""
    u = rng.uniform
    w, h, d = u(0.20, 0.26), u(0.24, 0.30), u(0.14, 0.18)
    leg, head = u(0.13, 0.18), u(0.12, 0.15)
    top = leg + h
    parts = [Part(block((w, h, d), (0, leg + h / 2, 0), 0.022))]
    neck = turned_solid([(0.035, top - 0.01), (0.03, top + 0.035)], 6)
    wide = w * u(0.62, 0.78)
    if kind == "dome":
        skull = turned_solid(
            [
                (wide / 2, top + 0.025),
                (wide / 2, top + 0.05),
                (wide * 0.47, top + 0.05 + head * 0.4),
                (wide * 0.3, top + head * 0.92),
                (0.004, top + 0.03 + head),
            ],
            40,
        )
    else:
        skull = block((wide, head, d * 0.85), (0, top + 0.025 + head / 2, 0), 0.02)
    parts += [Part(neck, "metal"), Part(skull)]
    face = d * 0.425 if kind != "dome" else wide / 2
    y = top + 0.03 + head * 0.55
    eye = slab_disc(wide * 0.13, 0.03).translate(
        (wide * 0.22, y, face - (0.012 if kind == "dome" else 0.005))
    )
    parts.append(Part(mirrored(eye), "lamp"))
    mouth = block((wide * 0.42, head * 0.10, 0.02), (0, top + 0.03 + head * 0.18, face - 0.004))
    parts.append(Part(mouth, "dark"))
    tip = top + 0.03 + head
    aerial = join(
        [
            bar((0, tip - 0.03, 0), (0, tip + 0.06, 0), 0.005, 0.005, 10),
            ellipsoid((0.015,) * 3, (0, tip + 0.065, 0), 20),
        ]
    )
    parts.append(Part(aerial, "metal"))
    plate = block((w * 0.62, h * 0.42, 0.02), (0, leg + h * 0.6, d / 2), 0.008)
    knobs = [
        slab_disc(0.013, 0.03).translate((k * w * 0.18, leg + h * 0.52, d / 2 + 0.002))
        for k in (-1, 0, 1)
    ]
    dial = block((w * 0.46, h * 0.13, 0.03), (0, leg + h * 0.70, d / 2))
    parts += [Part(plate, "metal"), Part(join(knobs), "lamp"), Part(dial, "dark")]
    x, shoulder = w / 2, leg + h * 0.82
    elbow = np.array(
        [
            [x - 0.01, shoulder, 0],
            [x + 0.05, shoulder, 0],
            [x + 0.062, shoulder - 0.02, 0.0],
            [x + 0.065, shoulder - h * 0.55, 0.03],
        ]
    )
    hand = join(
        [
            bar(
                elbow[-1] + [s * 0.022, -0.005, 0],
                elbow[-1] + [s * 0.014, -0.055, 0.015],
                0.009,
                0.007,
                12,
            )
            for s in (-1, 1)
        ]
        + [ellipsoid((0.03, 0.016, 0.024), elbow[-1], 24)]
    )
    parts += [Part(mirrored(tube(elbow, 0.019)), "metal"), Part(mirrored(hand), "dark")]
    shin = rod((w * 0.26, 0.03, 0), (w * 0.26, leg + 0.02, 0), 0.024, 0.024)
    foot = block((w * 0.36, 0.05, d * 0.95), (w * 0.26, 0.025, d * 0.12), 0.018)
    parts += [Part(mirrored(shin), "metal"), Part(mirrored(foot))]
    return parts


def slab_disc(radius: float, thickness: float) -> Manifold:
    """A round plate that looks to the front."""
    return slab(disc(radius, 32), thickness, thickness * 0.15)

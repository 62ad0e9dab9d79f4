"""Chair, table, sofa, bed and lamp of the second world, in metres."""

from __future__ import annotations

import math

import numpy as np

from .solids import (
    Part,
    across,
    bar,
    block,
    disc,
    ellipsoid,
    join,
    lathe,
    mirrored,
    outline,
    plate,
    rectangle,
    rod,
    slab,
    turned_solid,
)


def chair(rng: np.random.Generator, kind: str) -> list[Part]:
    """A dining chair with slats, one with a panel, or a shell on four splayed legs."""
    u = rng.uniform
    width, depth, seat = u(0.40, 0.48), u(0.40, 0.46), u(0.43, 0.47)
    if kind == "shell":
        return _shell_chair(rng, width + 0.02, depth, seat)
    top, thick = seat + u(0.38, 0.52), width * u(0.045, 0.06)
    x, front, back = width / 2 - thick, depth / 2 - thick, -depth / 2 + thick
    lean = u(0.06, 0.11)
    sides = 4 if rng.random() < 0.6 else 20
    half = thick / 2
    legs = [
        rod((x, 0, front), (x, seat, front), half * 0.75, half, sides),
        rod((x, 0, back - 0.02), (x, seat, back), half * 0.8, half * 1.1, sides),
        rod((x, seat - 0.02, back), (x, top, back - lean), half * 1.1, half * 0.8, sides),
    ]
    parts = [Part(mirrored(solid)) for solid in legs]
    board = rectangle(width, depth, u(0.015, 0.05))
    parts.append(Part(plate(board, 0.028, seat + 0.012, 0.008)))
    rail = block((2 * x, 0.05, 0.018), (0, seat - 0.04, 0))
    parts += [Part(rail.translate((0, 0, z))) for z in (front, back)]
    parts.append(Part(mirrored(block((0.018, 0.05, front - back), (x, seat - 0.04, 0)))))

    def at(share: float) -> tuple[float, float]:
        return seat + (top - seat) * share, back - lean * share

    if kind == "panel":
        low, high = at(0.30), at(1.0)
        tall = math.hypot(high[0] - low[0], high[1] - low[1])
        panel = slab(rectangle(2 * x + thick, tall, 0.03), 0.02, 0.006)
        angle = math.degrees(math.atan2(low[1] - high[1], high[0] - low[0]))
        panel = panel.rotate((-angle, 0, 0))
        parts.append(Part(panel.translate((0, (low[0] + high[0]) / 2, (low[1] + high[1]) / 2))))
    else:
        count = int(rng.integers(2, 5))
        for share in np.linspace(0.42, 0.93, count):
            y, z = at(float(share))
            parts.append(Part(block((2 * x, 0.048, 0.016), (0, y, z), 0.006)))
    return parts


def _shell_chair(rng: np.random.Generator, width: float, depth: float, seat: float) -> list[Part]:
    top = seat + rng.uniform(0.32, 0.42)
    t = np.linspace(0, 1, 9)
    bend = np.stack([-depth / 2 + 0.10 * (1 - t) ** 2 - 0.07 * t, seat + (top - seat) * t], 1)
    line = np.concatenate([[[depth / 2, seat + 0.005]], [[-depth / 2 + 0.16, seat - 0.012]], bend])
    normal = np.gradient(line, axis=0)
    normal = np.stack([-normal[:, 1], normal[:, 0]], 1)
    normal *= 0.011 / np.linalg.norm(normal, axis=1, keepdims=True)
    sheet = outline(np.concatenate([line + normal, (line - normal)[::-1]]), 0.006)
    front = slab(rectangle(width, 2 * (top - seat) + 0.1, 0.09), 3.0).translate((0, seat, 0))
    above = plate(rectangle(width, depth * 1.45, 0.09), 4.0, 2.0).translate((0, 0, -0.05))
    shell = across(sheet, width) ^ front ^ above
    leg = rod((width * 0.47, 0, depth * 0.48), (width * 0.28, seat, depth * 0.2), 0.010, 0.016)
    rear = rod((width * 0.47, 0, -depth * 0.55), (width * 0.28, seat, -depth * 0.22), 0.010, 0.016)
    frame = block((width * 0.6, 0.016, 0.02), (0, seat - 0.03, 0))
    wood = join(
        [
            mirrored(leg),
            mirrored(rear),
            *(frame.translate((0, 0, z)) for z in (depth * 0.19, -depth * 0.21)),
        ]
    )
    return [Part(wood, "wood"), Part(shell)]


def table(rng: np.random.Generator, kind: str) -> list[Part]:
    """A table on four legs ("square"), or a round one on a column."""
    u = rng.uniform
    height, thick = u(0.71, 0.76), u(0.025, 0.04)
    if kind == "round":
        radius, stem = u(0.42, 0.62), u(0.03, 0.05)
        column = turned_solid(
            [
                (radius * 0.52, 0),
                (radius * 0.50, 0.02),
                (stem * 2.0, 0.05),
                (stem * 1.1, 0.14),
                (stem * u(1.2, 1.7), 0.36),
                (stem, height - 0.12),
                (stem * 2.6, height - 0.01),
            ]
        )
        return [Part(column, "wood", True), Part(plate(disc(radius), thick, height, 0.01))]
    width, depth = u(1.0, 1.7), u(0.72, 0.9)
    leg, inset = u(0.028, 0.036), u(0.0, 0.06)
    x, z = width / 2 - leg - inset, depth / 2 - leg - inset
    splay = u(0.0, 0.05) if rng.random() < 0.5 else 0.0
    sides = 4 if rng.random() < 0.6 else 20
    legs = [
        mirrored(
            rod((x + splay, 0, s * (z + splay)), (x, height - 0.01, s * z), leg * 0.7, leg, sides)
        )
        for s in (-1, 1)
    ]
    apron = [block((2 * x, 0.08, 0.02), (0, height - thick - 0.04, s * z)) for s in (-1, 1)] + [
        mirrored(block((0.02, 0.08, 2 * z), (x, height - thick - 0.04, 0)))
    ]
    board = plate(rectangle(width, depth, u(0.01, 0.06)), thick, height, 0.008)
    return [Part(solid) for solid in (*legs, *apron, board)]


def sofa(rng: np.random.Generator, kind: str) -> list[Part]:
    """A sofa of two or three cushions, with boxy or rolled arms."""
    u = rng.uniform
    count = 2 if rng.random() < 0.5 else 3
    width, depth = 0.62 * count + u(0.30, 0.42), u(0.82, 0.94)
    foot, seat, back, arm = u(0.08, 0.14), u(0.40, 0.45), u(0.76, 0.88), u(0.13, 0.2)
    soft = 0.05
    parts = [
        Part(
            block(
                (width - 0.02, seat - 0.13 - foot, depth - 0.02),
                (0, (seat - 0.13 + foot) / 2, 0),
                0.02,
            )
        )
    ]
    z = -depth / 2 + 0.10
    parts.append(
        Part(block((width - arm, back - foot - 0.04, 0.2), (0, (back - 0.04 + foot) / 2, z), soft))
    )
    tall = u(0.56, 0.64)
    side = block((arm, tall - foot, depth), (width / 2 - arm / 2, (tall + foot) / 2, 0), soft)
    if kind == "rolled":
        roll = bar(
            (width / 2 - arm / 2, tall, -depth / 2 + 0.1),
            (width / 2 - arm / 2, tall, depth / 2 - 0.1),
            0.1,
            0.1,
        )
        side = join([side, roll])
    parts.append(Part(mirrored(side)))
    inner = (width - 2 * arm) / count
    for k in range(count):
        x = (k - (count - 1) / 2) * inner
        cushion = block((inner - 0.012, 0.17, depth - 0.2), (x, seat - 0.07, 0.10), 0.055)
        rest = block((inner - 0.02, back - seat + 0.02, 0.18), (0, 0, 0), 0.07).rotate((-10, 0, 0))
        parts += [Part(cushion), Part(rest.translate((x, (back + seat) / 2 + 0.02, z + 0.15)))]
    leg = join(
        [
            rod(
                (width / 2 - 0.07, 0, s * (depth / 2 - 0.07)),
                (width / 2 - 0.09, foot + 0.02, s * (depth / 2 - 0.09)),
                0.018,
                0.028,
            )
            for s in (-1, 1)
        ]
    )
    parts.append(Part(mirrored(leg), "wood"))
    return parts


def bed(rng: np.random.Generator, kind: str) -> list[Part]:
    """A single or a double bed with a blanket, a mattress, pillows and a headboard."""
    u = rng.uniform
    double = kind == "double"
    width, length = (u(1.45, 1.7) if double else u(0.9, 1.1)), u(1.95, 2.08)
    frame, top, head = u(0.26, 0.32), u(0.46, 0.54), u(0.85, 1.1)
    back = -length / 2
    parts = [Part(block((width, 0.16, length), (0, frame - 0.06, 0), 0.015), "wood")]
    legs = [
        rod(
            (width / 2 - 0.05, 0, s * (length / 2 - 0.06)),
            (width / 2 - 0.05, frame, s * (length / 2 - 0.06)),
            0.03,
            0.03,
            4,
        )
        for s in (-1, 1)
    ]
    parts.append(Part(mirrored(join(legs)), "wood"))
    if rng.random() < 0.5:
        board = slab(rectangle(width + 0.06, head - 0.1, 0.05), 0.05, 0.012)
        board = board.translate((0, 0.1 + (head - 0.1) / 2, back))
    else:
        x = np.linspace(-1, 1, 33)
        arch = np.stack(
            [x * (width / 2 + 0.03), head - 0.18 + 0.18 * np.sqrt(np.maximum(0, 1 - x**2))], 1
        )
        foot = [[width / 2 + 0.03, 0.1], [-width / 2 - 0.03, 0.1]]
        board = slab(outline([*foot, *arch.tolist()]), 0.05, 0.012).translate((0, 0, back))
    parts.append(Part(board, "wood"))
    parts.append(
        Part(
            block((width - 0.04, top - frame, length - 0.05), (0, (top + frame) / 2, 0.01), 0.05),
            "linen",
        )
    )
    cover = length * u(0.62, 0.70)
    parts.append(
        Part(
            block(
                (width + 0.02, top - frame + 0.10, cover),
                (0, (top + frame) / 2 - 0.02, length / 2 - cover / 2 + 0.01),
                0.045,
            )
        )
    )
    for x in (-width / 4, width / 4) if double else (0.0,):
        pillow = ellipsoid((0.30, 0.085, 0.2), (0, 0, 0)) + block(
            (0.5, 0.09, 0.3), (0, 0, 0), 0.044
        )
        parts.append(
            Part(pillow.rotate((14, 0, 0)).translate((x, top + 0.05, back + 0.27)), "linen")
        )
    return parts


def lamp(rng: np.random.Generator, kind: str) -> list[Part]:
    """A table lamp on a turned foot, or a reading lamp's cone on a thin pole; the shade has the
    colour."""
    u = rng.uniform
    wide, tall = u(0.13, 0.18), u(0.17, 0.24)
    slope = u(0.55, 0.9)
    if kind == "pole":
        stem, foot = u(0.36, 0.5), u(0.09, 0.12)
        base = turned_solid(
            [(foot, 0), (foot, 0.014), (foot * 0.9, 0.02), (0.009, 0.026), (0.007, stem)]
        )
    else:
        stem = u(0.24, 0.34)
        belly = u(0.06, 0.09)
        base = turned_solid(
            [
                (0.07, 0),
                (0.07, 0.012),
                (0.035, 0.03),
                (belly, stem * 0.38),
                (0.02, stem * 0.78),
                (0.014, stem),
            ]
        )
    low = stem - 0.05
    wall = 0.006
    skirt = [
        (wide, low),
        (wide * slope, low + tall),
        (wide * slope - wall, low + tall),
        (wide - wall, low),
    ]
    shade = lathe(skirt)
    middle = low + tall * 0.55
    reach = wide + (wide * slope - wide) * 0.55 - 1.9 * wall
    spokes = join(
        [
            bar(
                (-reach * math.cos(a), middle, -reach * math.sin(a)),
                (reach * math.cos(a), middle, reach * math.sin(a)),
                0.004,
                0.004,
                10,
            )
            for a in (0.3, 0.3 + math.pi / 2)
        ]
        + [bar((0, stem - 0.02, 0), (0, middle, 0), 0.006, 0.006, 12)]
    )
    bulb = ellipsoid((0.03, 0.04, 0.03), (0, middle - 0.02, 0), 24)
    return [
        Part(base, "wood" if kind != "pole" else "dark", True),
        Part(spokes, "dark"),
        Part(bulb, "linen"),
        Part(shade, round=True),
    ]

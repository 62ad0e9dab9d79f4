"""Plants and buildings of the second edition."""

from __future__ import annotations

import numpy as np

from ..edition import Category
from ..objects.parts import Part, Proportions
from .solids import ball, box, cyl, extrude, pair, pipe, rod, rotate, shift, spun, turn

_SIZES = ("tall", "low", "wide", "narrow")


def tree(p: Proportions, mode: str | None) -> list[Part]:
    trunk, crown, r = p.height(0.4, 1.2), p.width(0.5, 1.0), p.thickness(0.08, 0.2)
    tall, k = p(0.7, 1.4), p(0.75, 1.0)
    if mode == "pine":
        parts: list[Part] = [(cyl(r, trunk + 0.3, (0, trunk / 2 + 0.15, 0), segments=12), "trunk")]
        for n in range(3):
            radius, step = crown * (1 - 0.26 * n), tall * 0.55
            parts.append(
                (
                    cyl(radius, step * 1.4, (0, trunk + step * (n + 0.6), 0), top=0, segments=22),
                    "main",
                )
            )
        return parts
    if mode == "palm":
        high = trunk * 1.4 + 0.8
        path = [(0, 0, 0), (0.06, high * 0.4, 0), (0.2, high * 0.8, 0), (0.3, high, 0)]
        leaf = pipe(
            [(0, 0, 0), (0, 0.22, crown * 0.45), (0, 0.1, crown * 0.85), (0, -0.25, crown * 1.1)],
            [0.06, 0.22, 0.16, 0.02],
            8,
            0.15,
        )
        leaf = (leaf[0], leaf[1])
        leaves = [(shift(q, (0.3, high, 0)), role) for q, role in spun(leaf, "main", 7)]
        return [
            (pipe(path, [r * 1.2, r, r * 0.85, r * 0.8]), "trunk"),
            (ball(r * 1.3, (0.3, high, 0)), "trunk"),
            *leaves,
        ]
    top = trunk + tall * crown
    return [
        (cyl(r * 1.2, trunk + 0.4, (0, trunk / 2 + 0.2, 0), top=r * 0.8, segments=14), "trunk"),
        (ball((crown, tall * crown * 0.9, crown), (0, top, 0), 22, 13), "main"),
        *spun(
            ball(
                (crown * 0.6, crown * 0.55, crown * 0.6),
                (0, trunk + crown * 0.55, crown * 0.5 * k),
                16,
                9,
            ),
            "main",
            4,
            20,
        ),
    ]


def cactus(p: Proportions, mode: str | None) -> list[Part]:
    h, r, arm = p.height(1.0, 2.0), p.thickness(0.2, 0.36), p(0.6, 0.85)
    reach, low, pot = p(0.5, 0.75), p(0.35, 0.6), p(1.3, 1.9)
    if mode == "round":
        s = r * 2.0
        parts: list[Part] = [
            (ball((s, s * 0.9, s), (0, 0.35 + s * 0.75, 0), 22, 13), "main"),
            *spun(ball((0.1, 0.07, 0.1), (0, 0.35 + s * 1.6, 0.1), 10, 6), "blossoms", 3),
        ]
        return [*parts, (cyl(s * 0.7, 0.5, (0, 0.25, 0), top=s * 0.95, segments=22), "pot")]
    parts = [
        (
            turn(
                [
                    (0, 0.25),
                    (r, 0.25),
                    (r, h),
                    (r * 0.85, h + r * 0.5),
                    (r * 0.45, h + r * 0.8),
                    (0, h + r * 0.9),
                ],
                18,
            ),
            "main",
        )
    ]
    for k, y in ((1, 0.45 + low * h * 0.6), (-1, 0.45 + low * h)):
        path = [
            (0, y, 0),
            (k * reach * 0.7, y, 0),
            (k * reach * 0.95, y + 0.1, 0),
            (k * reach, y + 0.3, 0),
            (k * reach, y + 0.3 + h * 0.22, 0),
        ]
        parts.append((pipe(path, r * arm, 12), "main"))
        parts.append((ball(r * arm, path[-1], 12, 9), "main"))
    return [*parts, (cyl(r * pot * 0.75, 0.42, (0, 0.21, 0), top=r * pot, segments=20), "pot")]


def flower(p: Proportions, mode: str | None) -> list[Part]:
    stem, head, middle = p.height(0.9, 1.8), p.width(0.4, 0.7), p(0.25, 0.4)
    thick, leaf = p.thickness(0.03, 0.07), p(0.25, 0.5)
    parts: list[Part] = [(rod((0, 0, 0), (0, stem, 0), thick), "stem")]
    for k in (0, 1):
        blade = rotate(ball((leaf, 0.04, leaf * 0.35), (leaf * 0.9, 0, 0), 14, 8), "z", 32)
        blade = shift(rotate(blade, "y", 180 * k + 20), (0, stem * (0.2 + 0.14 * k), 0))
        parts.append((blade, "stem"))
    if mode == "tulip":
        cup = turn(
            [
                (0, 0),
                (head * 0.4, 0.03),
                (head * 0.62, head * 0.5),
                (head * 0.55, head * 1.1),
                (head * 0.3, head * 0.9),
                (0, head * 0.5),
            ],
            22,
            (0, stem - 0.02, 0),
        )
        petal = ball(
            (head * 0.42, head * 0.75, head * 0.14), (0, stem + head * 0.75, head * 0.5), 16, 10
        )
        return [*parts, (cup, "main"), *spun(petal, "main", 3)]
    flat: list[Part] = [
        (cyl(head * middle, 0.14, axis="z", segments=20), "middle"),
        (ball((head * middle, head * middle, 0.12), (0, 0, 0.05)), "middle"),
    ]
    petal = ball((head * 0.24, head * 0.42, 0.05), (0, head * 0.6, 0), 14, 9)
    flat += [(rotate(petal, "z", 45 * k), "main") for k in range(8)]
    return parts + [(shift(rotate(q, "x", -12), (0, stem, 0.05)), role) for q, role in flat]


def mushroom(p: Proportions, mode: str | None) -> list[Part]:
    cap, tall, stem = p.width(0.55, 1.0), p(0.35, 0.7), p.height(0.5, 1.1)
    r, foot = p.thickness(0.14, 0.34), p(1.0, 1.5)
    a = np.linspace(0, np.pi / 2, 9)[:-1]
    if mode == "pointed":
        dome = [(cap * (1 - n / 6) ** 1.3, stem + tall * 1.7 * n / 6) for n in range(6)]
        dome.append((0.0, stem + tall * 1.75))
    else:
        dome = [(cap * float(np.cos(t)), stem + tall * float(np.sin(t))) for t in a] + [
            (0, stem + tall)
        ]
    cover = turn([(0, stem * 0.88), (cap * 0.9, stem * 0.88), *dome], 28)
    body = turn(
        [(0, 0), (r * foot, 0), (r * 0.9, stem * 0.5), (r, stem * 0.95), (0, stem * 0.95)], 20
    )
    return [(cover, "main"), (body, "stem")]


def _windows(x: float, y: float, z: float, w: float, h: float) -> list[Part]:
    return pair(box((w, h, 0.07), (x, y, z)), "windows")


def house(p: Proportions, mode: str | None) -> list[Part]:
    h, width, depth = p.height(0.6, 1.2), p.width(1.0, 1.8), p.length(0.8, 1.4)
    roof, eave, door = p(0.4, 0.9), p(0.05, 0.18), p(0.45, 0.65)
    half = width / 2
    parts: list[Part] = [(box((width, h, depth), (0, h / 2, 0)), "main")]
    if mode == "flat":
        parts.append((box((width + 2 * eave, 0.12, depth + 2 * eave), (0, h + 0.05, 0)), "roof"))
        parts.append(
            (box((width * 0.5, h * 0.7, depth * 0.7), (-width * 0.22, h * 1.35, 0)), "main")
        )
        parts.append((box((width * 0.56, 0.1, depth * 0.8), (-width * 0.22, h * 1.72, 0)), "roof"))
    else:
        gable = [(-half - eave, h - 0.04), (half + eave, h - 0.04), (0, h + roof)]
        parts.append((extrude(gable, depth + 2 * eave), "roof"))
        parts.append(
            (box((0.2, roof * 0.8, 0.2), (half * 0.5, h + roof * 0.65, -depth * 0.2)), "chimney")
        )
    front = depth / 2
    parts.append((box((0.26, h * door, 0.07), (0, h * door / 2, front)), "door"))
    parts += _windows(half * 0.58, h * 0.55, front, width * 0.2, h * 0.28)
    parts += pair(box((0.07, h * 0.28, depth * 0.24), (half, h * 0.55, depth * 0.1)), "windows")
    return parts


def _crown(radius: float, y: float, count: int, size: float) -> list[Part]:
    """Merlons round a tower."""
    return spun(
        box((size, size * 1.3, size * 0.8), (0, y + size * 0.6, radius - size * 0.42)),
        "main",
        count,
    )


def castle(p: Proportions, mode: str | None) -> list[Part]:
    w, h, r = p.width(1.1, 1.7), p(0.5, 0.8), p.thickness(0.17, 0.3)
    tall, roof, d = p.height(0.9, 1.5), p(0.35, 0.7), p(0.9, 1.3)
    parts: list[Part] = [(box((w, h, d), (0, h / 2, 0)), "main")]
    for x in (-w / 2, w / 2):
        for z in (-d / 2, d / 2):
            parts.append((cyl(r, tall, (x, tall / 2, z), segments=20), "main"))
            if mode == "open":
                parts += [
                    (shift(q, (x, 0, z)), role)
                    for q, role in _crown(r * 1.1, tall - 0.03, 6, r * 0.5)
                ]
            else:
                parts.append(
                    (
                        cyl(r * 1.25, roof, (x, tall + roof / 2 - 0.01, z), top=0, segments=20),
                        "roof",
                    )
                )
    for k in range(3):
        x = (k - 1) * (w - 2 * r) * 0.33
        parts += [
            (box((0.15, 0.18, 0.12), (x, h + 0.08, s * (d / 2 - 0.065))), "main") for s in (-1, 1)
        ]
    keep = tall * 0.9 if mode == "open" else tall * 1.05
    parts.append((box((w * 0.36, keep, d * 0.36), (0, keep / 2, -d * 0.08)), "main"))
    if mode != "open":
        parts.append(
            (
                cyl(w * 0.3, roof * 0.9, (0, keep + roof * 0.44, -d * 0.08), top=0, segments=4),
                "roof",
            )
        )
    return [*parts, (box((w * 0.24, h * 0.62, 0.08), (0, h * 0.31, d / 2)), "gate")]


def tower(p: Proportions, mode: str | None) -> list[Part]:
    h, r, top = p.height(1.2, 2.4), p.width(0.3, 0.5), p(0.75, 1.0)
    roof, cap, door = p(0.4, 0.9), p(1.15, 1.4), p(0.3, 0.5)
    if mode == "square":
        parts: list[Part] = [
            (box((2 * r, h, 2 * r), (0, h / 2, 0), 0.92), "main"),
            (box((2.2 * r, 0.16, 2.2 * r), (0, h, 0)), "main"),
        ]
        for k in range(4):
            for x in (-1, 0, 1):
                merlon = box((r * 0.4, 0.2, r * 0.25), (x * r * 0.88, h + 0.16, r * 0.97))
                parts.append((rotate(merlon, "y", 90 * k), "main"))
    else:
        parts = [(cyl(r, h, (0, h / 2, 0), top=r * top, segments=26), "main")]
        parts.append(
            (cyl(r * top * cap, roof, (0, h + roof / 2 - 0.01, 0), top=0, segments=26), "roof")
        )
    parts.append((box((r * 0.6, door, 0.24), (0, door / 2, r - 0.08)), "door"))
    for up in (0.5, 0.75):
        place = r * (1 - (1 - (top if mode != "square" else 0.92)) * up)
        parts.append((box((r * 0.4, 0.24, 0.2), (0, h * up, place - 0.06)), "windows"))
    return parts


def church(p: Proportions, mode: str | None) -> list[Part]:
    w, h, d = p.width(0.8, 1.2), p(0.6, 0.9), p.length(1.2, 1.9)
    roof, tall, spire = p(0.4, 0.7), p.height(1.3, 2.0), p(0.5, 1.1)
    t = w * 0.48
    parts: list[Part] = [
        (box((w, h, d), (0, h / 2, -d * 0.2)), "main"),
        (
            extrude(
                [(-w / 2 - 0.07, h - 0.04), (w / 2 + 0.07, h - 0.04), (0, h + roof)],
                d + 0.1,
                (0, 0, -d * 0.2),
            ),
            "roof",
        ),
    ]
    z = d * 0.3 + t * 0.3
    parts.append((box((t, tall, t), (0, tall / 2, z)), "main"))
    if mode == "domed":
        parts.append((ball((t * 0.6, t * 0.7, t * 0.6), (0, tall, z), 22, 13), "roof"))
        y = tall + t * 0.62
    else:
        parts.append(
            (
                rotate(
                    cyl(t * 0.82, spire, (0, tall + spire / 2 - 0.01, 0), top=0, segments=4),
                    "y",
                    45,
                ),
                "roof",
            )
        )
        parts[-1] = (shift(parts[-1][0], (0, 0, z)), "roof")
        y = tall + spire - 0.06
    parts += [
        (box((0.05, 0.34, 0.05), (0, y + 0.14, z)), "cross"),
        (box((0.2, 0.05, 0.06), (0, y + 0.2, z)), "cross"),
    ]
    parts.append((box((t * 0.5, h * 0.5, 0.06), (0, h * 0.25, z + t / 2)), "door"))
    for k in (-0.45, -0.15, 0.1):
        parts += pair(box((0.07, h * 0.44, 0.16), (w / 2, h * 0.55, d * (k - 0.1))), "windows")
    return parts


def windmill(p: Proportions, mode: str | None) -> list[Part]:
    h, r, top = p.height(1.1, 1.7), p.width(0.42, 0.6), p(0.5, 0.75)
    sail, wide, roof = p.length(0.7, 1.05), p(0.16, 0.28), p(0.25, 0.5)
    segments = 8 if mode == "angular" else 26
    parts: list[Part] = [(cyl(r, h, (0, h / 2, 0), top=r * top, segments=segments), "main")]
    parts.append(
        (
            cyl(r * top * 1.15, roof, (0, h + roof / 2 - 0.01, 0), top=0.04, segments=segments),
            "roof",
        )
    )
    z, y = r * top + 0.12, h * 0.96
    parts.append((cyl(0.08, 0.4, (0, y, z - 0.12), "z", segments=12), "dark"))
    for k in range(4):
        arm = box((0.06, sail, 0.05), (0, sail / 2, 0))
        cloth = box((wide, sail * 0.72, 0.04), (wide * 0.45, sail * 0.6, 0.015))
        for q, role in ((arm, "wood"), (cloth, "sails")):
            parts.append((shift(rotate(q, "z", 90 * k + 25), (0, y, z + 0.03)), role))
    return [*parts, (box((r * 0.5, h * 0.28, 0.3), (0, h * 0.14, r - 0.12)), "door")]


_STONE = ("brick",)
OUTDOORS = (
    Category(
        name="tree",
        build=tree,
        modes=("leafy", "pine", "palm"),
        front=False,
        parts={"trunk": "wood"},
        adjectives=("tall", "wide", "narrow", "thick", "thin"),
        size=7.0,
    ),
    Category(
        name="cactus",
        build=cactus,
        modes=("armed", "round"),
        front=False,
        parts={"pot": "roof", "blossoms": "cream"},
        adjectives=("tall", "thick", "thin"),
        plural="cactuses",
        size=0.5,
    ),
    Category(
        name="flower",
        build=flower,
        modes=("daisy", "tulip"),
        parts={"stem": "leaf", "middle": "carrot"},
        adjectives=("tall", "low"),
        size=0.5,
    ),
    Category(
        name="mushroom",
        build=mushroom,
        modes=("domed", "pointed"),
        front=False,
        parts={"stem": "cream"},
        adjectives=_SIZES,
        size=0.15,
    ),
    Category(
        name="house",
        build=house,
        modes=("gabled", "flat"),
        parts={"roof": "roof", "door": "wood", "windows": "glass", "chimney": "dark"},
        adjectives=_SIZES,
        materials=("brick", "wooden"),
        size=10.0,
    ),
    Category(
        name="castle",
        build=castle,
        modes=("roofed", "open"),
        parts={"roof": "roof", "gate": "wood"},
        adjectives=("wide", "narrow", "thick"),
        materials=_STONE,
        size=40.0,
    ),
    Category(
        name="tower",
        build=tower,
        modes=("round", "square"),
        parts={"roof": "roof", "door": "wood", "windows": "dark"},
        adjectives=_SIZES,
        materials=_STONE,
        size=25.0,
    ),
    Category(
        name="church",
        build=church,
        modes=("steepled", "domed"),
        parts={"roof": "roof", "door": "wood", "windows": "glass", "cross": "dark"},
        adjectives=("tall", "low", "long", "short"),
        materials=_STONE,
        plural="churches",
        size=25.0,
    ),
    Category(
        name="windmill",
        build=windmill,
        modes=("round", "angular"),
        parts={"roof": "roof", "sails": "cream", "door": "wood"},
        adjectives=("tall", "low"),
        materials=("brick", "wooden"),
        size=18.0,
    ),
)

"""Animals of the second edition."""

from __future__ import annotations

from ..edition import Category
from ..objects.parts import Part, Proportions
from .beasts import BEAST, eyes
from .solids import ball, box, cyl, extrude, loft, pair, pipe, rod, rotate, shift, smooth, turn


def _four_legs(x: float, z: float, top: float, r: float) -> list[Part]:
    parts: list[Part] = []
    for s in (-1, 1):
        parts += pair(rod((x, top, s * z), (x, 0.02, s * z), r * 1.15, r), "legs")
        parts += pair(
            ball((r * 1.2, r * 0.8, r * 1.5), (x, r * 0.6, s * z + r * 0.4), 10, 7), "legs"
        )
    return parts


def dog(p: Proportions, mode: str | None) -> list[Part]:
    length, leg, r = p.length(0.9, 1.5), p.height(0.4, 0.8), p.thickness(0.24, 0.38)
    head, snout, ear = p(0.24, 0.34), p(0.2, 0.36), p(0.22, 0.4)
    half, y = length / 2, leg + r * 0.7
    if mode == "sitting":
        body = pipe(
            [(0, r * 0.9, -half * 0.5), (0, r * 1.6, -half * 0.2), (0, leg + r * 2.0, half * 0.35)],
            [r * 1.1, r * 1.15, r * 0.75],
            16,
        )
        parts: list[Part] = [
            (body, "main"),
            *pair(ball((r * 0.55, r * 0.8, r * 0.95), (r * 0.8, r * 0.7, -half * 0.25)), "legs"),
        ]
        parts += pair(
            rod(
                (r * 0.5, leg + r * 1.2, half * 0.4),
                (r * 0.5, 0.02, half * 0.6),
                r * 0.36,
                r * 0.26,
            ),
            "legs",
        )
        neck = (0.0, leg + r * 2.3, half * 0.45)
        tail = (0.0, r * 0.8, -half * 0.5 - r * 0.1)
    else:
        body = loft(
            [
                (-half, y, r * 0.55, r * 0.6),
                (-half * 0.85, y, r * 0.9, r * 0.95),
                (0, y, r * 0.85, r * 0.85),
                (half * 0.7, y + 0.04, r, r * 1.05),
                (half, y + 0.1, r * 0.6, r * 0.65),
            ],
            18,
        )
        parts = [(body, "main"), *_four_legs(r * 0.6, half * 0.72, y, r * 0.3)]
        neck = (0.0, y + r + head * 0.6, half + head * 0.35)
        tail = (0.0, y + r * 0.4, -half * 0.95)
        parts.append((rod((0, y, half * 0.75), neck, r * 0.7, head * 0.6), "main"))
    _, hy, hz = neck
    parts.append((ball((head * 0.85, head * 0.85, head), neck), "main"))
    parts.append(
        (
            rod(
                (0, hy - head * 0.2, hz),
                (0, hy - head * 0.3, hz + head * 0.7 + snout),
                head * 0.5,
                head * 0.36,
                14,
            ),
            "main",
        )
    )
    parts.append((ball(head * 0.2, (0, hy - head * 0.1, hz + head * 0.75 + snout), 10, 7), "coal"))
    parts += pair(
        ball((head * 0.16, ear, head * 0.4), (head * 0.85, hy - ear * 0.25, hz - head * 0.1)),
        "ears",
    )
    parts += eyes(head * 0.4, hy + head * 0.35, hz + head * 0.75)
    end = (0.0, tail[1] + 0.4, tail[2] - 0.25)
    return [*parts, (rod(tail, end, r * 0.24, r * 0.12), "tail")]


def cat(p: Proportions, mode: str | None) -> list[Part]:
    path: list[tuple[float, float, float]]
    r, tall, head, tail = p.thickness(0.28, 0.4), p.height(0.8, 1.2), p(0.26, 0.36), p(0.07, 0.12)
    ear, length = p(0.2, 0.34), p.length(0.9, 1.4)
    if mode == "standing":
        half, leg = length / 2, tall * 0.5
        y = leg + r * 0.6
        parts: list[Part] = [
            (
                loft(
                    [
                        (-half, y, r * 0.5, r * 0.55),
                        (-half * 0.8, y, r * 0.75, r * 0.8),
                        (half * 0.8, y, r * 0.7, r * 0.75),
                        (half, y + 0.04, r * 0.45, r * 0.5),
                    ],
                    18,
                ),
                "main",
            )
        ]
        parts += _four_legs(r * 0.45, half * 0.75, y, r * 0.24)
        at = (0.0, y + r * 0.7, half + head * 0.3)
        path = [
            (0, y, -half * 0.9),
            (0, y + 0.1, -half - 0.25),
            (0, y + 0.5, -half - 0.35),
            (0, y + 0.9, -half - 0.2),
        ]
    else:
        parts = [
            (
                turn(
                    [
                        (0, 0),
                        (r * 1.1, 0.06),
                        (r * 1.25, tall * 0.25),
                        (r * 0.85, tall * 0.65),
                        (r * 0.55, tall),
                        (0, tall),
                    ],
                    20,
                ),
                "main",
            )
        ]
        parts += pair(
            rod((r * 0.4, tall * 0.6, r * 0.7), (r * 0.4, 0.04, r * 1.1), r * 0.26), "legs"
        )
        parts += pair(
            ball((r * 0.3, r * 0.22, r * 0.4), (r * 0.4, r * 0.2, r * 1.2), 10, 7), "legs"
        )
        at = (0.0, tall + head * 0.4, 0.1)
        path = [
            (0.0, 0.12, -r),
            (r * 0.9, 0.12, -r * 1.1),
            (r * 1.6, 0.12, -r * 0.3),
            (r * 1.5, 0.14, r * 0.7),
        ]
    _, y, z = at
    parts.append((ball((head, head * 0.86, head * 0.86), at), "main"))
    horn = cyl(
        head * 0.36, ear * 1.5, (head * 0.58, y + head * 0.6 + ear * 0.5, z), top=0, segments=10
    )
    parts += pair(horn, "ears")
    parts.append((ball(head * 0.26, (0, y - head * 0.25, z + head * 0.72), 12, 8), "cream"))
    parts.append((ball(head * 0.1, (0, y - head * 0.1, z + head * 0.95), 8, 6), "coal"))
    parts += eyes(head * 0.42, y + head * 0.15, z + head * 0.74, head * 0.15)
    return [*parts, (pipe(smooth(path), tail), "tail")]


def bird(p: Proportions, mode: str | None) -> list[Part]:
    r, length, head, beak = p.thickness(0.3, 0.45), p.length(0.9, 1.4), p(0.22, 0.32), p(0.18, 0.45)
    span, leg = p.width(0.7, 1.3), p(0.15, 0.5)
    half, y = length / 2, leg + r
    parts: list[Part] = [
        (
            rotate(
                loft(
                    [
                        (-half, 0.05, r * 0.3, r * 0.25),
                        (-half * 0.5, 0, r * 0.8, r * 0.8),
                        (0.1 * half, 0, r, r),
                        (half * 0.7, 0, r * 0.7, r * 0.7),
                        (half, 0.05, r * 0.3, r * 0.3),
                    ],
                    18,
                ),
                "x",
                -18,
            ),
            "main",
        )
    ]
    parts.append((ball(head, (0, half * 0.35 + head * 0.6, half * 0.85)), "main"))
    hy, hz = half * 0.35 + head * 0.6, half * 0.85
    parts.append(
        (
            cyl(
                head * 0.34,
                beak + head * 0.3,
                (0, hy, hz + head * 0.85 + beak * 0.4),
                "z",
                top=0,
                segments=10,
            ),
            "beak",
        )
    )
    parts += eyes(head * 0.62, hy + head * 0.3, hz + head * 0.62)
    plume = box((r * 0.9, 0.07, half * 0.8), (0, -half * 0.32, -half * 1.1), 1.0)
    parts.append((plume, "tail"))
    if mode == "flying":
        plan = [(r * 0.3, -0.3), (span, -0.12), (span * 1.05, 0.1), (r * 0.3, 0.38)]
        wing = rotate(extrude(plan, 0.08, axis="y"), "z", 14)
        return [(shift(q, (0, y, 0)), role) for q, role in [*parts, *pair(wing, "wings")]]
    parts += pair(ball((0.09, r * 0.6, half * 0.62), (r * 0.92, 0.0, -half * 0.1)), "wings")
    parts += pair(rod((r * 0.35, -r * 0.6, 0), (r * 0.35, -r - leg, 0.05), 0.045), "feet")
    parts += pair(ball((0.1, 0.04, 0.17), (r * 0.35, -r - leg, 0.1), 10, 6), "feet")
    return [(shift(q, (0, y, 0)), role) for q, role in parts]


def fish(p: Proportions, mode: str | None) -> list[Part]:
    length, h, w = p.length(1.3, 2.0), p.height(0.3, 0.5), p.thickness(0.16, 0.28)
    tail, fin, nose = p(0.3, 0.55), p(0.2, 0.4), p(0.2, 0.5)
    if mode == "round":
        h, w = h * 1.5, w * 1.8
    half = length / 2
    body = [
        (-half, 0, w * 0.15, h * 0.18),
        (-half * 0.55, 0, w * 0.6, h * 0.6),
        (0, 0, w, h),
        (half * 0.5, 0, w * 0.95, h * 0.88),
        (half * 0.85, 0, w * 0.6, h * 0.5),
        (half, 0, w * nose, h * nose * 0.7),
    ]
    parts: list[Part] = [(loft(body, 22), "main")]
    outline = [
        (-half * 0.9, -0.04),
        (-half - tail * 0.8, -tail),
        (-half - tail * 0.5, 0),
        (-half - tail * 0.8, tail),
        (-half * 0.9, 0.04),
    ]
    parts.append((extrude([(z, y) for z, y in outline[::-1]], 0.07, axis="x"), "tail"))
    back = [
        (half * 0.3, h * 0.8),
        (-half * 0.1, h + fin),
        (-half * 0.45, h + fin * 0.6),
        (-half * 0.45, h * 0.6),
    ]
    parts.append((extrude(back, 0.07, axis="x"), "fins"))
    side = rotate(ball((fin, 0.04, fin * 0.55), (w + fin * 0.5, 0, half * 0.15)), "z", -25)
    parts += pair(side, "fins")
    return parts + eyes(w * 0.72, h * 0.25, half * 0.72, 0.07)


def duck(p: Proportions, mode: str | None) -> list[Part]:
    r, length, head, neck = (
        p.width(0.42, 0.6),
        p.length(1.1, 1.6),
        p(0.28, 0.4),
        p.height(0.15, 0.55),
    )
    bill, tail = p(0.2, 0.4), p(0.3, 0.6)
    half = length / 2
    body = [
        (-half, r * tail + 0.25, 0.06, 0.06),
        (-half * 0.75, r * 0.8, r * 0.6, r * 0.5),
        (-half * 0.1, r * 0.6, r, r * 0.62),
        (half * 0.6, r * 0.65, r * 0.8, r * 0.6),
        (half * 0.95, r * 0.7, r * 0.35, r * 0.3),
    ]
    parts: list[Part] = [(loft(body, 22), "main")]
    y, z = r * 1.2 + neck + head * 0.4, half * 0.55
    parts.append((rod((0, r * 0.8, z * 0.9), (0, y, z), r * 0.5, head * 0.6, 14), "main"))
    parts.append((ball(head, (0, y, z)), "main"))
    parts.append(
        (ball((head * 0.5, head * 0.2, bill), (0, y - head * 0.12, z + head * 0.8)), "beak")
    )
    parts += pair(ball((0.1, r * 0.4, half * 0.52), (r * 0.95, r * 0.75, -half * 0.12)), "wings")
    parts += eyes(head * 0.55, y + head * 0.3, z + head * 0.72)
    if mode == "walking":
        parts = [(shift(q, (0, 0.42, 0)), role) for q, role in parts]
        parts += pair(rod((r * 0.4, 0.6, 0), (r * 0.4, 0.03, 0.05), 0.06), "feet")
        parts += pair(ball((0.16, 0.05, 0.26), (r * 0.4, 0.04, 0.16), 10, 6), "feet")
    return parts


ANIMALS = (
    Category(
        name="dog",
        build=dog,
        modes=("standing", "sitting"),
        parts={"ears": "main", "legs": "main", "tail": "main"},
        adjectives=BEAST,
        size=0.9,
    ),
    Category(
        name="cat",
        build=cat,
        modes=("sitting", "standing"),
        parts={"ears": "main", "legs": "main", "tail": "main"},
        adjectives=("thick", "thin"),
        size=0.6,
    ),
    Category(
        name="bird",
        build=bird,
        modes=("perched", "flying"),
        parts={"beak": "carrot", "wings": "main", "feet": "carrot", "tail": "main"},
        adjectives=("thick", "thin", "long", "short"),
        size=0.3,
    ),
    Category(
        name="fish",
        build=fish,
        modes=("slim", "round"),
        parts={"tail": "main", "fins": "main"},
        adjectives=("tall", "low", "thick", "thin"),
        plural="fishes",
        size=0.4,
    ),
    Category(
        name="duck",
        build=duck,
        modes=("swimming", "walking"),
        parts={"beak": "carrot", "wings": "main", "feet": "carrot"},
        adjectives=("tall", "low", "long", "short"),
        size=0.5,
    ),
)

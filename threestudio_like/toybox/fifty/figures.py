"""Further animals, people, the robot and the snowman of the second edition."""

from __future__ import annotations

import numpy as np

from ..edition import Category
from ..objects.parts import Part, Proportions
from .beasts import BEAST, eyes
from .solids import (
    ball,
    box,
    cyl,
    loft,
    mirrored,
    pair,
    pillow,
    pipe,
    ring,
    rod,
)


def horse(p: Proportions, mode: str | None) -> list[Part]:
    length, leg, r = p.length(1.1, 1.6), p.height(0.8, 1.2), p.thickness(0.26, 0.38)
    neck, head, mane = p(0.5, 0.8), p(0.4, 0.6), p(0.06, 0.12)
    half, y = length / 2, leg + r * 0.7
    parts: list[Part] = [
        (
            loft(
                [
                    (-half, y + 0.02, r * 0.55, r * 0.6),
                    (-half * 0.8, y, r, r),
                    (0, y - 0.02, r * 0.92, r * 0.9),
                    (half * 0.75, y, r * 0.95, r),
                    (half, y + 0.06, r * 0.5, r * 0.6),
                ],
                18,
            ),
            "main",
        )
    ]
    for s in (-1, 1):
        parts += pair(
            rod((r * 0.6, y, s * half * 0.72), (r * 0.6, 0.1, s * half * 0.72), r * 0.42, r * 0.22),
            "legs",
        )
        parts += pair(cyl(r * 0.3, 0.14, (r * 0.6, 0.07, s * half * 0.72), segments=12), "dark")
    top = (0.0, y + r * 0.5 + neck, half + neck * 0.45)
    parts.append((rod((0, y + r * 0.1, half * 0.7), top, r * 0.75, r * 0.45, 14), "main"))
    parts.append(
        (
            rod(
                (0, top[1] + 0.05, top[2] - 0.1),
                (0, top[1] - head * 0.45, top[2] + head * 0.8),
                r * 0.52,
                r * 0.32,
                14,
            ),
            "main",
        )
    )
    parts += pair(
        cyl(0.07, 0.24, (0.12, top[1] + r * 0.55, top[2] - 0.06), top=0, segments=8), "main"
    )
    parts += eyes(r * 0.44, top[1] - 0.02, top[2] + 0.12)
    parts.append(
        (
            pipe(
                [
                    (0, top[1] + 0.16, top[2] - 0.16),
                    (0, y + r + neck * 0.4, half * 0.78 + neck * 0.1),
                    (0, y + r * 0.9, half * 0.4),
                ],
                [mane, mane * 1.5, mane],
            ),
            "mane",
        )
    )
    parts.append(
        (
            pipe(
                [
                    (0, y + r * 0.3, -half * 0.95),
                    (0, y + 0.1, -half - 0.22),
                    (0, y - leg * 0.6, -half - 0.26),
                ],
                [mane, mane * 1.5, 0.03],
            ),
            "tail",
        )
    )
    if mode == "saddled":
        parts.append((pillow((r * 2.15, 0.32, half * 0.7), (0, y + r * 0.82, -0.05), 3), "saddle"))
    return parts


def snail(p: Proportions, mode: str | None) -> list[Part]:
    length, shell, w = p.length(1.5, 2.1), p.height(0.45, 0.7), p.width(0.2, 0.34)
    horn, neck, thick = p(0.25, 0.5), p(0.3, 0.55), p(0.5, 0.75)
    half = length / 2
    path = [
        (0, 0.06, -half),
        (0, 0.14, -half * 0.4),
        (0, 0.16, half * 0.5),
        (0, 0.3, half * 0.85),
        (0, neck + 0.2, half),
    ]
    parts: list[Part] = [(pipe(path, [0.05, w, w, w * 0.85, w * 0.75], 14), "body")]
    a = np.linspace(0, 4.2 * np.pi, 44)
    grow = np.exp(-a * 0.14)
    cy, cz = 0.2 + shell * 0.85, -half * 0.15
    spiral = np.stack(
        [
            0.05 * a / a.max() * 0,
            cy - shell * 0.62 * grow * np.cos(a),
            cz - shell * 0.62 * grow * np.sin(a),
        ],
        -1,
    )
    if mode == "pointed":
        spiral = np.stack([0 * a, cy + shell * 0.9 * (1 - grow) - 0.1, cz + 0 * a], -1) + np.stack(
            [shell * 0.6 * grow * np.sin(a), 0 * a, shell * 0.6 * grow * np.cos(a)], -1
        )
        parts.append((cyl(shell * 0.9, shell * 1.7, (0, cy + shell * 0.3, cz), top=0.04), "main"))
        for k in range(4):
            rr = shell * (0.95 - 0.22 * k)
            parts.append(
                (
                    ball(
                        (rr, shell * 0.34, rr), (0, cy - shell * 0.3 + k * shell * 0.42, cz), 20, 9
                    ),
                    "main",
                )
            )
    else:
        parts.append(
            (
                pipe(spiral[::-1], (shell * 0.42 * grow[::-1] * (0.7 + 0.4 * thick)).tolist(), 10),
                "main",
            )
        )
    _, y, z = path[-1]
    parts.append((ball(w * 0.85, (0, y, z)), "body"))
    parts += pair(rod((w * 0.3, y, z), (w * 0.9, y + horn + w * 0.4, z + 0.16), 0.04), "body")
    return parts + eyes(w * 0.9, y + horn + w * 0.4, z + 0.16, 0.075)


def person(p: Proportions, mode: str | None) -> list[Part]:
    leg, chest, w = p.height(0.7, 1.1), p(0.55, 0.8), p.width(0.34, 0.55)
    head, arm, limb = p(0.18, 0.27), p(0.55, 0.8), p.thickness(0.08, 0.14)
    y = leg
    parts: list[Part] = []
    if mode == "sitting":
        y = leg * 0.55
        seat = box((w * 1.5, y - limb, 0.6), (0, (y - limb) / 2, -0.05))
        parts.append((seat, "wood"))
        parts += pair(rod((w * 0.28, y, 0), (w * 0.3, y, leg * 0.55), limb * 1.1), "trousers")
        parts += pair(
            rod((w * 0.3, y + limb * 0.3, leg * 0.55), (w * 0.3, 0.06, leg * 0.6), limb), "trousers"
        )
        foot_z = leg * 0.68
    else:
        parts += pair(
            rod((w * 0.27, y + 0.06, 0), (w * 0.3, 0.06, 0), limb * 1.2, limb), "trousers"
        )
        foot_z = 0.08
    parts += pair(pillow((limb * 2, 0.14, limb * 3.6), (w * 0.3, 0.07, foot_z), 3, 14, 8), "shoes")
    parts.append((pillow((w, chest, w * 0.6), (0, y + chest / 2 - 0.04, 0), 4), "main"))
    shoulder = (w * 0.5, y + chest * 0.84, 0.0)
    elbow = (w * 0.5 + 0.16, y + chest * 0.84 - arm * 0.5, 0.02)
    hand = (w * 0.5 + 0.14, y + chest * 0.84 - arm, 0.16)
    if mode == "waving":
        parts.append(
            (rod(shoulder, (w * 0.5 + arm * 0.5, shoulder[1] + 0.06, 0), limb * 0.9), "main")
        )
        parts.append(
            (
                rod(
                    (w * 0.5 + arm * 0.48, shoulder[1] + 0.04, 0),
                    (w * 0.5 + arm * 0.55, shoulder[1] + arm * 0.55, 0),
                    limb * 0.8,
                ),
                "main",
            )
        )
        parts.append(
            (ball(limb * 1.1, (w * 0.5 + arm * 0.55, shoulder[1] + arm * 0.6, 0), 12, 8), "skin")
        )
        arms = [pipe([shoulder, elbow, hand], limb * 0.85)]
        parts += [
            (mirrored(arms[0]), "main"),
            (ball(limb * 1.1, (-hand[0], hand[1], hand[2]), 12, 8), "skin"),
        ]
    else:
        parts += pair(pipe([shoulder, elbow, hand], limb * 0.85), "main")
        parts += pair(ball(limb * 1.1, hand, 12, 8), "skin")
    top = y + chest
    parts.append((cyl(head * 0.42, 0.2, (0, top, 0), segments=12), "skin"))
    parts.append((ball((head, head * 1.15, head), (0, top + head * 1.1, 0)), "skin"))
    parts.append(
        (ball((head * 1.08, head * 0.85, head * 1.06), (0, top + head * 1.6, -head * 0.22)), "hair")
    )
    parts += eyes(head * 0.38, top + head * 1.15, head * 0.9, 0.032)
    return [*parts, (ball(head * 0.16, (0, top + head * 0.95, head), 8, 6), "skin")]


def robot(p: Proportions, mode: str | None) -> list[Part]:
    h, w, leg = p.height(0.6, 1.1), p.width(0.6, 1.0), p(0.3, 0.7)
    d, head, arm = p(0.45, 0.75) * w, p(0.32, 0.55), p.thickness(0.1, 0.2)
    low = leg
    parts: list[Part] = []
    if mode == "wheeled":
        low = 0.36
        parts += pair(cyl(0.3, 0.16, (w * 0.5, 0.3, 0), "x", segments=20), "legs")
        parts.append((box((w * 0.9, 0.2, d * 0.8), (0, 0.3, 0)), "dark"))
    else:
        parts += pair(box((w * 0.28, leg + 0.02, d * 0.6), (w * 0.27, leg / 2, 0)), "legs")
        parts += pair(box((w * 0.34, 0.14, d * 0.95), (w * 0.27, 0.07, 0.05)), "legs")
    neck = low + h
    parts += [
        (box((w, h, d), (0, low + h / 2, 0)), "main"),
        (cyl(w * 0.2, 0.16, (0, neck + 0.04, 0)), "dark"),
        (box((w * 0.72, head, d * 0.85), (0, neck + 0.1 + head / 2, 0)), "head"),
    ]
    parts += pair(
        box((arm, h * 0.8, arm * 1.2), (w / 2 + arm / 2 - 0.01, low + h * 0.55, 0)), "arms"
    )
    parts += pair(
        cyl(head * 0.17, 0.1, (w * 0.17, neck + 0.1 + head * 0.6, d * 0.43), "z", segments=14),
        "eyes",
    )
    parts += [
        (box((w * 0.55, h * 0.34, 0.08), (0, low + h * 0.6, d / 2)), "panel"),
        (box((w * 0.36, 0.05, 0.06), (0, neck + 0.1 + head * 0.22, d * 0.43)), "dark"),
    ]
    return [
        *parts,
        (rod((0, neck + head, 0), (0, neck + head + 0.34, 0), 0.03), "dark"),
        (ball(0.08, (0, neck + head + 0.36, 0), 12, 8), "eyes"),
    ]


def snowman(p: Proportions, mode: str | None) -> list[Part]:
    low, mid, top = p.width(0.55, 0.8), p(0.4, 0.58), p(0.28, 0.42)
    nose, brim = p(0.25, 0.5), p(1.0, 1.35)
    y1 = low * 0.95
    y2 = y1 + low * 0.66 + mid * 0.66
    y3 = (y2 + mid * 0.62 + top * 0.72) if mode != "squat" else y1 + low * 0.66 + top * 0.75
    rows = [(low, y1), (mid, y2), (top, y3)] if mode != "squat" else [(low, y1), (top, y3)]
    parts: list[Part] = [(ball(r, (0, y, 0), 24, 14), "main") for r, y in rows]
    parts += [
        (cyl(top * brim, 0.08, (0, y3 + top * 0.74, 0), segments=22), "dark"),
        (cyl(top * 0.7, 0.4, (0, y3 + top * 0.74 + 0.2, 0), segments=20), "dark"),
    ]
    parts.append((cyl(0.08, nose, (0, y3, top + nose * 0.4), "z", top=0, segments=12), "nose"))
    parts += eyes(top * 0.38, y3 + top * 0.3, top * 0.86, 0.06)
    r, y = rows[-2]
    for k in (-1, 1):
        parts.append((ball(0.07, (0, y + k * r * 0.3, r * 0.95), 10, 7), "coal"))
    arm = rod((r * 0.8, y + r * 0.2, 0), (r + 0.55, y + r * 0.7, 0.1), 0.05, 0.03)
    parts += pair(arm, "wood")
    return [*parts, (ring(top * 0.82, 0.09, (0, y3 - top * 0.62, 0)), "scarf")]


FIGURES = (
    Category(
        name="horse",
        build=horse,
        modes=("free", "saddled"),
        parts={"mane": "dark", "tail": "dark", "legs": "main", "saddle": "roof"},
        adjectives=BEAST,
        size=2.4,
    ),
    Category(
        name="snail",
        build=snail,
        modes=("coiled", "pointed"),
        parts={"body": "cream"},
        adjectives=("long", "short"),
        size=0.1,
    ),
    Category(
        name="person",
        build=person,
        modes=("standing", "sitting", "waving"),
        parts={"trousers": "dark", "hair": "wood", "shoes": "dark"},
        adjectives=("wide", "narrow", "thick", "thin"),
        plural="people",
        size=1.8,
    ),
    Category(
        name="robot",
        build=robot,
        modes=("walking", "wheeled"),
        parts={"head": "main", "arms": "metal", "legs": "metal", "eyes": "glass", "panel": "cream"},
        adjectives=("wide", "narrow", "tall", "low"),
        materials=("metal",),
        size=1.5,
    ),
    Category(
        name="snowman",
        build=snowman,
        modes=("stacked", "squat"),
        parts={"nose": "carrot", "scarf": "roof"},
        adjectives=(),
        plural="snowmen",
        size=1.7,
    ),
)

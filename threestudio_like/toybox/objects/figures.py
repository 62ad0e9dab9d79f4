"""Figures: ball, cactus, house, mushroom, robot, snowman and tree."""

from __future__ import annotations

import numpy as np

from ..shapes import box, cylinder, ellipsoid, lathe, prism, rotate, shift, tube
from .parts import Part, Proportions


def ball(p: Proportions, mode: str | None) -> list[Part]:
    y = p(0.9, 1.0)
    return [(ellipsoid((1, y, 1), segments=24, rows=14), "main")]


def cactus(p: Proportions, mode: str | None) -> list[Part]:
    h, r = p(1.5, 2.0), p(0.26, 0.34)
    arm, reach = r * 0.78, p(0.55, 0.72)
    low, high = p(0.45, 0.6) * h, p(0.4, 0.55)
    parts: list[Part] = [
        (
            lathe(
                [
                    (0, 0.2),
                    (r, 0.25),
                    (r, h - r),
                    (r * 0.8, h - r * 0.4),
                    (r * 0.4, h - 0.04),
                    (0, h),
                ],
                16,
            ),
            "main",
        )
    ]
    for side, y in ((1, low), (-1, low * p(1.1, 1.3))):
        bend = np.linspace(0, np.pi / 2, 5)
        corner = 0.2
        path = [[0, y, 0], [side * (reach - corner), y, 0]]
        path += [
            [side * (reach - corner + corner * np.sin(a)), y + corner * (1 - np.cos(a)), 0]
            for a in bend[1:]
        ]
        path += [[side * reach, y + corner + high * 0.7, 0]]
        parts.append((tube(np.array(path), arm, 12), "main"))
        parts.append(
            (
                ellipsoid((arm, arm, arm), (side * reach, y + corner + high * 0.7, 0), 12, rows=7),
                "main",
            )
        )
    parts.append((cylinder(r * 1.35, 0.42, (0, 0.21, 0), top=r * 1.75, segments=18), "roof"))
    return parts


def house(p: Proportions, mode: str | None) -> list[Part]:
    h, width, depth = p(0.8, 1.1), p(1.2, 1.5), p(1.1, 1.4)
    roof = p(0.55, 0.8)
    eave = width / 2 + 0.13
    parts: list[Part] = [(box((width, h, depth), (0, h / 2, 0)), "main")]
    parts.append((prism([(-eave, h), (eave, h), (0, h + roof)], depth + 0.22), "roof"))
    parts.append((box((width * 0.24, h * 0.56, 0.08), (0, h * 0.28, depth / 2 + 0.02)), "wood"))
    for sx in (-1, 1):
        parts.append(
            (
                box((width * 0.2, h * 0.26, 0.08), (sx * width * 0.31, h * 0.6, depth / 2 + 0.02)),
                "glass",
            )
        )
        parts.append(
            (box((0.08, h * 0.3, depth * 0.3), (sx * (width / 2 + 0.02), h * 0.58, 0)), "glass")
        )
    parts.append(
        (box((0.24, roof * 0.75, 0.24), (width * 0.28, h + roof * 0.68, -depth * 0.2)), "main")
    )
    return parts


def mushroom(p: Proportions, mode: str | None) -> list[Part]:
    cap, tall, stem = p(0.75, 1.0), p(0.45, 0.65), p(0.7, 1.0)
    r = p(0.24, 0.33)
    a = np.linspace(0, np.pi / 2, 8)
    profile = [(0.0, stem * 0.9), (cap * 0.9, stem * 0.9)] + [
        (cap * np.cos(t), stem + tall * np.sin(t)) for t in a
    ]
    return [
        (lathe([(0, 0), (r * 1.15, 0), (r * 0.95, stem * 0.5), (r, stem), (0, stem)], 18), "cream"),
        (lathe(profile, 26), "main"),
    ]


def robot(p: Proportions, mode: str | None) -> list[Part]:
    h, w, leg = p(0.75, 1.0), p(0.75, 0.95), p(0.45, 0.65)
    d, head = w * p(0.55, 0.7), p(0.42, 0.55)
    neck = leg + h
    parts: list[Part] = [(box((w, h, d), (0, leg + h / 2, 0)), "main")]
    parts.append((box((w * 0.7, head, d * 0.9), (0, neck + 0.06 + head / 2, 0)), "main"))
    parts.append((box((w * 0.5, 0.12, d * 0.5), (0, neck + 0.03, 0)), "dark"))
    for sx in (-1, 1):
        parts.append((box((w * 0.32, leg, d * 0.7), (sx * w * 0.27, leg / 2, 0)), "metal"))
        parts.append(
            (box((0.2, h * 0.85, d * 0.5), (sx * (w / 2 + 0.1), leg + h * 0.55, 0)), "metal")
        )
        parts.append(
            (
                box(
                    (w * 0.15, head * 0.28, 0.08),
                    (sx * w * 0.17, neck + 0.06 + head * 0.6, d * 0.46),
                ),
                "glass",
            )
        )
    parts.append((box((w * 0.5, h * 0.3, 0.08), (0, leg + h * 0.6, d / 2 + 0.01)), "cream"))
    return parts


def snowman(p: Proportions, mode: str | None) -> list[Part]:
    low, mid, top = p(0.62, 0.75), p(0.45, 0.54), p(0.33, 0.4)
    y1 = low * 0.92
    y2 = y1 + low * 0.68 + mid * 0.72
    y3 = y2 + mid * 0.68 + top * 0.75
    parts: list[Part] = [
        (ellipsoid((r, r, r), (0, y, 0), 22, rows=12), "main")
        for r, y in ((low, y1), (mid, y2), (top, y3))
    ]
    parts.append((cylinder(top * 1.15, 0.12, (0, y3 + top * 0.72, 0), segments=18), "dark"))
    parts.append((cylinder(top * 0.72, 0.4, (0, y3 + top * 0.72 + 0.22, 0), segments=18), "dark"))
    nose = rotate(cylinder(0.1, 0.36, top=0.02, segments=10), "x", 90)
    parts.append((shift(nose, (0, y3 - 0.02, top + 0.12)), "carrot"))
    for sx in (-1, 1):
        parts.append(
            (
                ellipsoid(
                    (0.065, 0.065, 0.065), (sx * top * 0.4, y3 + top * 0.3, top * 0.86), 8, rows=5
                ),
                "coal",
            )
        )
    for dy in (-0.15, 0.15):
        parts.append(
            (ellipsoid((0.075, 0.075, 0.075), (0, y2 + dy, mid * 0.97), 8, rows=5), "coal")
        )
    return parts


def tree(p: Proportions, mode: str | None) -> list[Part]:
    trunk, crown, r = p(0.6, 0.9), p(0.68, 0.9), p(0.14, 0.19)
    tall = crown * p(0.95, 1.2)
    if mode == "pine":
        parts: list[Part] = [(cylinder(r, trunk, (0, trunk / 2, 0), segments=12), "wood")]
        for k in range(3):
            radius, step = crown * (1 - 0.24 * k), tall * 0.55
            parts.append(
                (
                    cylinder(
                        radius,
                        step * 1.35,
                        (0, trunk * 0.75 + step * (k + 0.6), 0),
                        top=0.04,
                        segments=22,
                    ),
                    "main",
                )
            )
        return parts
    return [
        (cylinder(r * 1.15, trunk * 1.2, (0, trunk * 0.6, 0), top=r, segments=12), "wood"),
        (ellipsoid((crown, tall, crown), (0, trunk + tall * 0.85, 0), 22, rows=13), "main"),
    ]

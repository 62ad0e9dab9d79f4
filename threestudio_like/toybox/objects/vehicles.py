"""Vehicles: boat, car and rocket."""

from __future__ import annotations

import numpy as np

from ..shapes import box, cylinder, lathe, prism, rotate, shift
from .parts import Part, Proportions


def boat(p: Proportions, mode: str | None) -> list[Part]:
    length, width, h = p(1.9, 2.4), p(0.75, 0.95), p(0.42, 0.55)
    mast = p(1.4, 1.8)
    w, l = width / 2, length / 2
    deck = np.array(
        [[0, h, l], [w, h, l * 0.35], [w * 0.9, h, -l], [-w * 0.9, h, -l], [-w, h, l * 0.35]],
        np.float32,
    )
    keel = deck * np.array([0.55, 0, 0.8], np.float32)
    vertices = np.concatenate([deck, keel])
    n = 5
    faces = [[0, i, i + 1] for i in range(1, n - 1)] + [
        [n, n + i + 1, n + i] for i in range(1, n - 1)
    ]
    for i in range(n):
        j = (i + 1) % n
        faces += [[i, n + i, n + j], [i, n + j, j]]
    parts: list[Part] = [((vertices, np.array(faces, np.int32)), "main")]
    parts.append((box((0.15, mast, 0.15), (0, h + mast / 2, 0.1)), "wood"))
    sail = prism([(0.0, 0.0), (0.0, mast * 0.82), (-l * 0.88, 0.0)], 0.13)
    parts.append((shift(rotate(sail, "y", -90), (0, h + mast * 0.14, 0.02)), "cream"))
    return parts


def car(p: Proportions, mode: str | None) -> list[Part]:
    length, width, h = p(2.0, 2.5), p(0.95, 1.15), p(0.42, 0.52)
    wheel = p(0.24, 0.3)
    cabin, cab_h = length * p(0.48, 0.6), p(0.38, 0.48)
    back = -length * p(0.04, 0.12)
    base = wheel * 0.8
    parts: list[Part] = [
        (box((width, h, length), (0, base + h / 2, 0), 0.96, taper_z=0.97), "main")
    ]
    parts.append(
        (
            box(
                (width * 0.9, cab_h * 0.78, cabin),
                (0, base + h + cab_h * 0.39, back),
                0.9,
                taper_z=0.78,
            ),
            "glass",
        )
    )
    parts.append(
        (
            box((width * 0.82, cab_h * 0.24, cabin * 0.78), (0, base + h + cab_h * 0.88, back)),
            "main",
        )
    )
    for sx in (-1, 1):
        for z in (length * 0.31, -length * 0.31):
            tyre = rotate(cylinder(wheel, 0.24, segments=16), "z", 90)
            parts.append((shift(tyre, (sx * width * 0.5, wheel, z)), "dark"))
        parts.append(
            (
                box((width * 0.2, h * 0.3, 0.08), (sx * width * 0.3, base + h * 0.55, length / 2)),
                "cream",
            )
        )
    return parts


def rocket(p: Proportions, mode: str | None) -> list[Part]:
    body, r, nose = p(1.2, 1.6), p(0.3, 0.4), p(0.5, 0.75)
    fin = p(0.3, 0.42)
    bottom = 0.22
    parts: list[Part] = [(cylinder(r, body, (0, bottom + body / 2, 0), segments=22), "main")]
    a = np.linspace(0, np.pi / 2, 6)
    parts.append(
        (
            lathe(
                [(0, bottom + body)]
                + [(r * np.cos(t), bottom + body + nose * np.sin(t)) for t in a],
                22,
            ),
            "roof",
        )
    )
    for k in range(4):
        blade = prism(
            [
                (r * 0.8, bottom * 0.2),
                (r + fin, 0.0),
                (r + fin, bottom + 0.1),
                (r * 0.8, bottom + body * 0.42),
            ],
            0.14,
        )
        parts.append((rotate(blade, "y", 90 * k), "roof"))
    window = rotate(cylinder(r * 0.42, 0.1, segments=14), "x", 90)
    parts.append((shift(window, (0, bottom + body * 0.66, r * 0.97)), "glass"))
    parts.append(
        (cylinder(r * 0.8, bottom, (0, bottom / 2 + 0.04, 0), top=r * 0.6, segments=16), "dark")
    )
    return parts

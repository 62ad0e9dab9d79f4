"""Vessels: barrel, bottle, box, mug and vase."""

from __future__ import annotations

import numpy as np

from ..shapes import box, cylinder, lathe, tube
from .parts import Part, Proportions, bottle_outline


def barrel(p: Proportions, mode: str | None) -> list[Part]:
    h, r, bulge = p(1.5, 2.1), p(0.5, 0.62), p(1.15, 1.35)
    heights = np.linspace(-0.5, 0.5, 9)
    profile = (
        [(0.0, -h / 2)]
        + [(r * (1 + (bulge - 1) * (1 - (2 * y) ** 2)), y * h) for y in heights]
        + [(0.0, h / 2)]
    )
    parts: list[Part] = [(lathe(profile, 24), "main")]
    for y in (-0.3, 0.3):
        radius = r * (1 + (bulge - 1) * (1 - (2 * y) ** 2)) * 1.03
        parts.append((cylinder(radius, 0.13 * h, (0, y * h, 0), segments=24), "metal"))
    return parts


def bottle(p: Proportions, mode: str | None) -> list[Part]:
    body, r, neck = p(1.1, 1.6), p(0.42, 0.55), p(0.4, 0.6)
    n = r * p(0.36, 0.46)
    shoulder = p(0.22, 0.4)
    top = body + shoulder
    if mode == "square":
        s = r * 1.75
        return [
            (box((s, body, s), (0, body / 2, 0)), "main"),
            (box((s, shoulder, s), (0, body + shoulder / 2, 0), 2 * n / s), "main"),
            (cylinder(n, neck, (0, top + neck / 2, 0)), "main"),
            (cylinder(n * 1.25, 0.2, (0, top + neck + 0.1, 0)), "dark"),
        ]
    return [
        (lathe(bottle_outline(r, body, shoulder, n, neck), 22), "main"),
        (cylinder(n * 1.25, 0.2, (0, top + neck + 0.1, 0)), "dark"),
    ]


def box_(p: Proportions, mode: str | None) -> list[Part]:
    x, y, z = p(0.85, 1.15), p(0.8, 1.1), p(0.85, 1.15)
    parts: list[Part] = [(box((x, y, z)), "main")]
    parts.append((box((x * 1.06, 0.16, z * 1.06), (0, y / 2, 0)), "wood"))
    return parts


def mug(p: Proportions, mode: str | None) -> list[Part]:
    h, r = p(1.15, 1.5), p(0.55, 0.65)
    wall, foot = 0.12, p(0.88, 1.0)
    profile = [(0, 0), (r * foot, 0), (r, h), (r - wall, h), (r * foot - wall, 0.15), (0, 0.15)]
    parts: list[Part] = [(lathe(profile, 26), "main")]
    reach, tall = p(0.42, 0.52), h * p(0.3, 0.34)
    a = np.linspace(np.pi / 2, -np.pi / 2, 11)
    path = np.stack([r * 0.94 + reach * np.cos(a), h * 0.5 + tall * np.sin(a), 0 * a], -1)
    parts.append((tube(path, 0.1, 10), "main"))
    return parts


def vase(p: Proportions, mode: str | None) -> list[Part]:
    h, belly = p(1.4, 1.9), p(0.55, 0.72)
    foot, neck, lip = p(0.26, 0.36), p(0.2, 0.28), p(0.36, 0.48)
    where = p(0.34, 0.46)
    knots = np.array([[foot, 0], [belly, where * h], [neck, 0.8 * h], [lip, h]])
    y = np.linspace(0, h, 14)
    from scipy.interpolate import PchipInterpolator

    radius = PchipInterpolator(knots[:, 1], knots[:, 0])(y)
    profile = [
        (0.0, 0.0),
        *list(zip(radius.tolist(), y.tolist())),
        (lip - 0.1, h),
        (neck - 0.08, 0.8 * h),
        (0.0, 0.72 * h),
    ]
    return [(lathe(profile, 26), "main")]

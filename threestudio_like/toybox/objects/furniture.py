"""Furniture: bed, chair, lamp, sofa and table."""

from __future__ import annotations

from ..shapes import box, cylinder
from .parts import Part, Proportions, legs


def bed(p: Proportions, mode: str | None) -> list[Part]:
    width, length, h = p(1.1, 1.6), p(1.9, 2.2), p(0.42, 0.55)
    head = p(0.5, 0.75)
    parts: list[Part] = [(box((width, 0.3, length), (0, h, 0)), "main")]
    parts += legs(width, length, h - 0.1, thick=0.2, role="wood")
    parts.append((box((width, h + head, 0.16), (0, (h + head) / 2, -length / 2 - 0.05)), "wood"))
    parts.append((box((width * 0.72, 0.16, 0.42), (0, h + 0.22, -length / 2 + 0.36)), "cream"))
    return parts


def chair(p: Proportions, mode: str | None) -> list[Part]:
    back, width, leg = p(0.85, 1.2), p(0.95, 1.15), p(0.65, 0.85)
    depth, thick = width * p(0.9, 1.02), p(0.17, 0.22)
    seat = p(0.17, 0.22)
    parts: list[Part] = legs(width, depth, leg, thick=thick, role="main")
    parts.append((box((width, seat, depth), (0, leg + seat / 2, 0)), "main"))
    parts.append((box((width, back, 0.17), (0, leg + seat + back / 2, -depth / 2 + 0.085)), "main"))
    return parts


def lamp(p: Proportions, mode: str | None) -> list[Part]:
    stem, base, shade = p(0.85, 1.25), p(0.42, 0.55), p(0.55, 0.7)
    tall = p(0.55, 0.75)
    top = shade * p(0.5, 0.7)
    parts: list[Part] = [
        (cylinder(base, 0.17, (0, 0.085, 0), top=base * 0.85, segments=22), "dark")
    ]
    parts.append((cylinder(0.1, stem, (0, 0.17 + stem / 2, 0), segments=12), "dark"))
    parts.append(
        (cylinder(shade, tall, (0, 0.17 + stem + tall / 2, 0), top=top, segments=24), "main")
    )
    return parts


def sofa(p: Proportions, mode: str | None) -> list[Part]:
    width, seat, back = p(1.7, 2.2), p(0.42, 0.52), p(0.45, 0.6)
    depth, arm = p(0.9, 1.1), p(0.22, 0.3)
    foot = 0.14
    parts: list[Part] = [(box((width, seat, depth), (0, foot + seat / 2, 0)), "main")]
    parts.append(
        (box((width, seat + back, 0.28), (0, foot + (seat + back) / 2, -depth / 2 + 0.1)), "main")
    )
    for sx in (-1, 1):
        parts.append(
            (
                box(
                    (arm, seat + back * 0.5, depth),
                    (sx * (width - arm) / 2, foot + (seat + back * 0.5) / 2, 0),
                ),
                "main",
            )
        )
    parts += legs(width, depth, foot + 0.05, thick=0.18, role="wood")
    return parts


def table(p: Proportions, mode: str | None) -> list[Part]:
    leg, width = p(0.75, 1.05), p(1.5, 1.9)
    top = p(0.16, 0.21)
    if mode == "round":
        r = width * 0.46
        parts: list[Part] = [(cylinder(r, top, (0, leg + top / 2, 0), segments=28), "main")]
        parts.append((cylinder(0.14, leg, (0, leg / 2, 0), segments=12), "wood"))
        parts.append((cylinder(r * 0.55, 0.15, (0, 0.075, 0), top=r * 0.45, segments=22), "wood"))
        return parts
    depth, thick = width * p(0.62, 0.8), p(0.19, 0.24)
    return [
        *legs(width, depth, leg, thick=thick, role="main", inset=0.03),
        (box((width, top, depth), (0, leg + top / 2, 0)), "main"),
    ]

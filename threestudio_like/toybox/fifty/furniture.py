"""Furniture of the second edition."""

from __future__ import annotations

from ..edition import Category
from ..objects.parts import Part, Proportions, legs
from .solids import box, cyl, extrude, pair, pillow, rod, rotate, shift, spun

_SEATS = ("tall", "low", "wide", "narrow", "thick", "thin")
_BOXES = ("tall", "low", "wide", "narrow")


def chair(p: Proportions, mode: str | None) -> list[Part]:
    width, leg, back = p.width(0.8, 1.3), p.height(0.5, 1.1), p.height(0.5, 1.5)
    depth, seat = p(0.8, 1.15), p(0.07, 0.2)
    thick = p.thickness(0.05, 0.2)
    top = leg + seat
    if mode == "office":
        parts: list[Part] = [(pillow((width, seat + 0.1, depth), (0, top, 0)), "main")]
        parts.append(
            (pillow((width * 0.9, back, 0.18), (0, top + 0.15 + back / 2, -depth / 2)), "main")
        )
        parts.append((box((0.14, 0.3, 0.06), (0, top + 0.15, -depth / 2 + 0.02)), "legs"))
        parts.append((box((0.14, 0.06, depth / 2), (0, top, -depth / 4)), "legs"))
        parts.append((cyl(thick * 0.6 + 0.03, leg, (0, leg / 2 + 0.08, 0), segments=12), "legs"))
        spoke = rod((0, 0.16, 0), (0, 0.1, width * 0.5), 0.06)
        parts += spun(spoke, "legs", 5)
        return parts + spun(cyl(0.08, 0.1, (0, 0.08, width * 0.5), axis="x"), "dark", 5)
    parts = legs(width, depth, leg + 0.01, thick, "legs")
    parts.append((box((width, seat, depth), (0, leg + seat / 2, 0)), "seat"))
    if mode == "slatted":
        post, z = thick * 0.8, -depth / 2 + thick * 0.4
        parts += pair(box((post, back, post), ((width - post) / 2, top + back / 2, z)), "main")
        rows = 3
        for k in range(rows):
            y = top + back * (0.35 + 0.28 * k)
            parts.append((box((width - post, back * 0.13, post * 0.6), (0, y, z)), "main"))
        return parts
    back_thick = 0.06 + 0.5 * thick
    parts.append(
        (box((width, back, back_thick), (0, top + back / 2, (back_thick - depth) / 2)), "main")
    )
    return parts


def stool(p: Proportions, mode: str | None) -> list[Part]:
    leg, r, seat = p.height(0.8, 1.3), p.width(0.38, 0.6), p(0.08, 0.2)
    thick, splay = p.thickness(0.04, 0.09), p(1.0, 1.35)
    if mode == "square":
        w = 1.8 * r
        return [
            *legs(w, w, leg, thick * 2, "legs"),
            (box((w, seat, w), (0, leg + seat / 2 - 0.01, 0)), "main"),
        ]
    foot = r * 0.7
    parts: list[Part] = spun(rod((0, 0, foot * splay), (0, leg, foot), thick), "legs", 3)
    return [*parts, (cyl(r, seat, (0, leg + seat / 2 - 0.02, 0), segments=26), "main")]


def table(p: Proportions, mode: str | None) -> list[Part]:
    leg, width, top = p.height(0.5, 1.2), p.width(1.2, 2.2), p(0.06, 0.2)
    depth, thick = p(0.8, 1.3), p.thickness(0.06, 0.22)
    if mode == "round":
        r = width * 0.46
        return [
            (cyl(r, top, (0, leg + top / 2, 0), segments=32), "main"),
            (cyl(0.04 + thick * 0.6, leg + 0.01, (0, leg / 2, 0)), "legs"),
            (cyl(r * 0.6, 0.1, (0, 0.05, 0), top=r * 0.45, segments=24), "legs"),
        ]
    if mode == "trestle":
        foot = extrude(
            [(-0.4, 0), (-0.25, 0), (0, leg * 0.8), (0.25, 0), (0.4, 0), (0.1, leg), (-0.1, leg)],
            thick,
            axis="x",
        )
        return [
            *pair(shift(foot, (width * 0.36, 0, 0)), "legs"),
            (box((width, top, depth), (0, leg + top / 2 - 0.005, 0)), "main"),
        ]
    return [
        *legs(width, depth, leg + 0.01, thick, "legs"),
        (box((width, top, depth), (0, leg + top / 2, 0)), "main"),
    ]


def desk(p: Proportions, mode: str | None) -> list[Part]:
    width, leg, depth, top = p.width(1.4, 2.2), p.height(0.7, 1.0), p(0.7, 1.0), p(0.05, 0.12)
    side, thick = p(0.35, 0.55), p.thickness(0.05, 0.12)
    parts: list[Part] = [(box((width, top, depth), (0, leg + top / 2 - 0.005, 0)), "main")]
    for x in (
        ((width - side) / 2 - 0.04,)
        if mode == "small"
        else ((side - width) / 2 + 0.04, (width - side) / 2 - 0.04)
    ):
        parts.append((box((side, leg, depth * 0.92), (x, leg / 2, 0)), "main"))
        for k in range(3):
            y = leg * (0.2 + 0.3 * k)
            parts.append((box((side * 0.84, leg * 0.24, 0.05), (x, y, depth * 0.46)), "drawers"))
            parts.append((box((side * 0.3, 0.05, 0.05), (x, y, depth * 0.46 + 0.045)), "dark"))
    if mode == "small":
        for z in (-1, 1):
            parts.append(
                (
                    box(
                        (thick, leg, thick),
                        (0.06 - width / 2 + thick / 2, leg / 2, z * (depth - thick) / 2.1),
                    ),
                    "legs",
                )
            )
    else:
        parts.append(
            (box((width - 2 * side, leg * 0.5, 0.05), (0, leg * 0.75, -depth * 0.4)), "main")
        )
    return parts


def sofa(p: Proportions, mode: str | None) -> list[Part]:
    width, seat, back = p.width(1.5, 2.6), p.height(0.35, 0.5), p.height(0.3, 0.7)
    depth, arm, foot = p(0.8, 1.1), p.thickness(0.14, 0.32), p(0.06, 0.2)
    parts: list[Part] = legs(width * 0.94, depth * 0.9, foot + 0.02, 0.1, "legs")
    parts.append((box((width, seat * 0.6, depth), (0, foot + seat * 0.3, 0)), "main"))
    parts.append(
        (
            pillow((width, seat + back, 0.26), (0, foot + (seat + back) / 2, -depth / 2 + 0.1), 6),
            "main",
        )
    )
    inner = width - 2 * arm
    for k in (-1, 1):
        parts.append(
            (
                pillow(
                    (inner / 2, seat * 0.55, depth * 0.84),
                    (k * inner / 4, foot + seat * 0.8, 0.08),
                    6,
                ),
                "cushions",
            )
        )
    if mode == "corner":
        parts.append(
            (
                pillow(
                    (inner / 2, seat, depth * 0.9),
                    (-width / 2 + inner / 4 + 0.02, foot + seat / 2 - 0.02, depth * 0.8),
                    8,
                ),
                "main",
            )
        )
        arms = [1]
    else:
        arms = [-1, 1]
    for k in arms:
        parts.append(
            (
                pillow(
                    (arm, seat + back * 0.45, depth),
                    (k * (width - arm) / 2, foot + (seat + back * 0.45) / 2, 0),
                    6,
                ),
                "main",
            )
        )
    return parts


def bed(p: Proportions, mode: str | None) -> list[Part]:
    width, length, h = p.width(0.9, 1.7), p.length(1.8, 2.2), p.height(0.3, 0.55)
    head, thick, soft = p.height(0.3, 0.8), p.thickness(0.06, 0.2), p(0.14, 0.28)
    levels = (h, h + 1.0) if mode == "bunk" else (h,)
    tall = levels[-1] + (0.35 if mode == "bunk" else 0)
    parts: list[Part] = []
    for level in levels:
        parts.append((box((width, 0.14, length), (0, level - 0.07, 0)), "frame"))
        parts.append(
            (
                pillow((width * 0.95, soft, length * 0.95), (0, level + soft / 2 - 0.02, 0), 9),
                "main",
            )
        )
        parts.append(
            (pillow((width * 0.6, 0.16, 0.36), (0, level + soft, -length / 2 + 0.3)), "pillow")
        )
    if mode == "bunk":
        for z in (-1, 1):
            parts += pair(box((thick, tall, thick), (width / 2, tall / 2, z * length / 2)), "frame")
            parts.append(
                (box((width, 0.12, thick * 0.8), (0, tall - 0.1, z * length / 2)), "frame")
            )
        return parts
    parts += legs(width * 0.96, length * 0.96, h - 0.1, thick, "frame")
    parts.append(
        (box((width + 0.04, h + head, 0.1), (0, (h + head) / 2, -length / 2 - 0.02)), "frame")
    )
    return parts


def bookshelf(p: Proportions, mode: str | None) -> list[Part]:
    width, tall, depth = p.width(0.8, 1.6), p.height(1.2, 2.4), p(0.3, 0.5)
    board, fill, rows = p.thickness(0.05, 0.11), p(0.5, 0.9), 4
    parts: list[Part] = [
        (box((width - 0.02, tall - 0.02, 0.04), (0, tall / 2, -depth / 2 + 0.03)), "main")
    ]
    parts += pair(box((board, tall, depth), ((width - board) / 2, tall / 2, 0)), "main")
    step = (tall - board) / rows
    for k in range(rows + 1):
        parts.append(
            (box((width - 0.01, board, depth - 0.01), (0, board / 2 + step * k, 0)), "main")
        )
    if mode != "empty":
        for k in range(rows):
            x, n = -width / 2 + board, 0
            stop = -width / 2 + board + (width - 2 * board) * (fill - 0.12 * (k % 2))
            while x < stop - 0.12:
                w, high = (
                    0.09 + 0.03 * ((n + k) % 3),
                    (step - board) * (0.62 + 0.1 * ((2 * n + k) % 4)),
                )
                y = board + step * k + high / 2 - 0.01
                role = ("books", "cream", "dark", "roof")[(n + 2 * k) % 4] if n % 2 else "books"
                parts.append((box((w - 0.01, high, depth * 0.7), (x + w / 2, y, 0.02)), role))
                x, n = x + w, n + 1
    return parts


def lamp(p: Proportions, mode: str | None) -> list[Part]:
    stem, shade, tall = p.height(0.7, 1.6), p.width(0.35, 0.75), p.height(0.35, 0.7)
    base, thick, top = p(0.3, 0.5), p.thickness(0.03, 0.1), p(0.4, 0.8)
    parts: list[Part] = [(cyl(base, 0.1, (0, 0.05, 0), top=base * 0.8, segments=24), "foot")]
    if mode == "reading":
        low, high = (0.0, 0.08, 0.0), (0.0, stem * 0.75, -0.35)
        end = (0.0, stem * 1.0 + 0.2, 0.45)
        parts.append((rod(low, high, thick), "foot"))
        parts.append((rod(high, end, thick), "foot"))
        parts.append((cyl(thick * 1.8, thick * 4, high, axis="x"), "foot"))
        head = rotate(cyl(shade * 0.6, tall * 0.8, top=shade * 0.25, segments=24), "x", -35)
        return [*parts, (shift(head, (0, end[1] - tall * 0.2, end[2] + tall * 0.1)), "main")]
    parts.append((cyl(thick, stem + 0.1, (0, 0.05 + stem / 2, 0), segments=12), "foot"))
    y = 0.05 + stem + tall / 2
    if mode == "globe":
        r = 0.6 * shade + 0.08
        return [*parts, (pillow((2 * r, 2 * r, 2 * r), (0, stem + r, 0), 2.0, 24, 15), "main")]
    return [*parts, (cyl(shade, tall, (0, y - 0.06, 0), top=shade * top, segments=26), "main")]


def cabinet(p: Proportions, mode: str | None) -> list[Part]:
    width, tall, depth = p.width(0.7, 1.5), p.height(0.8, 2.0), p(0.45, 0.8)
    foot, gap = p(0.06, 0.22), p(0.02, 0.05)
    parts: list[Part] = legs(width * 0.92, depth * 0.9, foot + 0.02, 0.09, "legs")
    parts.append((box((width, tall, depth), (0, foot + tall / 2, 0)), "main"))
    if mode == "drawer":
        for k in range(4):
            y, h = foot + tall * (k + 0.5) / 4, tall / 4 - 2 * gap
            parts.append((box((width - 3 * gap, h, 0.06), (0, y, depth / 2)), "doors"))
            parts.append((box((width * 0.25, 0.05, 0.07), (0, y, depth / 2 + 0.05)), "dark"))
        return parts
    w, h = width / 2 - 2 * gap, tall - 3 * gap
    parts += pair(box((w, h, 0.06), (width / 4, foot + tall / 2, depth / 2)), "doors")
    return parts + pair(
        box((0.05, tall * 0.16, 0.08), (gap + 0.07, foot + tall / 2, depth / 2 + 0.05)), "dark"
    )


_WOOD = ("wooden",)
FURNITURE = (
    Category(
        name="chair",
        build=chair,
        modes=("solid", "slatted", "office"),
        parts={"legs": "main", "seat": "main"},
        adjectives=_SEATS,
        materials=_WOOD,
        size=1.0,
    ),
    Category(
        name="stool",
        build=stool,
        modes=("round", "square"),
        front=False,
        parts={"legs": "main"},
        adjectives=_SEATS,
        materials=_WOOD,
        size=0.7,
        top=1.0,
    ),
    Category(
        name="table",
        build=table,
        modes=("square", "round", "trestle"),
        front=False,
        parts={"legs": "main"},
        adjectives=_SEATS,
        materials=_WOOD,
        size=1.6,
        top=1.0,
    ),
    Category(
        name="desk",
        build=desk,
        modes=("double", "small"),
        parts={"drawers": "wood", "legs": "main"},
        adjectives=_BOXES,
        materials=_WOOD,
        size=1.7,
        top=1.0,
    ),
    Category(
        name="sofa",
        build=sofa,
        modes=("straight", "corner"),
        parts={"cushions": "main", "legs": "wood"},
        adjectives=_BOXES,
        size=2.1,
    ),
    Category(
        name="bed",
        build=bed,
        modes=("single", "bunk"),
        parts={"frame": "wood", "pillow": "cream"},
        adjectives=("wide", "narrow", "long", "short"),
        size=2.3,
    ),
    Category(
        name="bookshelf",
        build=bookshelf,
        modes=("filled", "empty"),
        parts={"books": "roof"},
        adjectives=_BOXES,
        materials=_WOOD,
        plural="bookshelves",
        size=2.0,
        top=1.0,
    ),
    Category(
        name="lamp",
        build=lamp,
        modes=("shaded", "globe", "reading"),
        front=False,
        parts={"foot": "dark"},
        adjectives=("tall", "low", "wide", "narrow"),
        materials=("metal",),
        size=0.6,
    ),
    Category(
        name="cabinet",
        build=cabinet,
        modes=("doored", "drawer"),
        parts={"doors": "main", "legs": "wood"},
        adjectives=_BOXES,
        materials=_WOOD,
        size=1.5,
        top=1.0,
    ),
)

"""Twenty categories of parametric objects, each a function from proportions to coloured parts.

Objects stand on +Y up with their front to +Z. Sizes are free: `world` normalises every object into
the unit sphere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .shapes import Primitive, box, cylinder, ellipsoid, lathe, prism, rotate, shift, tube

Part = tuple[Primitive, str]
"""A primitive and its role: "main" takes the object's named colour, any other role a colour of
`ACCENTS`."""

ACCENTS: dict[str, tuple[float, float, float]] = {
    "wood": (0.55, 0.36, 0.19),
    "dark": (0.17, 0.17, 0.20),
    "metal": (0.66, 0.68, 0.72),
    "glass": (0.58, 0.80, 0.92),
    "cream": (0.95, 0.91, 0.78),
    "coal": (0.08, 0.08, 0.09),
    "carrot": (0.95, 0.45, 0.08),
    "roof": (0.52, 0.20, 0.16),
    "leaf": (0.20, 0.52, 0.20),
}
"""Colours of parts that the caption does not name."""


class Proportions:
    """Draws of one object. `key` is its leading proportion, which the split of the world holds
    apart."""

    def __init__(self, rng: np.random.Generator, key: float) -> None:
        self._rng, self._key, self._used = rng, key, False

    def __call__(self, low: float, high: float) -> float:
        u = self._rng.random()
        if not self._used:
            u, self._used = self._key, True
        return float(low + (high - low) * u)

    def choice(self, options: list[str]) -> str:
        return options[int(self._rng.integers(len(options)))]


def _legs(
    width: float, depth: float, height: float, thick: float, role: str, inset: float = 0.0
) -> list[Part]:
    x, z = width / 2 - thick / 2 - inset, depth / 2 - thick / 2 - inset
    return [
        (box((thick, height, thick), (sx * x, height / 2, sz * z)), role)
        for sx in (-1, 1)
        for sz in (-1, 1)
    ]


def ball(p: Proportions, mode: str | None) -> list[Part]:
    y = p(0.9, 1.0)
    return [(ellipsoid((1, y, 1), segments=24, rows=14), "main")]


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


def bed(p: Proportions, mode: str | None) -> list[Part]:
    width, length, h = p(1.1, 1.6), p(1.9, 2.2), p(0.42, 0.55)
    head = p(0.5, 0.75)
    parts: list[Part] = [(box((width, 0.3, length), (0, h, 0)), "main")]
    parts += _legs(width, length, h - 0.1, 0.2, "wood")
    parts.append((box((width, h + head, 0.16), (0, (h + head) / 2, -length / 2 - 0.05)), "wood"))
    parts.append((box((width * 0.72, 0.16, 0.42), (0, h + 0.22, -length / 2 + 0.36)), "cream"))
    return parts


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
    profile = [
        (0, 0),
        (r, 0),
        (r, body),
        (r * 0.85, body + shoulder * 0.45),
        (n, top),
        (n, top + neck),
        (0, top + neck),
    ]
    return [
        (lathe(profile, 22), "main"),
        (cylinder(n * 1.25, 0.2, (0, top + neck + 0.1, 0)), "dark"),
    ]


def box_(p: Proportions, mode: str | None) -> list[Part]:
    x, y, z = p(0.85, 1.15), p(0.8, 1.1), p(0.85, 1.15)
    parts: list[Part] = [(box((x, y, z)), "main")]
    parts.append((box((x * 1.06, 0.16, z * 1.06), (0, y / 2, 0)), "wood"))
    return parts


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
            (ellipsoid((arm, arm, arm), (side * reach, y + corner + high * 0.7, 0), 12, 7), "main")
        )
    parts.append((cylinder(r * 1.35, 0.42, (0, 0.21, 0), r * 1.75, 18), "roof"))
    return parts


def car(p: Proportions, mode: str | None) -> list[Part]:
    length, width, h = p(2.0, 2.5), p(0.95, 1.15), p(0.42, 0.52)
    wheel = p(0.24, 0.3)
    cabin, cab_h = length * p(0.48, 0.6), p(0.38, 0.48)
    back = -length * p(0.04, 0.12)
    base = wheel * 0.8
    parts: list[Part] = [(box((width, h, length), (0, base + h / 2, 0), 0.96, 0.97), "main")]
    parts.append(
        (
            box((width * 0.9, cab_h * 0.78, cabin), (0, base + h + cab_h * 0.39, back), 0.9, 0.78),
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


def chair(p: Proportions, mode: str | None) -> list[Part]:
    back, width, leg = p(0.85, 1.2), p(0.95, 1.15), p(0.65, 0.85)
    depth, thick = width * p(0.9, 1.02), p(0.17, 0.22)
    seat = p(0.17, 0.22)
    parts: list[Part] = _legs(width, depth, leg, thick, "main")
    parts.append((box((width, seat, depth), (0, leg + seat / 2, 0)), "main"))
    parts.append((box((width, back, 0.17), (0, leg + seat + back / 2, -depth / 2 + 0.085)), "main"))
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


def lamp(p: Proportions, mode: str | None) -> list[Part]:
    stem, base, shade = p(0.85, 1.25), p(0.42, 0.55), p(0.55, 0.7)
    tall = p(0.55, 0.75)
    top = shade * p(0.5, 0.7)
    parts: list[Part] = [(cylinder(base, 0.17, (0, 0.085, 0), base * 0.85, 22), "dark")]
    parts.append((cylinder(0.1, stem, (0, 0.17 + stem / 2, 0), segments=12), "dark"))
    parts.append((cylinder(shade, tall, (0, 0.17 + stem + tall / 2, 0), top, 24), "main"))
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
    parts.append((cylinder(r * 0.8, bottom, (0, bottom / 2 + 0.04, 0), r * 0.6, 16), "dark"))
    return parts


def snowman(p: Proportions, mode: str | None) -> list[Part]:
    low, mid, top = p(0.62, 0.75), p(0.45, 0.54), p(0.33, 0.4)
    y1 = low * 0.92
    y2 = y1 + low * 0.68 + mid * 0.72
    y3 = y2 + mid * 0.68 + top * 0.75
    parts: list[Part] = [
        (ellipsoid((r, r, r), (0, y, 0), 22, 12), "main")
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
                    (0.065, 0.065, 0.065), (sx * top * 0.4, y3 + top * 0.3, top * 0.86), 8, 5
                ),
                "coal",
            )
        )
    for dy in (-0.15, 0.15):
        parts.append((ellipsoid((0.075, 0.075, 0.075), (0, y2 + dy, mid * 0.97), 8, 5), "coal"))
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
    parts += _legs(width, depth, foot + 0.05, 0.18, "wood")
    return parts


def table(p: Proportions, mode: str | None) -> list[Part]:
    leg, width = p(0.75, 1.05), p(1.5, 1.9)
    top = p(0.16, 0.21)
    if mode == "round":
        r = width * 0.46
        parts: list[Part] = [(cylinder(r, top, (0, leg + top / 2, 0), segments=28), "main")]
        parts.append((cylinder(0.14, leg, (0, leg / 2, 0), segments=12), "wood"))
        parts.append((cylinder(r * 0.55, 0.15, (0, 0.075, 0), r * 0.45, 22), "wood"))
        return parts
    depth, thick = width * p(0.62, 0.8), p(0.19, 0.24)
    return [
        *_legs(width, depth, leg, thick, "main", 0.03),
        (box((width, top, depth), (0, leg + top / 2, 0)), "main"),
    ]


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
                        radius, step * 1.35, (0, trunk * 0.75 + step * (k + 0.6), 0), 0.04, 22
                    ),
                    "main",
                )
            )
        return parts
    return [
        (cylinder(r * 1.15, trunk * 1.2, (0, trunk * 0.6, 0), r, 12), "wood"),
        (ellipsoid((crown, tall, crown), (0, trunk + tall * 0.85, 0), 22, 13), "main"),
    ]


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


BUILDERS: dict[str, Callable[[Proportions, str | None], list[Part]]] = {
    "ball": ball,
    "barrel": barrel,
    "bed": bed,
    "boat": boat,
    "bottle": bottle,
    "box": box_,
    "cactus": cactus,
    "car": car,
    "chair": chair,
    "house": house,
    "lamp": lamp,
    "mug": mug,
    "mushroom": mushroom,
    "robot": robot,
    "rocket": rocket,
    "snowman": snowman,
    "sofa": sofa,
    "table": table,
    "tree": tree,
    "vase": vase,
}
"""One builder a category."""

HAS_FRONT = frozenset(
    {"bed", "boat", "car", "chair", "house", "mug", "robot", "rocket", "snowman", "sofa"}
)
"""Categories whose front can be told from the side or back."""

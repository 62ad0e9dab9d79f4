"""Cars of the second world, in metres: three outlines cut with each other, wheel arches cut out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from manifold3d import Manifold

from .solids import (
    Part,
    across,
    block,
    disc,
    join,
    lathe,
    mirrored,
    outline,
    plate,
    rectangle,
    slab,
    spline,
)

SILL, FLOOR = 0.30, 0.20


@dataclass(frozen=True)
class Sizes:
    """Lengths of a car. Places along it count from its middle to the front."""

    length: float
    width: float
    wheel: float
    belt: float
    roof: float
    nose: float
    screen: float
    front_top: float
    back_top: float
    tail: float

    @staticmethod
    def draw(rng: np.random.Generator, kind: str) -> Sizes:
        """Sizes of a "saloon", a "hatchback" or a "van"."""
        u = rng.uniform
        long, wide, tall, belts, hood, slant, tail, rear = {
            "saloon": ((4.3, 4.7), (1.76, 1.86), (1.40, 1.47), (0.88, 0.96), 1.15, 0.80, 0.85, 0.5),
            "hatchback": (
                (3.6, 4.0),
                (1.66, 1.76),
                (1.45, 1.54),
                (0.88, 0.96),
                0.95,
                0.70,
                0.10,
                0.45,
            ),
            "van": ((4.6, 5.2), (1.85, 1.98), (1.9, 2.1), (1.05, 1.15), 0.62, 0.55, 0.02, 0.08),
        }[kind]
        length, belt = u(*long), u(*belts)
        front, back = length / 2, -length / 2
        return Sizes(
            length=length,
            width=u(*wide),
            wheel=u(0.31, 0.35),
            belt=belt,
            roof=u(*tall),
            nose=belt - u(0.12, 0.2),
            screen=front - hood,
            front_top=front - hood - slant,
            back_top=back + tail + rear,
            tail=back + tail,
        )

    @property
    def shoulder(self) -> float:
        """Half the width where the cabin stands on the body."""
        return self.width / 2 - 0.06

    @property
    def axles(self) -> tuple[float, float]:
        """The places of the wheels."""
        return 0.30 * self.length + 0.06, -0.31 * self.length


def shell(s: Sizes) -> Manifold:
    """The body up to the belt, with its wheel arches."""
    f, b, half = s.length / 2, -s.length / 2, s.width / 2
    side = outline(
        [
            (b, SILL),
            (b + 0.12, FLOOR),
            (f - 0.14, FLOOR),
            (f, SILL + 0.05),
            (f - 0.03, s.nose - 0.10),
            (f - 0.14, s.nose),
            (s.screen + 0.1, s.belt),
            (s.tail, s.belt + 0.02),
            (b + 0.06, s.belt - 0.02),
            (b, s.belt - 0.2),
        ],
        0.07,
    )
    right = [(half, 0), (half + 0.01, s.belt * 0.6), (half - 0.06, s.belt + 0.06)]
    front = outline([(-x, y) for x, y in right] + right[::-1], 0.05)
    plan = plate(rectangle(s.width, s.length, 0.42), 5.0, 4.0)
    arch = slab(disc(s.wheel + 0.055, 64), 3.0).rotate((0, 90, 0))
    arches = join([arch.translate((0, s.wheel, z)) for z in s.axles])
    return (across(side, 3.0) ^ plan ^ slab(front, 8)) - arches


def cabin(s: Sizes) -> Manifold:
    """What stands above the belt, narrower towards the roof."""
    side = outline(
        [
            (s.screen + 0.1, s.belt - 0.1),
            (s.screen, s.belt),
            (s.front_top, s.roof - 0.03),
            (s.front_top - 0.25, s.roof),
            (s.back_top + 0.25, s.roof - 0.01),
            (s.back_top, s.roof - 0.06),
            (s.tail, s.belt),
            (s.tail, s.belt - 0.1),
        ],
        0.06,
    )
    x = s.shoulder
    right = [(x, s.belt - 0.2), (x, s.belt), (x - 0.17, s.roof)]
    return across(side, 3.0) ^ slab(outline([(-a, y) for a, y in right] + right[::-1], 0.05), 8)


def panes(s: Sizes, whole: Manifold, kind: str) -> Manifold:
    """The windows: what of a slightly larger cabin lies in their outlines."""
    side = outline(
        [
            (s.screen - 0.08, s.belt + 0.05),
            (s.front_top + 0.02, s.roof - 0.10),
            (s.back_top + 0.06, s.roof - 0.10),
            (s.tail + 0.16, s.belt + 0.05),
        ],
        0.04,
    )
    wider = whole.translate((0.012, 0, 0)) + whole.translate((-0.012, 0, 0))
    middle = (s.front_top + s.back_top) / 2
    sides = (wider ^ across(side, 4.0)) - block((4, 6, 0.07), (0, 0, middle))
    if kind == "van":
        sides = sides ^ block((4, 4, 1.9), (0, 2, s.screen - 0.65))
    high = s.roof - s.belt - 0.15
    frame = slab(rectangle(2 * s.shoulder - 0.30, high, 0.06), 8)
    frame = frame.translate((0, (s.roof + s.belt) / 2 - 0.01, 0))
    ahead = whole.translate((0, 0.004, 0.02)) ^ block((4, 4, 4), (0, 2, s.front_top + 2.0))
    behind = whole.translate((0, 0.004, -0.02)) ^ block((4, 4, 4), (0, 2, s.back_top - 2.0))
    return join([sides, ahead ^ frame, behind ^ frame])


def wheels(s: Sizes) -> list[Part]:
    """Four tyres and rims."""
    r = s.wheel
    tread = [(r * 0.62, -0.10), (r * 0.97, -0.10), (r, -0.05)]
    tread += [(x, -y) for x, y in tread[::-1]]
    dish = [(r * 0.66, 0.09), (r * 0.56, 0.07), (r * 0.2, 0.075), (r * 0.18, 0.095), (0, 0.095)]
    tyre, rim = lathe(spline(tread, 24), 48), lathe([(0, -0.08), (r * 0.66, -0.09), *dish], 40)
    parts = []
    for solid, role in ((tyre, "tyre"), (rim, "metal")):
        side = solid.rotate((0, 0, -90)).translate((s.width / 2 - 0.12, r, 0))
        parts.append(Part(mirrored(join([side.translate((0, 0, z)) for z in s.axles])), role))
    return parts


def car(rng: np.random.Generator, kind: str) -> list[Part]:
    """A saloon, a hatchback or a van."""
    s = Sizes.draw(rng, kind)
    f, b = s.length / 2, -s.length / 2
    top = cabin(s)
    bright = block((0.34, 0.13, 0.4), (s.width * 0.34, s.nose - 0.12, f - 0.14), 0.05)
    red = block((0.30, 0.14, 0.3), (s.width * 0.36, s.belt - 0.14, b + 0.13), 0.04)
    mirror = block((0.14, 0.11, 0.08), (s.shoulder + 0.06, s.belt + 0.06, s.screen - 0.25), 0.03)
    bumper = block((s.width * 0.86, 0.10, 0.3), (0, SILL + 0.06, 0), 0.04)
    bumpers = [bumper.translate((0, 0, z)) for z in (f - 0.12, b + 0.12)]
    return [
        Part(shell(s)),
        Part(top),
        Part(panes(s, top, kind), "glass"),
        *wheels(s),
        Part(mirrored(bright), "linen"),
        Part(mirrored(red), "signal"),
        Part(join(bumpers), "dark"),
        Part(mirrored(mirror), "dark"),
    ]

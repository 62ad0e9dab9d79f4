"""Rooms to stand in: a floor, walls, and what hangs on them and lies there, as pictures behind
objects.

Only the pictures that the segmenter and the depth estimator learn from are taken in rooms. A room
is drawn for itself, out of focus by some, and the objects are laid over it by their masks: what
belongs to the room is background to both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from .patterns import BANDS, BRICK, CHECKS, DOTS, PLAIN, WOOD
from .render import eye, render
from .shapes import Primitive, box, cylinder, rotate, shift
from .toy_object import ToyObject

SEED = 1 << 44
"""Added to a world's seed, so that rooms draw from streams of their own."""
FLOORS, WALLS = (PLAIN, WOOD, CHECKS, BRICK, BANDS), (PLAIN, PLAIN, BANDS, BRICK, DOTS, WOOD)
SHADES = (0.92, 0.85, 0.78)
"""What is left of the floor's light in a shadow, from its edge to its middle."""
REACH = 7.0
"""How far floor and walls go on to the sides, in radii of the unit sphere."""


@dataclass(frozen=True)
class Foot:
    """Where a thing stands: the middle (x, z) and half of the extent (x, z) of what touches the
    floor."""

    middle: tuple[float, float]
    half: tuple[float, float]


def foot_of(points: np.ndarray) -> Foot:
    """The foot of points (N, 3): of their lowest tenth."""
    low, high = points[:, 1].min(), points[:, 1].max()
    some = points[points[:, 1] <= low + 0.1 * (high - low) + 1e-6][:, [0, 2]]
    middle, half = (some.min(0) + some.max(0)) / 2, (some.max(0) - some.min(0)) / 2
    return Foot((float(middle[0]), float(middle[1])), (float(half[0]), float(half[1])))


def muted(rng: np.random.Generator, low: float = 0.2, high: float = 0.95) -> np.ndarray:
    """A colour (3,) as rooms have it: a grey with a little of a hue, now and then with more."""
    level, strength = rng.uniform(low, high), 0.05 if rng.random() < 0.65 else 0.18
    hue = rng.normal(0, 1, 3)
    return np.clip(level + strength * (hue - hue.mean()), 0.03, 0.97)


class _Builder:
    """Gathers primitives with their materials."""

    def __init__(self, stretch: float) -> None:
        self.stretch = stretch
        self.vertices: list[np.ndarray] = []
        self.faces: list[np.ndarray] = []
        self.material: list[np.ndarray] = []
        self.materials: list[list[float]] = []
        self.count = 0

    def surface(self, rng: np.random.Generator, codes: Iterable[int]) -> int:
        """A new material of two colours and one of several patterns; returns its number."""
        one = muted(rng, 0.3)
        other = np.clip(one * rng.uniform(0.72, 1.18), 0.03, 0.97)
        if rng.random() < 0.25:
            other = muted(rng)
        return self.paint(one, other, int(rng.choice(list(codes))))

    def paint(self, one: np.ndarray, other: np.ndarray | None = None, code: int = PLAIN) -> int:
        """A new material of given colours; returns its number."""
        second = one if other is None else other
        self.materials.append([*one.tolist(), *second.tolist(), float(code)])
        return len(self.materials) - 1

    def darker(self, number: int, share: float) -> int:
        """The same material in less light."""
        values = np.array(self.materials[number])
        return self.paint(values[:3] * share, values[3:6] * share, int(values[6]))

    def add(self, primitive: Primitive, material: int) -> None:
        vertices, faces = primitive
        self.vertices.append(vertices)
        self.faces.append(faces + self.count)
        self.material.append(np.full(len(faces), material, np.int32))
        self.count += len(vertices)

    def made(self) -> ToyObject:
        points = np.concatenate(self.vertices).astype(np.float32)
        return ToyObject(
            points,
            np.concatenate(self.faces),
            np.concatenate(self.material),
            materials=np.asarray(self.materials, np.float32),
            caption="",
            phrases=[],
            painted=(points * np.float32(self.stretch)),
        )


def room(rng: np.random.Generator, floor: float, azimuth: float, feet: Iterable[Foot]) -> ToyObject:
    """A room around the unit sphere for a camera at an azimuth in radians, with shadows under feet.

    Args:
        floor: its height.
    """
    out = _Builder(rng.uniform(0.6, 1.6))
    ground = out.surface(rng, FLOORS)
    out.add(box((2 * REACH, 0.02, 2 * REACH), (0, floor - 0.01, 0)), ground)
    _shadows(out, floor, feet, ground)
    distance, lean = rng.uniform(1.15, 2.6), rng.uniform(-0.45, 0.45)
    turned = float(np.rad2deg(azimuth + lean))

    walls = [(0.0, distance)]
    if rng.random() < 0.45:
        walls.append((90.0 if rng.random() < 0.5 else -90.0, rng.uniform(1.5, 3.2)))
    wall = out.surface(rng, WALLS)
    board = out.paint(muted(rng, 0.5))
    for angle, away in walls:
        # Side walls begin at the back one and end before the camera.
        wide = 2 * REACH if angle == 0 else distance + 1.0
        middle = 0.0 if angle == 0 else (1.0 - distance) / 2 * (1.0 if angle > 0 else -1.0)
        parts: list[tuple[Primitive, int]] = [
            (box((wide, 6.0, 0.04), (middle, floor + 3.0, -away - 0.02)), wall)
        ]
        if rng.random() < 0.7:
            skirting = rng.uniform(0.06, 0.16)
            parts.append(
                (box((wide, skirting, 0.07), (middle, floor + skirting / 2, -away)), board)
            )
        parts += _hung(out, rng, floor, away)
        for primitive, material in parts:
            out.add(rotate(rotate(primitive, "y", angle), "y", turned), material)
    if rng.random() < 0.4:
        out.add(shift(_rug(rng), (rng.normal(0, 0.2), floor, rng.normal(0, 0.2))), _cloth(out, rng))
    return out.made()


def _cloth(out: _Builder, rng: np.random.Generator) -> int:
    return out.paint(muted(rng), muted(rng), int(rng.choice([PLAIN, BANDS, CHECKS, DOTS])))


def _rug(rng: np.random.Generator) -> Primitive:
    wide, deep = rng.uniform(0.8, 1.9, 2)
    if rng.random() < 0.4:
        return cylinder(wide, 0.03, (0, 0.0, 0), segments=28)
    return rotate(box((2 * wide, 0.03, 2 * deep)), "y", float(rng.uniform(-40, 40)))


def _shadows(out: _Builder, floor: float, feet: Iterable[Foot], ground: int) -> None:
    """Dark patches on the floor, darker towards their middle, in the floor's own pattern."""
    for foot in feet:
        for n, share in enumerate(SHADES):
            grown = 1.5 - 0.25 * n
            half = [max(h, 0.03) * grown + 0.02 for h in foot.half]
            patch = cylinder(1.0, 0.004, segments=24)
            points = patch[0] * np.array([half[0], 1.0, half[1]], np.float32)
            at = (foot.middle[0], floor + 0.004 * (n + 1), foot.middle[1])
            out.add(shift((points, patch[1]), at), out.darker(ground, share))


def _hung(
    out: _Builder, rng: np.random.Generator, floor: float, away: float
) -> list[tuple[Primitive, int]]:
    """What is on a wall: a window, pictures, a door, a shelf with boxes."""
    parts: list[tuple[Primitive, int]] = []
    for _ in range(int(rng.integers(0, 4))):
        kind = str(rng.choice(["window", "picture", "door", "shelf"]))
        x, y = rng.uniform(-2.2, 2.2), floor + rng.uniform(0.9, 1.9)
        wide, high = rng.uniform(0.25, 0.7), rng.uniform(0.25, 0.8)
        frame = out.paint(muted(rng))
        if kind == "door":
            y, wide, high = floor + 0.85, 0.42, 0.85
        if kind == "shelf":
            parts.append((box((2 * wide, 0.05, 0.2), (x, y, -away + 0.1)), frame))
            for k in range(int(rng.integers(1, 6))):
                tall = rng.uniform(0.12, 0.35)
                at = (x - wide + 0.15 + 0.2 * k, y + tall / 2 + 0.02, -away + 0.1)
                parts.append((box((rng.uniform(0.05, 0.16), tall, 0.14), at), _cloth(out, rng)))
            continue
        parts.append((box((2 * wide, 2 * high, 0.06), (x, y, -away)), frame))
        pane = out.paint(muted(rng, 0.7)) if kind == "window" else _cloth(out, rng)
        inner = (2 * wide - 0.1, 2 * high - 0.1, 0.07)
        parts.append((box(inner, (x, y, -away)), frame if kind == "door" else pane))
        if kind == "window":
            parts.append((box((0.04, 2 * high, 0.08), (x, y, -away)), frame))
            parts.append((box((2 * wide, 0.04, 0.08), (x, y, -away)), frame))
    return parts


def in_room(seed: int, index: int, share: float) -> bool:
    """Whether picture `index` of a world is taken in a room, as a share of all are."""
    rng = np.random.Generator(np.random.Philox(key=[seed + SEED + 1, index]))
    return share > 0 and bool(rng.random() < share)


def room_picture(
    seed: int,
    index: int,
    points: Iterable[np.ndarray],
    matrix: np.ndarray,
    azimuth: float,
    elevation: float,
    distance: float = 3.0,
    size: int = 64,
) -> np.ndarray:
    """The room of picture `index` of a world behind things: (size, size, 3) in [0, 1].

    Args:
        points: the vertices (N, 3) of every thing that stands on the floor.
        matrix: (4, 4) of the camera, which is at these angles in radians and this distance.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed + SEED, index]))
    known = list(points)
    floor = min(float(p[:, 1].min()) for p in known)
    # A camera below the floor would see it from beneath.
    floor = min(floor, float(eye(azimuth, elevation, distance)[1]) - 0.2)
    low = [p for p in known if p[:, 1].min() < floor + 0.05]
    made = room(rng, floor, azimuth, [foot_of(p) for p in low])
    picture = render(made, matrix[None].astype(np.float32), size, np.full((1, 3), 0.85)).image[0]
    blur = float(rng.choice([0.0, 0.006, 0.015, 0.03])) * size
    if blur:
        picture = gaussian_filter(picture, (blur, blur, 0))
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    side = rng.uniform(0, 2 * np.pi)
    light = rng.uniform(0.75, 1.1) + rng.uniform(0, 0.5) * (x * np.cos(side) + y * np.sin(side))
    return np.clip(picture * light[..., None], 0, 1).astype(np.float32)

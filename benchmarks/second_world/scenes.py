"""Scenes of two or three objects of the second world that stand in a relation, in sizes as in life,
but never smaller than a third of one another.

Example:
    >>> compose(seed=1, index=0).caption          # doctest: +SKIP
    'a red ball on a blue table and a white vase left of a blue table'
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .render import Stage
from .shapes import COLOURS, KINDS, PATTERNS, RADIUS, Thing, make

RELATIONS = ("on", "left of", "right of", "in front of", "behind", "under")
CARRIERS = ("table", "box", "barrel", "bed")
"""What something stands on; under a table only."""
SMALL = ("ball", "bottle", "box", "cactus", "lamp", "mug", "mushroom", "robot", "vase")
FLOORS = ((0.62, 0.55, 0.46), (0.72, 0.71, 0.69), (0.46, 0.50, 0.44), (0.58, 0.48, 0.42))
"""Display RGB of floors: wood, concrete, lawn, carpet."""


@dataclass
class Scene:
    """Placed objects, fitted into the unit sphere together, their relations (i, words, j): object i
    is <words> object j as seen from the front; and the display RGB of the floor, or None."""

    things: list[Thing]
    relations: list[tuple[int, str, int]]
    floor: np.ndarray | None

    @property
    def caption(self) -> str:
        """The relations in words."""
        names = [thing.name for thing in self.things]
        return " and ".join(f"{names[i]} {words} {names[j]}" for i, words, j in self.relations)

    def whole(self) -> Thing:
        """All objects as one surface; `label` says which face is whose, from 1."""
        vertices, faces, local, material, label, materials = [], [], [], [], [], []
        for number, thing in enumerate(self.things):
            faces.append(thing.faces + sum(len(v) for v in vertices))
            material.append(thing.material + len(materials))
            vertices.append(thing.vertices)
            local.append(thing.local)
            label.append(np.full(len(thing.faces), number + 1, np.int32))
            materials += thing.materials
        return replace(
            self.things[0],
            vertices=np.concatenate(vertices),
            faces=np.concatenate(faces),
            material=np.concatenate(material),
            materials=materials,
            local=np.concatenate(local),
            label=np.concatenate(label),
        )


def moved(thing: Thing, scale: float, shift: np.ndarray, turn: float = 0.0) -> Thing:
    """The object turned about the vertical by `turn` radians, scaled, then shifted."""
    c, s = math.cos(turn), math.sin(turn)
    matrix = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    points = (thing.vertices @ matrix.T * scale + shift).astype(np.float32)
    return replace(thing, vertices=points)


def on_floor(thing: Thing, scale: float, turn: float) -> Thing:
    """The object in its size, standing on the level zero, its middle above the origin."""
    out = moved(thing, scale, np.zeros(3), turn)
    low, high = out.vertices.min(0), out.vertices.max(0)
    shift = np.array([-(low[0] + high[0]) / 2, -low[1], -(low[2] + high[2]) / 2])
    return moved(out, 1.0, shift)


def resting_height(carrier: Thing, thing: Thing) -> float:
    """The height at which an object comes to rest when it sinks onto a carrier from above."""
    low, high = thing.vertices.min(0), thing.vertices.max(0)
    middle, half = (low + high) / 2, (high - low) * 0.35
    x, z = np.meshgrid(np.linspace(-1, 1, 7), np.linspace(-1, 1, 7))
    top = float(carrier.vertices[:, 1].max()) + 1.0
    origin = np.stack([middle[0] + half[0] * x, top + 0 * x, middle[2] + half[2] * z], -1)
    origin = origin.reshape(-1, 3)
    hit = Stage(carrier).hits(origin, np.tile([0.0, -1.0, 0.0], (len(origin), 1)))
    on = np.asarray(hit["primID"]) >= 0
    return top - float(np.asarray(hit["tfar"])[on].min()) if on.any() else 0.0


def place(a: Thing, b: Thing, relation: str, rng: np.random.Generator) -> Thing:
    """Object `a`, moved to where "a <relation> b" holds as seen from the front."""
    low, high = b.vertices.min(0), b.vertices.max(0)
    own = (a.vertices.max(0) - a.vertices.min(0)) / 2
    middle = (low + high) / 2
    if relation == "on":
        free = np.maximum((high - low) / 2 * 0.55 - own * 0.6, 0) * rng.uniform(-1, 1, 3)
        ahead = 0.2 * (high[2] - low[2]) if b.category == "bed" else 0.0
        at = moved(a, 1.0, np.array([middle[0] + free[0], 0, middle[2] + free[2] * 0.5 + ahead]))
        return moved(at, 1.0, np.array([0, resting_height(b, at), 0]))
    if relation == "under":
        return moved(a, 1.0, np.array([middle[0], 0, middle[2]]))
    gap = float(rng.uniform(0.06, 0.2)) * float((high - low).max())
    axis = 0 if relation in ("left of", "right of") else 2
    side = 1.0 if relation in ("right of", "in front of") else -1.0
    shift = np.array([middle[0], 0, middle[2]])
    shift[axis] = (high if side > 0 else low)[axis] + side * (gap + own[axis])
    width = float(high[2 - axis] - low[2 - axis])
    if axis == 0:
        shift[2] += float(rng.uniform(-0.15, 0.15)) * width
    else:
        # Off the middle, so that what stands behind is seen.
        away = 0.45 * max(width, 2 * float(own[0])) * float(rng.uniform(0.4, 1.0))
        shift[0] += away if rng.random() < 0.5 else -away
    return moved(a, 1.0, shift)


def _draw(rng: np.random.Generator, category: str, kind: str | None = None) -> Thing:
    colour = str(rng.choice(list(COLOURS)))
    pattern = str(rng.choice(PATTERNS[1:])) if rng.random() < 0.25 else "plain"
    return make(category, colour, pattern, rng, kind)


def _size(thing: Thing, other: Thing) -> float:
    """Scale of an object beside another of scale 1: the root of the ratio in life, in limits."""
    return float(np.clip(math.sqrt(thing.life / other.life), 0.34, 1 / 0.34))


def compose(seed: int, index: int) -> Scene:
    """Scene `index` of a seed; relations are taken in turn, a third of the scenes has three
    objects, two thirds have a floor."""
    rng = np.random.Generator(np.random.Philox(key=[seed + (1 << 33), index]))
    relation = RELATIONS[index % len(RELATIONS)]
    stacked = relation in ("on", "under")
    names = SMALL if stacked else tuple(KINDS)
    carrier = {"on": CARRIERS, "under": ("table",)}.get(relation, tuple(KINDS))
    second = str(rng.choice(carrier))
    first = str(rng.choice([n for n in names if n != second]))
    a = _draw(rng, first)
    b = _draw(rng, second, "square" if relation == "under" else None)
    b = on_floor(b, 1.0, float(rng.uniform(-0.2, 0.2)))
    scale = _size(a, b)
    tall, width = np.ptp(a.vertices[:, 1]), np.ptp(a.vertices[:, 0])
    if relation == "under":
        room = 0.72 * float(b.vertices[:, 1].max())
        scale = min(
            max(scale, 0.45), room / float(tall), 0.5 * float(np.ptp(b.vertices[:, 0]) / width)
        )
    elif relation == "on":
        top = float(min(np.ptp(b.vertices[:, 0]), np.ptp(b.vertices[:, 2])))
        scale = min(max(scale, 0.4), 0.85 * top / float(width))
    elif relation == "in front of":
        scale = min(scale, 0.75 * float(np.ptp(b.vertices[:, 1]) / tall))
    elif relation == "behind":
        scale = max(scale, float(np.ptp(b.vertices[:, 1]) / tall) / 0.75)
    things = [place(on_floor(a, scale, float(rng.uniform(-0.6, 0.6))), b, relation, rng), b]
    relations = [(0, relation, 1)]
    if index % 3 == 2:
        name = str(rng.choice([n for n in KINDS if n not in (first, second)]))
        c, beside = _draw(rng, name), ("left of", "right of")[int(rng.integers(2))]
        if beside == relation:
            beside = "left of" if relation == "right of" else "right of"
        both = Scene(things, [], None).whole()
        c = on_floor(c, _size(c, b), float(rng.uniform(-0.3, 0.3)))
        things.append(place(c, both, beside, rng))
        relations.append((2, beside, 1))
    floor = np.array(FLOORS[int(rng.integers(len(FLOORS)))]) if rng.random() < 0.67 else None
    return Scene(fitted(things), relations, floor)


def fitted(things: list[Thing]) -> list[Thing]:
    """The objects, moved and scaled together into the unit sphere."""
    points = np.concatenate([t.vertices for t in things]).astype(np.float64)
    centre = (points.min(0) + points.max(0)) / 2
    scale = RADIUS / float(np.linalg.norm(points - centre, axis=1).max())
    return [moved(t, scale, -centre * scale) for t in things]

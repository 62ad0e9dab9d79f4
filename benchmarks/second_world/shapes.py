"""Objects of the second world: a category, a colour and a pattern become one closed surface with
materials. The same seed and index give the same object.

Example:
    >>> thing = draw(seed=1, index=8)        # doctest: +SKIP
    >>> thing.caption                        # doctest: +SKIP
    'a striped blue chair'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from . import cars, furniture, outdoors, vehicles, vessels
from .solids import Part, fused

RADIUS = 0.95
"""Radius of the sphere about the origin into which every object and every scene fits."""

Builder = Callable[[np.random.Generator, str], list[Part]]
KINDS: dict[str, tuple[Builder, tuple[str, ...]]] = {
    "ball": (vessels.ball, ("smooth", "seamed")),
    "barrel": (vessels.barrel, ("staves", "drum")),
    "bed": (furniture.bed, ("single", "double")),
    "boat": (vehicles.boat, ("sailing", "rowing")),
    "bottle": (vessels.bottle, ("round", "square")),
    "box": (vessels.box, ("crate", "carton", "lidded")),
    "cactus": (outdoors.cactus, ("column", "ball")),
    "car": (cars.car, ("saloon", "hatchback", "van")),
    "chair": (furniture.chair, ("slats", "panel", "shell")),
    "house": (outdoors.house, ("gable", "eaves")),
    "lamp": (furniture.lamp, ("turned", "pole")),
    "mug": (vessels.mug, ("straight", "belly")),
    "mushroom": (outdoors.mushroom, ("domed", "flat")),
    "robot": (outdoors.robot, ("square", "dome")),
    "rocket": (vehicles.rocket, ("storybook", "slim")),
    "snowman": (outdoors.snowman, ("three", "two")),
    "sofa": (furniture.sofa, ("square", "rolled")),
    "table": (furniture.table, ("square", "round")),
    "tree": (outdoors.tree, ("leafy", "pine")),
    "vase": (vessels.vase, ("slender", "belly")),
}
"""The builder of every category and its kinds. Where the vocabulary has words for shapes ("round
table"), the kinds are these words."""

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.78, 0.13, 0.11),
    "orange": (0.92, 0.47, 0.10),
    "yellow": (0.94, 0.80, 0.20),
    "green": (0.20, 0.52, 0.22),
    "blue": (0.16, 0.32, 0.72),
    "purple": (0.46, 0.21, 0.60),
    "pink": (0.93, 0.56, 0.68),
    "brown": (0.40, 0.25, 0.14),
    "white": (0.93, 0.93, 0.91),
    "black": (0.09, 0.09, 0.10),
}
"""Display RGB of the colour words, as paint has them."""

ROLES: dict[str, tuple[tuple[float, float, float], float]] = {
    "wood": ((0.62, 0.44, 0.27), 0.5),
    "bark": ((0.36, 0.26, 0.18), 0.0),
    "linen": ((0.90, 0.88, 0.83), 0.1),
    "dark": ((0.14, 0.14, 0.15), 0.6),
    "tyre": ((0.10, 0.10, 0.10), 0.2),
    "metal": ((0.62, 0.63, 0.65), 1.0),
    "glass": ((0.26, 0.33, 0.38), 3.0),
    "roof": ((0.45, 0.22, 0.17), 0.2),
    "brick": ((0.56, 0.29, 0.22), 0.0),
    "stone": ((0.58, 0.57, 0.54), 0.0),
    "clay": ((0.72, 0.41, 0.27), 0.1),
    "soil": ((0.22, 0.16, 0.12), 0.0),
    "coal": ((0.07, 0.07, 0.08), 0.3),
    "carrot": ((0.92, 0.45, 0.12), 0.2),
    "signal": ((0.72, 0.08, 0.08), 1.0),
    "lamp": ((0.96, 0.82, 0.35), 0.8),
}
"""Display RGB and gloss of the parts that a caption does not name."""

GLOSS = {
    "ball": 0.8,
    "mug": 1.2,
    "vase": 1.2,
    "car": 2.0,
    "bottle": 1.5,
    "rocket": 1.2,
    "robot": 1.0,
}
"""Gloss of the main part by category, 0.3 for the others; 1 reflects four hundredths head-on."""

PATTERNS = ("plain", "striped", "dotted", "checked")
"""The patterns that are drawn."""
STUFFS = ("wooden", "metal", "brick")
"""What the main part may be made of instead, where it is asked for."""


@dataclass(frozen=True)
class Material:
    """Display colours (3,) in [0, 1], the pattern between the two, the length of its repeat and its
    direction (0 level, 1 upright), whether it runs about the vertical, and the gloss."""

    rgb: np.ndarray
    second: np.ndarray
    pattern: str = "plain"
    period: float = 0.2
    upright: bool = False
    round: bool = False
    gloss: float = 0.3

    def albedo(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Display colours (N, 3) at points (N, 3) in the object's own frame, with the normals (N,
        3) of the faces that they lie on."""
        out = np.tile(self.rgb, (len(points), 1))
        if self.pattern == "plain":
            return out
        u, v = self._place(points, normals)
        if self.pattern == "metal":
            return 0.55 * out + 0.16
        if self.pattern == "wooden":
            plank, grain = np.floor(2 * u), np.sin(9 * v + 2 * np.sin(3 * v))
            tone = 0.86 + 0.10 * np.sin(2.4 * plank) + 0.07 * np.sin(40 * u + 3 * grain)
            return out * np.where(np.mod(2 * u, 1.0) < 0.06, 0.45, tone)[:, None]
        if self.pattern == "brick":
            course = np.floor(2.5 * v)
            joint = np.mod(1.25 * u + 0.5 * np.mod(course, 2), 1.0) < 0.07
            other = joint | (np.mod(2.5 * v, 1.0) < 0.14)
        elif self.pattern == "striped":
            other = np.mod(u if self.upright else v, 1.0) < 0.5
        elif self.pattern == "checked":
            other = np.mod(np.floor(2 * u) + np.floor(2 * v), 2) < 0.5
        else:
            row = np.floor(v)
            x = np.mod(u + 0.5 * np.mod(row, 2), 1.0) - 0.5
            other = np.hypot(x, v - row - 0.5) < 0.30
        out[other] = self.second
        return out

    def _place(self, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The two coordinates of the pattern, one for each repeat."""
        x, y, z = points.T / self.period
        axis = np.abs(normals).argmax(1)
        u, v = np.where(axis == 0, z, x), np.where(axis == 1, z, y)
        if self.round:
            # A whole number of repeats about the axis, as many as fit half of the full radius.
            count = max(4, round(float(np.pi * RADIUS * 0.8 / self.period)))
            level = np.abs(normals[:, 1]) > 0.97
            u = np.where(level, x, np.arctan2(x, z) / (2 * np.pi) * count)
            v = np.where(level, z, y)
        return u + 0.31, v + 0.17


@dataclass
class Thing:
    """A closed coloured surface in the unit sphere, +Y up, front +Z.

    vertices (V, 3) float32; local (V, 3) float32, the vertices before the object was placed in a
    scene; faces (F, 3) int32; material (F,) int32, numbers of `materials`; label (F,) int32, the
    number of the object of a scene. life: half its size in metres.
    """

    vertices: np.ndarray
    faces: np.ndarray
    material: np.ndarray
    materials: list[Material]
    category: str
    colour: str
    pattern: str
    kind: str
    life: float
    local: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    label: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    def __post_init__(self) -> None:
        if not len(self.local):
            self.local = self.vertices
        if not len(self.label):
            self.label = np.ones(len(self.faces), np.int32)

    @property
    def name(self) -> str:
        """What it is, as a caption says it: "a striped blue chair"."""
        mode = self.kind if self.kind in ("round", "pine") and self.category != "bottle" else ""
        mode = "square" if (self.category, self.kind) == ("bottle", "square") else mode
        pattern = "" if self.pattern == "plain" else self.pattern
        words = " ".join(w for w in (pattern, self.colour, mode, self.category) if w)
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"

    def colours(self) -> np.ndarray:
        """Display RGB (F, 3) of every face at its middle."""
        points = self.local[self.faces].mean(1)
        normals = face_normals(self.local, self.faces)
        out = np.empty((len(self.faces), 3), np.float32)
        for number, material in enumerate(self.materials):
            here = self.material == number
            out[here] = material.albedo(points[here], normals[here])
        return out


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (F, 3) of faces."""
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    raw = np.cross(b - a, c - a)
    return raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-20)


def paint(rng: np.random.Generator, rgb: tuple[float, float, float], amount: float) -> np.ndarray:
    """A colour, a little lighter or darker and a little off."""
    return np.clip(
        np.array(rgb) * (1 + rng.normal(0, amount)) + rng.normal(0, amount / 6, 3), 0.02, 0.97
    )


def make(
    category: str,
    colour: str,
    pattern: str,
    rng: np.random.Generator,
    kind: str | None = None,
) -> Thing:
    """One object in the words given; proportions, kind and shade are drawn."""
    builder, kinds = KINDS[category]
    drawn = kinds[int(rng.integers(len(kinds)))]
    kind = drawn if kind is None else kind
    parts = builder(rng, kind)
    everything = fused(parts)[0]
    centre = (everything.min(0) + everything.max(0)) / 2
    life = float(np.linalg.norm(everything - centre, axis=1).max())
    # Patterns lie on faces, so faces must be finer than a stripe.
    vertices, faces, owner = fused(parts, None if pattern == "plain" else 0.03 * life / RADIUS)
    points = ((vertices - centre) * (RADIUS / life)).astype(np.float32)
    base = paint(rng, COLOURS[colour], 0.06)
    second = np.array((0.92, 0.90, 0.85) if base.mean() < 0.68 else (0.30, 0.33, 0.40))
    period, upright = float(rng.uniform(0.20, 0.32)), bool(rng.random() < 0.4)
    materials = []
    for part in parts:
        if part.role == "main":
            gloss = 4.0 if pattern == "metal" else GLOSS.get(category, 0.3)
            materials.append(Material(base, second, pattern, period, upright, part.round, gloss))
        else:
            rgb, gloss = ROLES[part.role]
            shade = paint(rng, rgb, 0.08)
            materials.append(Material(shade, shade, gloss=gloss))
    return Thing(points, faces, owner, materials, category, colour, pattern, kind, life)


def draw(
    seed: int, index: int, patterned: float = 0.35, patterns: tuple[str, ...] = PATTERNS[1:]
) -> Thing:
    """Object `index` of a seed: its category goes through the table in order, colour, kind and
    pattern are drawn; the share `patterned` has one of `patterns`."""
    rng = np.random.Generator(np.random.Philox(key=[seed, index]))
    category = list(KINDS)[index % len(KINDS)]
    colour = str(rng.choice(list(COLOURS)))
    pattern = str(rng.choice(patterns)) if rng.random() < patterned else "plain"
    return make(category, colour, pattern, rng)

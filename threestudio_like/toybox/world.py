"""The procedural world: coloured objects and scenes with captions, deterministic by (split, seed).

Train, validation and test worlds differ in proportions: the leading proportion of every object (the
chair's back, the bottle's body) is drawn from disjoint parts of its range.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .objects import ACCENTS, BUILDERS, Proportions
from .vocabulary import CATEGORIES, COLOURS, HELD_OUT_COLOURS, MODES, SYNONYMS, Phrase

SPLITS = ("train", "validation", "test")
_PATTERN_CODE = {"plain": 0, "striped": 1, "dotted": 2}
RADIUS = 0.95
"""Radius of the sphere about the origin that every object and scene exactly fits into."""


@dataclass
class ToyObject:
    """An exact coloured mesh in the unit sphere, with +Y up and its front towards +Z.

    vertices (V, 3) float32; faces (F, 3) int32; face_material (F,) int32, an index into
    `materials`; materials (M, 7) float32, with RGB in [0, 1], the second RGB of a pattern, and the
    code of the pattern (0 plain, 1 striped, 2 dotted).
    """

    vertices: np.ndarray
    faces: np.ndarray
    face_material: np.ndarray
    materials: np.ndarray
    caption: str
    phrases: list[Phrase]
    parts: list[tuple[int, int]] = field(default_factory=list)
    """Face ranges [begin, end) of the objects of a scene, one for each phrase."""


def _held_apart(rng: np.random.Generator, split: str) -> float:
    """A random number in [0, 1] from the part of the range that belongs to the split."""
    u = rng.random()
    if split == "validation":
        return 0.30 + 0.10 * u
    if split == "test":
        return 0.60 + 0.10 * u
    u *= 0.8
    return u if u < 0.3 else u + 0.1 if u < 0.5 else u + 0.2


def _material(rng: np.random.Generator, rgb, pattern: str, jitter: float) -> list[float]:
    colour = np.clip(np.asarray(rgb) + rng.normal(0, jitter, 3), 0.02, 0.98)
    light = float(colour.mean()) < 0.72
    second = (0.96, 0.95, 0.90) if light else (0.25, 0.26, 0.30)
    return [*colour.tolist(), *second, float(_PATTERN_CODE[pattern])]


def build(phrase: Phrase, rng: np.random.Generator, split: str = "train") -> ToyObject:
    """One object with the phrase's category, colour, mode and pattern, and with proportions drawn
    from `rng`."""
    proportions = Proportions(rng, _held_apart(rng, split))
    colour = phrase.colour or str(rng.choice(list(COLOURS)))
    vertices, faces, material = [], [], []
    roles: dict[str, int] = {}
    materials: list[list[float]] = []
    offset = 0
    for (v, f), role in BUILDERS[phrase.category](proportions, phrase.mode):
        if role not in roles:
            roles[role] = len(materials)
            if role == "main":
                materials.append(_material(rng, COLOURS[colour], phrase.pattern, jitter=0.025))
            else:
                materials.append(_material(rng, ACCENTS[role], "plain", jitter=0.02))
        vertices.append(v)
        faces.append(f + offset)
        material.append(np.full(len(f), roles[role], np.int32))
        offset += len(v)
    points, triangles = fit_to_sphere(np.concatenate(vertices)), np.concatenate(faces)
    return ToyObject(
        points,
        triangles,
        np.concatenate(material),
        materials=np.asarray(materials, np.float32),
        caption=describe(phrase),
        phrases=[phrase],
        parts=[(0, len(triangles))],
    )


def fit_to_sphere(vertices: np.ndarray) -> np.ndarray:
    """Move the centre of the bounding box to the origin and scale to `RADIUS`: (V, 3) to (V, 3)
    float32."""
    center = (vertices.min(0) + vertices.max(0)) / 2
    vertices = vertices - center
    return (vertices * (RADIUS / np.linalg.norm(vertices, axis=1).max())).astype(np.float32)


def describe(phrase: Phrase, synonym: str | None = None, name_mode: bool = False) -> str:
    """The caption of one object: article, pattern, colour, mode and category. The usual mode is
    named only if requested."""
    modes = MODES.get(phrase.category, ())
    mode = phrase.mode if modes and (name_mode or phrase.mode != modes[0]) else None
    pattern = phrase.pattern if phrase.pattern != "plain" else None
    words = [w for w in (pattern, phrase.colour, mode, synonym or phrase.category) if w]
    return ("an " if words[0][0] in "aeiou" else "a ") + " ".join(words)


def draw_phrase(
    rng: np.random.Generator,
    split: str = "train",
    category: str | None = None,
    every_pair: bool = False,
    patterned: bool = False,
) -> Phrase:
    """A random description of an object.

    The training split never pairs a category with its held-out colours, unless `every_pair` is set.
    With `patterned`, every pattern is as likely as plain.
    """
    category = category or str(rng.choice(CATEGORIES))
    if split == "train" and not every_pair:
        colours = [c for c in COLOURS if c not in HELD_OUT_COLOURS[category]]
    else:
        colours = list(COLOURS)
    modes = MODES.get(category, ())
    mode = None if not modes else modes[0] if rng.random() < 0.65 else str(rng.choice(modes[1:]))
    pattern = (
        "plain"
        if rng.random() < (1 / 3 if patterned else 0.8)
        else str(rng.choice(["striped", "dotted"]))
    )
    return Phrase(category, str(rng.choice(colours)), mode, pattern=pattern)


def caption_of(obj: ToyObject, rng: np.random.Generator) -> str:
    """A caption as training pictures have it, sometimes with a synonym, the name of the usual mode,
    or no colour."""
    if len(obj.phrases) > 1:
        return obj.caption
    phrase = obj.phrases[0]
    others = [s for s, w in SYNONYMS.items() if w == phrase.category]
    synonym = str(rng.choice(others)) if others and rng.random() < 0.2 else None
    if rng.random() < 0.03:
        phrase = Phrase(phrase.category, None, phrase.mode, pattern=phrase.pattern)
    text = describe(phrase, synonym, bool(rng.random() < 0.3))
    for other, word in SYNONYMS.items():
        if word in COLOURS and f" {word} " in text and rng.random() < 0.1:
            text = text.replace(f" {word} ", f" {other} ")
    return text


FLAT_TOPS = ("box", "table", "bed", "barrel")
SMALL = (
    "ball",
    "bottle",
    "mug",
    "vase",
    "cactus",
    "mushroom",
    "box",
    "lamp",
    "robot",
    "snowman",
    "car",
)


def build_scene(rng: np.random.Generator, split: str = "train", count: int = 2) -> ToyObject:
    """Two or three objects in a spatial relation, as one mesh with a face range for each object."""
    relation = str(rng.choice(["on", "under", "left of", "right of", "in front of", "behind"]))
    stacked = relation in ("on", "under")
    first = draw_phrase(rng, split, str(rng.choice(SMALL)) if stacked else None)
    second = draw_phrase(rng, split, str(rng.choice(FLAT_TOPS)) if stacked else None)
    while second.category == first.category:
        second = draw_phrase(rng, split, str(rng.choice(FLAT_TOPS)) if stacked else None)
    if relation == "under":
        second = Phrase("table", second.colour, "square", pattern="plain")
        if first.category == "lamp":
            first = Phrase("ball", first.colour)
    a, b = build(first, rng, split), build(second, rng, split)
    _place(a, b, relation, rng=rng)
    objects, text = [a, b], f"{describe(first)} {relation} {describe(second)}"
    if count == 3:
        third = draw_phrase(rng, split, str(rng.choice(SMALL)))
        c = build(third, rng, split)
        c.vertices *= 0.75
        side = 1.0 if rng.random() < 0.5 else -1.0
        pair = np.concatenate([a.vertices, b.vertices])
        c.vertices += beside(c.vertices, pair, 0, side=side, floor=pair[:, 1].min())
        objects.append(c)
        text += f" and {describe(third)} {'right' if side > 0 else 'left'} of {describe(second)}"
    return merge(objects, text)


def beside(
    moving: np.ndarray, fixed: np.ndarray, axis: int, side: float, floor: float, gap: float = 0.12
) -> np.ndarray:
    """The shift (3,) float32 that moves points (N, 3) next to others along an axis, centred on them
    and on the same floor."""
    offset = -(moving.min(0) + moving.max(0)) / 2 + (fixed.min(0) + fixed.max(0)) / 2
    if side > 0:
        offset[axis] = fixed[:, axis].max() + gap - moving[:, axis].min()
    else:
        offset[axis] = fixed[:, axis].min() - gap - moving[:, axis].max()
    offset[1] = floor - moving[:, 1].min()
    return offset.astype(np.float32)


def on_top(moving: np.ndarray, fixed: np.ndarray, bed: bool = False) -> float:
    """The height by which points (N, 3) are raised to stand on others; on a bed they lie on the
    mattress, not on the headboard."""
    top = float(np.percentile(fixed[:, 1], 60)) if bed else float(fixed[:, 1].max())
    return top - float(moving[:, 1].min())


def under(moving: np.ndarray, fixed: np.ndarray) -> float:
    """The height by which points (N, 3) are raised to stand on the floor of others, between their
    legs."""
    return float(fixed[:, 1].min()) - float(moving[:, 1].min())


def _place(a: ToyObject, b: ToyObject, relation: str, rng: np.random.Generator) -> None:
    """Move and scale `a` so that "a <relation> b" holds as seen from the front (+Z towards the
    viewer, +X to the right)."""
    floor = float(b.vertices[:, 1].min())
    if relation == "on":
        a.vertices *= 0.72
        a.vertices[:, 1] += on_top(a.vertices, b.vertices, b.phrases[0].category == "bed")
    elif relation == "under":
        b.vertices *= 1.25
        a.vertices *= 0.42
        a.vertices[:, 1] += under(a.vertices, b.vertices)
    else:
        axis, side = {
            "left of": (0, -1.0),
            "right of": (0, 1.0),
            "in front of": (2, 1.0),
            "behind": (2, -1.0),
        }[relation]
        a.vertices *= float(rng.uniform(0.8, 1.0))
        a.vertices += beside(a.vertices, b.vertices, axis, side=side, floor=floor)


def merge(objects: list[ToyObject], caption: str, fit: bool = True) -> ToyObject:
    """Several objects at their places as one mesh, with a face range for each. `fit` scales the
    whole into the unit sphere."""
    vertices, faces, face_material, materials, parts, phrases = [], [], [], [], [], []
    v_offset = m_offset = f_offset = 0
    for obj in objects:
        vertices.append(obj.vertices)
        faces.append(obj.faces + v_offset)
        face_material.append(obj.face_material + m_offset)
        materials.append(obj.materials)
        parts.append((f_offset, f_offset + len(obj.faces)))
        phrases += obj.phrases
        v_offset, m_offset, f_offset = (
            v_offset + len(obj.vertices),
            m_offset + len(obj.materials),
            f_offset + len(obj.faces),
        )
    points = np.concatenate(vertices)
    return ToyObject(
        fit_to_sphere(points) if fit else points,
        np.concatenate(faces),
        np.concatenate(face_material),
        materials=np.concatenate(materials),
        caption=caption,
        phrases=phrases,
        parts=parts,
    )


def draw(
    seed: int,
    index: int,
    split: str = "train",
    scenes: float = 0.0,
    every_pair: bool = False,
    patterned: bool = False,
) -> ToyObject:
    """Object number `index` of a world; the same arguments give the same bytes.

    `scenes` is the share of scenes. `every_pair` lets the training split show the colours that the
    benchmark asks for, which judges need.
    """
    rng = np.random.Generator(np.random.Philox(key=[(seed << 2) | SPLITS.index(split), index]))
    u = rng.random()
    if u < scenes:
        return build_scene(rng, split, 3 if u < 0.25 * scenes else 2)
    category = CATEGORIES[index % len(CATEGORIES)]
    return build(
        draw_phrase(rng, split, category, every_pair=every_pair, patterned=patterned), rng, split
    )

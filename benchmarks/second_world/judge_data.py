"""Pictures for the second judge, of both worlds: rendered once in shards of objects, stored as
arrays, so that an interrupted rendering goes on.

The categories, colours, patterns, relations and parts are read from an edition of the toybox when
the pictures are drawn. What only one world can make is drawn by that one alone: categories that
the second world has no builder for, and parts of a colour of their own.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from threestudio_like.toybox.edition import Edition
    from threestudio_like.toybox.toy_object import ToyObject
    from threestudio_like.toybox.words import Phrase

SIZE = 128
VIEWS = ("front", "side", "back", "overhead")
ANGLES = 4
"""Pictures of every object."""
NONE = -100
"""The label of what a picture does not show: PyTorch's cross-entropy leaves it out."""


@dataclass(frozen=True)
class Words:
    """What the judge tells apart, in the order of its outputs; parts are words whose colour it is
    asked for, as the legs' of a chair."""

    categories: tuple[str, ...]
    colours: tuple[str, ...]
    patterns: tuple[str, ...]
    relations: tuple[str, ...]
    parts: tuple[str, ...] = ()

    @staticmethod
    def of(world: Edition) -> Words:
        """The words of an edition of the toybox, and the patterns that only the second world
        has."""
        from .shapes import PATTERNS

        words = world.vocabulary
        patterns = tuple(dict.fromkeys((*words.patterns, *PATTERNS)))
        parts = tuple(dict.fromkeys(p for several in words.parts.values() for p in several))
        return Words(words.categories, tuple(words.colours), patterns, words.relations, parts)

    def facts(self) -> dict[str, list[str]]:
        """For a JSON file."""
        return {k: list(v) for k, v in asdict(self).items() if v}


@dataclass
class Pictures:
    """N pictures: pixels (N, S, S, 4) uint8, not multiplied by alpha; labels (N, 9) int64:
    category, colour, pattern, view, relation, the categories of its two objects, a part and its
    colour; -100 where a picture does not show one."""

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def view_of(azimuth: float, elevation: float, front: bool) -> int:
    """The number of the view word: overhead above 60 degrees; of objects without a front no
    other."""
    if math.degrees(elevation) >= 59.9:
        return VIEWS.index("overhead")
    if not front:
        return NONE
    turn = math.degrees(azimuth) % 360
    return VIEWS.index(
        "front" if turn <= 35 or turn >= 325 else "back" if 145 <= turn <= 215 else "side"
    )


def _angles(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Azimuths and elevations (4,) in radians of an object's pictures; one in eight from above."""
    azimuth = rng.uniform(0, 2 * np.pi) + np.arange(ANGLES) * np.pi / 2
    high = rng.random(ANGLES) < 0.125
    elevation = np.where(high, rng.uniform(60, 80, ANGLES), rng.uniform(-8, 42, ANGLES))
    return azimuth, np.deg2rad(elevation)


def toy_object(
    words: Words, world: Edition, seed: int, index: int
) -> tuple[np.ndarray, list[list[int]]]:
    """Pictures (4, S, S, 4) uint8 and labels of one object of the toybox."""
    from threestudio_like.toybox.render import render, view_projection

    split = ("train", "validation")[index % 2]
    obj = world.draw(seed, index, split, every_pair=True, patterned=index % 3 > 0)
    phrase = obj.phrases[0]
    azimuth, elevation = _angles(np.random.Generator(np.random.Philox(key=[seed + 11, index])))
    cameras = np.stack([view_projection(float(a), float(e)) for a, e in zip(azimuth, elevation)])
    views = render(obj, cameras, SIZE, np.zeros((ANGLES, 3), np.float32))
    alpha = views.mask[..., None]
    image = np.concatenate([views.image / np.maximum(alpha, 1e-3), alpha], -1)
    what = [
        words.categories.index(phrase.category),
        words.colours.index(phrase.colour) if phrase.colour else NONE,
        words.patterns.index(phrase.pattern),
    ]
    front = phrase.category in world.has_front
    seen = _part_seen(words, world, obj)
    labels = [
        [*what, view_of(a, e, front), NONE, NONE, NONE, *seen] for a, e in zip(azimuth, elevation)
    ]
    return _bytes(image), labels


def _part_seen(words: Words, world: Edition, obj: ToyObject) -> tuple[int, int]:
    """The number of a part that the caption names and of its colour. What is named and not there
    counts as not named."""
    phrase = obj.phrases[0]
    shown = parts_of(world, phrase)
    for part, colour in phrase.parts:
        if part in shown:
            return words.parts.index(part), words.colours.index(colour)
    return NONE, NONE


def parts_of(world: Edition, phrase: Phrase) -> list[str]:
    """The parts whose colour can be named and that an object of this category and mode has: a
    sailing boat has no cabin."""
    from threestudio_like.toybox.objects.parts import Proportions

    category = world.by_name[phrase.category]
    rng = np.random.Generator(np.random.Philox(key=[6107, 0]))
    drawn = category.build(Proportions(rng, world.units(rng, "train"), {}), phrase.mode)
    names = {name for _, name in drawn}
    return [part for part in category.parts if part in names]


def second_object(
    words: Words, world: Edition, seed: int, index: int
) -> tuple[np.ndarray, list[list[int]]]:
    """Pictures (4, S, S, 4) uint8 and labels of one object of the second world."""
    from .render import Light, render
    from .shapes import PATTERNS, STUFFS, draw

    known = tuple(p for p in (*PATTERNS[1:], *STUFFS) if p in words.patterns)
    thing = draw(seed, index, 0.6, known)
    rng = np.random.Generator(np.random.Philox(key=[seed + 13, index]))
    azimuth, elevation = _angles(rng)
    image = render(thing, azimuth, elevation, SIZE, Light.draw(rng), sky_rays=3, seed=index).image
    what = [
        words.categories.index(thing.category),
        words.colours.index(thing.colour),
        words.patterns.index(thing.pattern),
    ]
    front = thing.category in world.has_front
    labels = [[*what, view_of(a, e, front), *[NONE] * 5] for a, e in zip(azimuth, elevation)]
    return _bytes(image), labels


def _scene_angles(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return np.deg2rad(rng.uniform(-25, 25, ANGLES)), np.deg2rad(rng.uniform(5, 35, ANGLES))


def toy_scene(
    words: Words, world: Edition, seed: int, index: int
) -> tuple[np.ndarray, list[list[int]]]:
    """Pictures (4, S, S, 4) uint8 and labels of one scene of the toybox."""
    from threestudio_like.toybox.render import render, view_projection

    scene = world.draw_layout(seed, index, "train", (2, 2, 3))
    azimuth, elevation = _scene_angles(
        np.random.Generator(np.random.Philox(key=[seed + 17, index]))
    )
    cameras = np.stack([view_projection(float(a), float(e)) for a, e in zip(azimuth, elevation)])
    views = render(scene.whole(), cameras, SIZE, np.zeros((ANGLES, 3), np.float32))
    alpha = views.mask[..., None]
    image = np.concatenate([views.image / np.maximum(alpha, 1e-3), alpha], -1)
    names = [obj.phrases[0].category for obj in scene.objects]
    return _bytes(image), [_relation(words, scene.relations[0], names)] * ANGLES


def second_scene(
    words: Words, world: Edition, seed: int, index: int
) -> tuple[np.ndarray, list[list[int]]]:
    """Pictures (4, S, S, 4) uint8 and labels of one scene of the second world."""
    from .render import Light, render
    from .scenes import compose

    scene = compose(seed, index)
    rng = np.random.Generator(np.random.Philox(key=[seed + 19, index]))
    azimuth, elevation = _scene_angles(rng)
    light = Light.draw(rng)
    views = render(scene.whole(), azimuth, elevation, SIZE, light, scene.floor, 2, 3, index)
    names = [thing.category for thing in scene.things]
    return _bytes(views.image), [_relation(words, scene.relations[0], names)] * ANGLES


def _relation(words: Words, relation: tuple[int, str, int], names: list[str]) -> list[int]:
    i, word, j = relation
    which = [words.categories.index(names[k]) for k in (i, j)]
    return [NONE, NONE, NONE, NONE, words.relations.index(word), *which, NONE, NONE]


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


KINDS = {
    "toy-objects": toy_object,
    "second-objects": second_object,
    "toy-scenes": toy_scene,
    "second-scenes": second_scene,
}
SHARD = 64
"""Objects of a file."""


def shard(
    folder: Path, words: Words, world: Edition, kind: str, seed: int, number: int
) -> Pictures:
    """Pictures of objects or scenes 64 * number to 64 * number + 63, rendered if they are not
    stored."""
    path = folder / f"{kind}-{seed}-{number:04d}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            if json.loads(str(stored["words"])) == words.facts():
                return Pictures(stored["pixels"], stored["labels"])
    drawn = [KINDS[kind](words, world, seed, number * SHARD + n) for n in range(SHARD)]
    pixels = np.concatenate([d[0] for d in drawn])
    labels = np.array([row for d in drawn for row in d[1]], np.int64)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, pixels=pixels, labels=labels, words=json.dumps(words.facts()))
    part.replace(path)
    return Pictures(pixels, labels)


def gather(
    folder: Path, words: Words, world: Edition, seed: int, counts: dict[str, int]
) -> Pictures:
    """Pictures of `counts` objects and scenes of each kind, rounded up to whole shards."""
    found: list[Pictures] = []
    for kind, count in counts.items():
        found += [shard(folder, words, world, kind, seed, n) for n in range(-(-count // SHARD))]
    return Pictures(
        np.concatenate([p.pixels for p in found]), np.concatenate([p.labels for p in found])
    )


__all__: list[Any] = ["ANGLES", "NONE", "SIZE", "VIEWS", "Pictures", "Words", "gather", "parts_of"]

"""Scenes of the second edition: things of different sizes beside and behind each other, on what
has a top and under tables, and several of a kind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...meshes.transform import Transform
from ..arranging import SIDES, ToyScene, beside, fit_scene, push_clear
from ..toy_object import ToyObject, merge
from ..words import Phrase

if TYPE_CHECKING:
    from ..edition import Edition

RANGE = (0.35, 1.0)
"""The smallest and largest relation of two sizes in a scene: things that differ more in life, a
snail and a house, are drawn nearer to each other, or neither could be seen."""


def in_life(edition: Edition, phrase: Phrase, other: Phrase) -> float:
    """The size of one thing in units of another's, as it usually is."""
    one, two = (edition.by_name[p.category].size for p in (phrase, other))
    return one / two


def _scale(edition: Edition, phrase: Phrase, other: Phrase) -> float:
    """The size of one thing in units of another's, softened by a square root."""
    return float(np.clip(np.sqrt(in_life(edition, phrase, other)), RANGE[0], 1 / RANGE[0]))


def built(edition: Edition, phrase: Phrase, rng: np.random.Generator, split: str) -> ToyObject:
    """An object whose pattern stays on it when it is moved and scaled."""
    obj = edition.build(phrase, rng, split)
    obj.painted = obj.vertices.copy()
    return obj


def _stacked(scene: ToyScene, obj: ToyObject, scale: float, relation: str) -> Transform:
    """Where an object stands on the first one, or under it on its floor."""
    base = scene.placements[0].apply(scene.objects[0].vertices)[:, 1]
    level = base.max() if relation == "on" else base.min()
    lift = float(level - obj.vertices[:, 1].min() * scale)
    return Transform.turn(0.0, scale, np.array([0.0, lift, 0.0]))


def _add(
    scene: ToyScene, obj: ToyObject, relation: str, scale: float, rng: np.random.Generator
) -> None:
    """Place an object so that "obj <relation> the first object" holds as seen from the front, clear
    of all others."""
    if relation in ("on", "under"):
        place = _stacked(scene, obj, scale, relation)
    else:
        axis, side = SIDES[relation]
        turn = float(rng.uniform(-0.5, 0.5))
        turned = Transform.turn(turn, scale).apply(obj.vertices)
        everything = np.concatenate(
            [p.apply(o.vertices) for o, p in zip(scene.objects, scene.placements)]
        )
        base = scene.placements[0].apply(scene.objects[0].vertices)
        gap = float(rng.uniform(0.04, 0.14))
        floor = float(everything[:, 1].min())
        offset = beside(turned, base, axis, side=side, floor=floor, gap=gap)
        place = Transform.turn(turn, scale, offset)
        taken = [p.apply(o.vertices) for o, p in zip(scene.objects, scene.placements)]
        push_clear(place, obj.vertices, taken, axis, side)
    scene.objects.append(obj)
    scene.placements.append(place)
    scene.relations.append((len(scene.objects) - 1, relation, 0))


def _phrases(
    edition: Edition, rng: np.random.Generator, split: str, relation: str, taken: set[str]
) -> tuple[Phrase, Phrase]:
    """A thing and the one that it is related to: on what has a top, under a table, and smaller than
    that."""
    tops = [c for c in edition.categories if c.top is not None]
    anchor = None
    if relation == "under":
        anchor = "table"
    elif relation == "on":
        anchor = str(rng.choice([c.name for c in tops]))
    other = edition.draw_phrase(rng, split, anchor)
    if relation == "under":
        other = replace(other, mode="square", adjectives=())
    size = edition.by_name[other.category].size
    choices = [
        c.name
        for c in edition.categories
        if c.name != other.category
        and c.name not in taken
        and (relation in SIDES or c.size < 0.7 * size)
    ]
    return edition.draw_phrase(rng, split, str(rng.choice(choices))), other


def layout(
    edition: Edition,
    rng: np.random.Generator,
    split: str = "train",
    count: int = 2,
    relation: str | None = None,
) -> ToyScene:
    """A scene of `count` objects, the first two in a relation (any of the six by default), further
    ones beside, before or behind the object that the first is related to.

    Raises:
        ValueError: there are fewer than two objects.
    """
    if count < 2:
        raise ValueError(f"a scene has at least two objects, got {count}")
    relation = relation or str(rng.choice(edition.vocabulary.relations))
    one, two = _phrases(edition, rng, split, relation, set())
    scene = ToyScene([built(edition, two, rng, split)], [Transform(1.0)], words=edition.vocabulary)
    scale = _scale(edition, one, two)
    stacked = {"on": 0.5, "under": 0.4}
    scale = min(scale, stacked.get(relation, scale))
    _add(scene, built(edition, one, rng, split), relation, scale, rng)
    while len(scene.objects) < count:
        said = {w for _, w, _ in scene.relations}
        beyond = str(rng.choice([r for r in SIDES if r not in said]))
        taken = {o.phrases[0].category for o in scene.objects}
        names = [c.name for c in edition.categories if c.name not in taken]
        phrase = edition.draw_phrase(rng, split, str(rng.choice(names)))
        scale = _scale(edition, phrase, two)
        _add(scene, built(edition, phrase, rng, split), beyond, scale, rng)
    fit_scene(scene)
    return scene


def several(edition: Edition, rng: np.random.Generator, split: str, count: int) -> ToyObject:
    """Two or three things of one description in a row: "two red chairs"."""
    phrase = replace(edition.draw_phrase(rng, split), parts=(), adjectives=())
    word = next(w for w, n in edition.vocabulary.counts.items() if n == count)
    objects: list[ToyObject] = []
    edge = 0.0
    for _ in range(count):
        obj = built(edition, phrase, rng, split)
        low = obj.vertices.min(0)
        obj.vertices = obj.vertices - np.array([low[0] - edge, low[1], 0], np.float32)
        edge = float(obj.vertices[:, 0].max()) + 0.15
        objects.append(obj)
    return merge(objects, edition.vocabulary.describe(phrase, count=word))


def scene(edition: Edition, rng: np.random.Generator, split: str, count: int) -> ToyObject:
    """A scene as one mesh: related objects, now and then several of a kind."""
    if rng.random() < 0.25:
        return several(edition, rng, split, count)
    placed = layout(edition, rng, split, count)
    return placed.whole()

"""Scenes of two to four toybox objects with known placements: `compose` is measured on them, and
the segmenter is trained on them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..meshes.transform import Transform
from .vocabulary import RELATIONS, Phrase
from .world import (
    FLAT_TOPS,
    RADIUS,
    SMALL,
    SPLITS,
    ToyObject,
    beside,
    build,
    describe,
    draw_phrase,
    merge,
    on_top,
    under,
)


@dataclass
class ToyScene:
    """Objects in the unit sphere, each with its transform, and relations (i, words, j): object i is
    <words> object j as seen from the front."""

    objects: list[ToyObject]
    placements: list[Transform]
    relations: list[tuple[int, str, int]] = field(default_factory=list)

    @property
    def caption(self) -> str:
        """The caption, such as "a red ball on a blue box and a green mug left of a blue box".
        Objects without a relation are appended with "and"."""
        named, texts = set(), []
        for i, words, j in self.relations:
            texts.append(
                f"{describe(self.objects[i].phrases[0])} {words} "
                f"{describe(self.objects[j].phrases[0])}"
            )
            named |= {i, j}
        texts += [describe(o.phrases[0]) for k, o in enumerate(self.objects) if k not in named]
        return " and ".join(texts)

    def whole(self) -> ToyObject:
        """A copy of all objects at their places, as one mesh with a face range for each object."""
        placed = [
            ToyObject(
                p.apply(o.vertices),
                o.faces,
                o.face_material,
                materials=o.materials,
                caption=o.caption,
                phrases=o.phrases,
                parts=o.parts,
            )
            for o, p in zip(self.objects, self.placements)
        ]
        return merge(placed, self.caption, fit=False)


def related(
    rng: np.random.Generator,
    relation: str,
    split: str,
    avoid: set[str],
    against: ToyObject | None = None,
) -> tuple[Phrase, Phrase | None]:
    """Phrases of an object and of the object that it is related to (None if `against` is given), of
    categories that allow the relation."""
    stacked = relation in ("on", "under")

    def phrase(choices: tuple[str, ...] | None, taken: set[str]) -> Phrase:
        while True:
            drawn = draw_phrase(rng, split, str(rng.choice(choices)) if choices else None)
            if drawn.category not in taken:
                return drawn

    other = None
    if against is None:
        other = phrase(FLAT_TOPS if stacked else None, avoid)
        if relation == "under":
            other = Phrase("table", other.colour, "square", pattern="plain")
    taken = avoid | {(other or against.phrases[0]).category if (other or against) else ""}  # type: ignore[union-attr]
    small = tuple(c for c in SMALL if relation != "under" or c != "lamp")
    return phrase(small if stacked else None, taken), other


def build_layout(
    rng: np.random.Generator, split: str = "train", count: int = 2, relation: str | None = None
) -> ToyScene:
    """A scene of `count` objects.

    The first two are in `relation` (any of the six by default), and every further one is beside,
    before or behind an existing object. Sizes are as in `world.build_scene`.

    Raises:
        ValueError: there are fewer than two objects.
    """
    if count < 2:
        raise ValueError(f"a scene has at least two objects, got {count}")
    relation = relation or str(rng.choice(RELATIONS))
    one, two = related(rng, relation, split, avoid=set())
    assert two is not None
    anchor, first = build(two, rng, split), build(one, rng, split)
    scene = ToyScene([anchor], [Transform(1.25 if relation == "under" else 1.0)])
    _add(scene, first, relation, to=0, rng=rng)
    while len(scene.objects) < count:
        free = [
            r
            for r in ("left of", "right of", "in front of", "behind")
            if r not in {w for _, w, j in scene.relations if j == 0}
        ]
        beyond = str(rng.choice(free))
        phrase, _ = related(
            rng, beyond, split, avoid={o.phrases[0].category for o in scene.objects}, against=anchor
        )
        _add(scene, build(phrase, rng, split), beyond, to=0, rng=rng)
    _fit(scene)
    return scene


def _add(scene: ToyScene, obj: ToyObject, relation: str, to: int, rng: np.random.Generator) -> None:
    """Place `obj` so that "obj <relation> scene.objects[to]" holds as seen from the front, without
    touching any other object."""
    base = scene.placements[to].apply(scene.objects[to].vertices)
    floor = float(
        min(p.apply(o.vertices)[:, 1].min() for o, p in zip(scene.objects, scene.placements))
    )
    turn = float(rng.uniform(-0.5, 0.5))
    if relation == "on":
        scale = 0.72
        lifted = on_top(obj.vertices * scale, base, scene.objects[to].phrases[0].category == "bed")
        place = Transform.turn(
            0.0, scale, np.array([0.0, lifted, 0.0]) + scene.placements[to].translation * [1, 0, 1]
        )
    elif relation == "under":
        scale = 0.42
        place = Transform.turn(0.0, scale, np.array([0.0, under(obj.vertices * scale, base), 0.0]))
    else:
        axis, side = {
            "left of": (0, -1.0),
            "right of": (0, 1.0),
            "in front of": (2, 1.0),
            "behind": (2, -1.0),
        }[relation]
        scale = float(rng.uniform(0.6, 0.95))
        turned = Transform.turn(turn, scale).apply(obj.vertices)
        place = Transform.turn(
            turn,
            scale,
            beside(turned, base, axis, side=side, floor=floor, gap=float(rng.uniform(0.04, 0.16))),
        )
        # Slightly off the axis, so that an object behind another is visible.
        place.translation[2 - axis] += float(rng.uniform(-0.3, 0.3)) * scale
        taken = [p.apply(o.vertices) for o, p in zip(scene.objects, scene.placements)]
        for _ in range(40):
            here = place.apply(obj.vertices)
            if not any(_overlap(here, other) for k, other in enumerate(taken) if k != to):
                break
            place.translation[axis] += side * 0.1
    scene.objects.append(obj)
    scene.placements.append(place)
    scene.relations.append((len(scene.objects) - 1, relation, to))


def _overlap(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether the bounding boxes of points (N, 3) overlap."""
    return bool((one.min(0) < two.max(0)).all() and (two.min(0) < one.max(0)).all())


def _fit(scene: ToyScene) -> None:
    """Move the centre of the scene's bounding box to the origin and scale the scene into the sphere
    of `RADIUS`."""
    points = np.concatenate(
        [p.apply(o.vertices) for o, p in zip(scene.objects, scene.placements)]
    ).astype(np.float64)
    centre = (points.min(0) + points.max(0)) / 2
    share = RADIUS / np.linalg.norm(points - centre, axis=1).max()
    for place in scene.placements:
        place.scale *= float(share)
        place.translation = (place.translation - centre) * share


def draw_layout(
    seed: int, index: int, split: str = "test", counts: tuple[int, ...] = (2, 3, 4)
) -> ToyScene:
    """Scene number `index` of a world; the same arguments give the same bytes. Numbers of objects
    and relations alternate."""
    rng = np.random.Generator(
        np.random.Philox(key=[(seed << 2) | SPLITS.index(split), index + (1 << 32)])
    )
    return build_layout(
        rng,
        split,
        counts[index % len(counts)],
        relation=RELATIONS[(index // len(counts)) % len(RELATIONS)],
    )

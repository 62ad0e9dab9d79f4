"""How objects stand beside, on and under each other: scenes as one mesh for training pictures, and
layouts with known placements, of the default edition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..meshes.transform import Transform
from .toy_object import RADIUS, ToyObject, merge
from .vocabulary import TWENTY
from .words import Phrase, Vocabulary

if TYPE_CHECKING:
    from .edition import Edition


@dataclass
class ToyScene:
    """Objects in the unit sphere, each with its transform, and relations (i, words, j): object i is
    <words> object j as seen from the front."""

    objects: list[ToyObject]
    placements: list[Transform]
    relations: list[tuple[int, str, int]] = field(default_factory=list)
    words: Vocabulary = field(default=TWENTY, kw_only=True)
    """The words of its caption."""

    @property
    def caption(self) -> str:
        """The caption, such as "a red ball on a blue box and a green mug left of a blue box".
        Objects without a relation are appended with "and"."""
        named, texts = set(), []
        for i, words, j in self.relations:
            texts.append(
                f"{self.words.describe(self.objects[i].phrases[0])} {words} "
                f"{self.words.describe(self.objects[j].phrases[0])}"
            )
            named |= {i, j}
        texts += [
            self.words.describe(o.phrases[0]) for k, o in enumerate(self.objects) if k not in named
        ]
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
                painted=o.painted,
            )
            for o, p in zip(self.objects, self.placements)
        ]
        return merge(placed, self.caption, fit=False)


SIDES = {
    "left of": (0, -1.0),
    "right of": (0, 1.0),
    "in front of": (2, 1.0),
    "behind": (2, -1.0),
}
"""Axis and direction of the relations beside a thing."""
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


def pair_scene(
    edition: Edition, rng: np.random.Generator, split: str = "train", count: int = 2
) -> ToyObject:
    """Two or three objects in a spatial relation, as one mesh with a face range for each object."""
    describe = edition.vocabulary.describe
    relation = str(rng.choice(["on", "under", "left of", "right of", "in front of", "behind"]))
    stacked = relation in ("on", "under")
    first = edition.draw_phrase(rng, split, str(rng.choice(SMALL)) if stacked else None)
    second = edition.draw_phrase(rng, split, str(rng.choice(FLAT_TOPS)) if stacked else None)
    while second.category == first.category:
        second = edition.draw_phrase(rng, split, str(rng.choice(FLAT_TOPS)) if stacked else None)
    if relation == "under":
        second = Phrase("table", second.colour, "square", pattern="plain")
        if first.category == "lamp":
            first = Phrase("ball", first.colour)
    a, b = edition.build(first, rng, split), edition.build(second, rng, split)
    _place(a, b, relation, rng=rng)
    objects, text = (
        [a, b],
        f"{describe(first)} {relation} {describe(second)}",
    )
    if count == 3:
        third = edition.draw_phrase(rng, split, str(rng.choice(SMALL)))
        c = edition.build(third, rng, split)
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
        axis, side = SIDES[relation]
        a.vertices *= float(rng.uniform(0.8, 1.0))
        a.vertices += beside(a.vertices, b.vertices, axis, side=side, floor=floor)


def related(
    edition: Edition,
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
            drawn = edition.draw_phrase(rng, split, str(rng.choice(choices)) if choices else None)
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


def pair_layout(
    edition: Edition,
    rng: np.random.Generator,
    split: str = "train",
    count: int = 2,
    relation: str | None = None,
) -> ToyScene:
    """A scene of `count` objects.

    The first two are in `relation` (any of the six by default), and every further one is beside,
    before or behind an existing object. Sizes are as in `pair_scene`.

    Raises:
        ValueError: there are fewer than two objects.
    """
    if count < 2:
        raise ValueError(f"a scene has at least two objects, got {count}")
    relation = relation or str(rng.choice(edition.vocabulary.relations))
    one, two = related(edition, rng, relation, split, avoid=set())
    assert two is not None
    anchor, first = edition.build(two, rng, split), edition.build(one, rng, split)
    scene = ToyScene(
        [anchor], [Transform(1.25 if relation == "under" else 1.0)], words=edition.vocabulary
    )
    _add(scene, first, relation, to=0, rng=rng)
    while len(scene.objects) < count:
        free = [r for r in SIDES if r not in {w for _, w, j in scene.relations if j == 0}]
        beyond = str(rng.choice(free))
        phrase, _ = related(
            edition,
            rng,
            beyond,
            split,
            avoid={o.phrases[0].category for o in scene.objects},
            against=anchor,
        )
        _add(scene, edition.build(phrase, rng, split), beyond, to=0, rng=rng)
    fit_scene(scene)
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
        axis, side = SIDES[relation]
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
        push_clear(place, obj.vertices, [t for k, t in enumerate(taken) if k != to], axis, side)
    scene.objects.append(obj)
    scene.placements.append(place)
    scene.relations.append((len(scene.objects) - 1, relation, to))


def push_clear(
    place: Transform, points: np.ndarray, taken: list[np.ndarray], axis: int, side: float
) -> None:
    """Push points (N, 3) along an axis until they touch none of the others, at most four units."""
    for _ in range(40):
        here = place.apply(points)
        if not any(_overlap(here, other) for other in taken):
            break
        place.translation[axis] += side * 0.1


def _overlap(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether the bounding boxes of points (N, 3) overlap."""
    return bool((one.min(0) < two.max(0)).all() and (two.min(0) < one.max(0)).all())


def fit_scene(scene: ToyScene) -> None:
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

"""Things in rooms, in sizes as in life: tables with things on them, things on the floor, and
furniture behind. For the segmenter, which has to find small things among large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...meshes.transform import Transform
from ..arranging import ToyScene, fit_scene
from ..words import Phrase
from .scenes import built, in_life

if TYPE_CHECKING:
    from ..edition import Edition

SMALLEST = 0.14
"""The smallest size of a thing in units of the largest: smaller ones could not be seen."""
BEHIND = ("bookshelf", "cabinet", "sofa", "bed", "lamp", "tree", "guitar", "chair")
"""What stands against a wall."""
TRIES = 30


def _scale(edition: Edition, phrase: Phrase, other: Phrase) -> float:
    """The size of a thing in units of another's, nearer to life than in other scenes."""
    return float(np.clip(in_life(edition, phrase, other) ** 0.8, SMALLEST, 1 / SMALLEST))


class _Places:
    """The bounding boxes (low, high) on the ground of what has been placed."""

    def __init__(self) -> None:
        self.boxes: list[tuple[np.ndarray, np.ndarray]] = []

    def free(self, points: np.ndarray, gap: float = 0.02) -> bool:
        low, high = points[:, [0, 2]].min(0), points[:, [0, 2]].max(0)
        if any((low < b + gap).all() and (a - gap < high).all() for a, b in self.boxes):
            return False
        self.boxes.append((low, high))
        return True


def _stand(
    scene: ToyScene,
    edition: Edition,
    phrase: Phrase,
    rng: np.random.Generator,
    split: str,
    scale: float,
    height: float,
    area: tuple[np.ndarray, np.ndarray],
    places: _Places,
) -> None:
    """Stand a thing somewhere in an area of the ground, clear of all others; nowhere where there
    is no room for it."""
    obj = built(edition, phrase, rng, split)
    for _ in range(TRIES):
        spot = rng.uniform(area[0], area[1])
        turn = float(rng.uniform(-0.9, 0.9))
        place = Transform.turn(turn, scale, np.array([spot[0], 0.0, spot[1]]))
        points = place.apply(obj.vertices)
        place.translation[1] = height - float(points[:, 1].min())
        if places.free(points):
            scene.objects.append(obj)
            scene.placements.append(place)
            return


def interior(edition: Edition, rng: np.random.Generator, split: str = "train") -> ToyScene:
    """Something with a top and one to four smaller things on it, up to two more beside it on the
    floor, and up to two pieces of furniture behind; or things on the floor alone. It has no
    caption of relations, and lies in the unit sphere."""
    tops = [c.name for c in edition.categories if c.top is not None]
    with_top = rng.random() < 0.65
    first = edition.draw_phrase(rng, split, str(rng.choice(tops)) if with_top else None)
    base = built(edition, first, rng, split)
    scene = ToyScene(
        [base], [Transform.turn(float(rng.uniform(-0.7, 0.7)))], words=edition.vocabulary
    )
    points = scene.placements[0].apply(base.vertices)
    low, high = points.min(0), points.max(0)
    size = edition.by_name[first.category].size

    def some(count: int, able: list[str]) -> list[Phrase]:
        names = [str(n) for n in rng.choice(able, min(count, len(able)), replace=False)]
        return [edition.draw_phrase(rng, split, n) for n in names]

    if with_top:
        middle, half = (low + high)[[0, 2]] / 2, (high - low)[[0, 2]] / 2
        top = edition.by_name[first.category].top or 1.0
        smaller = [c.name for c in edition.categories if c.size < 0.45 * size]
        on_it, area = _Places(), (middle - 0.6 * half, middle + 0.6 * half)
        for phrase in some(int(rng.integers(1, 5)), smaller):
            scale = min(_scale(edition, phrase, first), 0.45)
            height = float(low[1] + top * (high[1] - low[1]))
            _stand(scene, edition, phrase, rng, split, scale, height, area, on_it)
    on_floor = _Places()
    on_floor.free(points)
    names = [c.name for c in edition.categories if 0.2 * size < c.size < 3 * size]
    count = int(rng.integers(0, 3)) if with_top else int(rng.integers(1, 4))
    reach = np.array([1.7, 1.1])
    for phrase in some(count, names):
        scale = min(_scale(edition, phrase, first), 1.3)
        _stand(scene, edition, phrase, rng, split, scale, float(low[1]), (-reach, reach), on_floor)
    for phrase in some(int(rng.integers(0, 3)), list(BEHIND)):
        scale = min(_scale(edition, phrase, first), 1.5)
        area = (np.array([-1.8, -1.9]), np.array([1.8, -1.2]))
        _stand(scene, edition, phrase, rng, split, scale, float(low[1]), area, on_floor)
    fit_scene(scene)
    return scene

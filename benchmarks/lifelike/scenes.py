"""The twenty scenes: what stands where, and from where it is seen. Written by hand; proportions of
the things are drawn from the scene's number.

Example:
    >>> shot(0).prompt                       # doctest: +SKIP
    'a red mug left of a white vase'
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from second_world.scenes import fitted, on_floor, place
from second_world.shapes import Thing, make

SEED = 7301


@dataclass(frozen=True)
class One:
    """A thing: colour and category, its kind where it matters, its size against the first one, and
    degrees by which it is turned from its front."""

    colour: str
    category: str
    kind: str | None = None
    size: float = 1.0
    turn: float = 0.0


@dataclass(frozen=True)
class Shot:
    """A scene: the setting (desk, room, garden), its things, how each but the first stands to an
    earlier one (thing, words, other), and the camera: degrees it looks down, vertical field of view
    of the picture, distance in units of the scene's radius; the picture's width by its height."""

    setting: str
    things: tuple[One, ...]
    relations: tuple[tuple[int, str, int], ...]
    elevation: float = 18.0
    fov: float = 40.0
    distance: float = 3.0
    aspect: float = 4 / 3

    @property
    def names(self) -> list[str]:
        """What every thing is, as a person would say it."""
        return [_name(t) for t in self.things]

    @property
    def prompt(self) -> str:
        """What a person would say of it all."""
        names = self.names
        return " and ".join(f"{names[i]} {words} {names[j]}" for i, words, j in self.relations)


def _name(thing: One) -> str:
    """Colour and category, with the kinds that prompts name."""
    kind = f"{thing.kind} " if thing.kind in ("round", "pine") else ""
    article = "an" if thing.colour[0] in "aeiou" else "a"
    return f"{article} {thing.colour} {kind}{thing.category}"


DESK = (
    Shot(
        "desk", (One("white", "vase"), One("red", "mug", size=0.6, turn=30)), ((1, "left of", 0),)
    ),
    Shot("desk", (One("blue", "mug"), One("green", "bottle", size=1.5)), ((1, "behind", 0),), 24.0),
    Shot(
        "desk",
        (One("brown", "box", "crate"), One("yellow", "ball", size=0.5)),
        ((1, "in front of", 0),),
        26.0,
        36.0,
        3.8,
    ),
    Shot(
        "desk",
        (One("brown", "box", "carton"), One("white", "mug", size=0.6, turn=-50)),
        ((1, "on", 0),),
        16.0,
    ),
    Shot(
        "desk",
        (One("green", "bottle"), One("pink", "vase", size=0.8)),
        ((1, "right of", 0),),
        10.0,
        32.0,
        4.2,
    ),
    Shot(
        "desk",
        (One("red", "box", "lidded"), One("black", "mug", size=0.7, turn=70)),
        ((1, "in front of", 0),),
        30.0,
    ),
    Shot(
        "desk",
        (
            One("white", "mug", turn=20),
            One("blue", "bottle", size=1.5),
            One("red", "ball", size=0.8),
        ),
        ((1, "right of", 0), (2, "left of", 0)),
        20.0,
    ),
    Shot(
        "desk",
        (One("orange", "mug"), One("green", "cactus", size=1.4)),
        ((1, "left of", 0),),
        14.0,
        aspect=1.0,
    ),
    Shot(
        "desk",
        (One("brown", "box", "crate"), One("red", "car", size=0.8, turn=-35)),
        ((1, "in front of", 0),),
        28.0,
        aspect=1.0,
    ),
)
ROOM = (
    Shot(
        "room",
        (One("white", "table", "square"), One("brown", "chair", "slats", 0.85, 25)),
        ((1, "left of", 0),),
        16.0,
    ),
    Shot(
        "room",
        (One("black", "lamp", "pole"), One("blue", "sofa", size=1.15)),
        ((1, "right of", 0),),
        12.0,
    ),
    Shot(
        "room",
        (One("brown", "table", "round"), One("red", "vase", size=0.45)),
        ((1, "on", 0),),
        18.0,
    ),
    Shot(
        "room",
        (One("brown", "table", "square"), One("green", "chair", "panel", 0.8, 160)),
        ((1, "in front of", 0),),
        20.0,
        40.0,
        2.5,
    ),
    Shot(
        "room",
        (One("brown", "table", "square"), One("blue", "ball", size=0.35)),
        ((1, "under", 0),),
        14.0,
    ),
    Shot(
        "room",
        (One("white", "bed"), One("yellow", "chair", "shell", 0.7, -20)),
        ((1, "left of", 0),),
        24.0,
    ),
    Shot(
        "room",
        (One("pink", "chair", "panel"), One("purple", "box", "lidded", 0.5, 15)),
        ((1, "right of", 0),),
        20.0,
        aspect=1.0,
    ),
    Shot(
        "room",
        (
            One("brown", "table", "square"),
            One("white", "lamp", "turned", 0.5),
            One("orange", "chair", "slats", 0.8, 10),
        ),
        ((1, "on", 0), (2, "left of", 0)),
        16.0,
    ),
)
GARDEN = (
    Shot(
        "garden",
        (One("white", "house"), One("red", "car", size=0.7, turn=-60)),
        ((1, "in front of", 0),),
        16.0,
    ),
    Shot(
        "garden",
        (One("green", "tree", "leafy"), One("brown", "barrel", size=0.45)),
        ((1, "left of", 0),),
        12.0,
    ),
    Shot(
        "garden",
        (One("blue", "car", turn=40), One("brown", "barrel", "staves", 0.55)),
        ((1, "right of", 0),),
        14.0,
        aspect=1.0,
    ),
)
SHOTS = DESK + ROOM + GARDEN


@dataclass
class Photographed:
    """A scene with its things placed, in the order of the prompt: fitted into the unit sphere
    together, feet on one level. others: another thing of each one's category."""

    shot: Shot
    things: list[Thing]
    others: list[Thing]


def shot(number: int) -> Photographed:
    """Scene `number` of `SHOTS`."""
    said = SHOTS[number]
    rng = np.random.Generator(np.random.Philox(key=[SEED, number]))
    drawn = [make(t.category, t.colour, "plain", rng, t.kind) for t in said.things]
    turns = [np.deg2rad(t.turn) for t in said.things]
    placed = [on_floor(drawn[0], 1.0, turns[0])]
    for k, words, other in said.relations:
        thing = on_floor(drawn[k], said.things[k].size, turns[k])
        placed.append(place(thing, placed[other], words, rng))
    others = [make(t.category, t.colour, "plain", rng) for t in said.things]
    return Photographed(said, fitted(placed), others)

"""The default edition: twenty categories in narrow proportions, which the shipped weights know.

Train, validation and test worlds differ in the leading proportion of every object (the chair's
back, the bottle's body), which is drawn from disjoint parts of its range.
"""

from __future__ import annotations

import numpy as np

from .arranging import pair_layout, pair_scene
from .edition import Category, Edition
from .objects import BUILDERS, HAS_FRONT
from .objects.parts import Unit
from .patterns import BALLS, PLAIN, STRIPES, Pattern
from .vocabulary import TWENTY as WORDS


def held_apart(rng: np.random.Generator, split: str) -> float:
    """A random number in [0, 1] from the part of the range that belongs to the split."""
    u = rng.random()
    if split == "validation":
        return 0.30 + 0.10 * u
    if split == "test":
        return 0.60 + 0.10 * u
    u *= 0.8
    return u if u < 0.3 else u + 0.1 if u < 0.5 else u + 0.2


def leading_unit(rng: np.random.Generator, split: str) -> Unit:
    """The first proportion from the split's part of its range, the others from all of it."""
    leading = held_apart(rng, split)

    def unit(rng: np.random.Generator, number: int) -> float:
        u = rng.random()
        return leading if number == 0 else u

    return unit


TWENTY = Edition(
    name="twenty",
    vocabulary=WORDS,
    categories=tuple(
        Category(
            name=name,
            build=BUILDERS[name],
            modes=WORDS.modes.get(name, ()),
            front=name in HAS_FRONT,
        )
        for name in WORDS.categories
    ),
    patterns={
        "plain": Pattern(code=PLAIN),
        "striped": Pattern(code=STRIPES),
        "dotted": Pattern(code=BALLS),
    },
    units=leading_unit,
    scene=pair_scene,
    layout=pair_layout,
)

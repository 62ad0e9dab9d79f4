"""The second edition: its words, and the rules by which its objects are drawn.

Every proportion of an object is drawn for itself from a wide range, which is cut into twenty bands.
Validation and test objects come from bands of their own in all proportions.
"""

from __future__ import annotations

import numpy as np

from .. import vocabulary as first
from ..edition import Category, Edition
from ..objects.parts import Unit
from ..patterns import BANDS, BRICK, CHECKS, DOTS, METAL, PLAIN, WOOD, Pattern, grain, mortar
from ..words import Vocabulary
from .animals import ANIMALS
from .craft import CRAFT
from .figures import FIGURES
from .food import FOOD
from .furniture import FURNITURE
from .hand_tools import TOOLS
from .interiors import interior
from .outdoors import OUTDOORS
from .scenes import layout, scene
from .sundries import SUNDRIES
from .vehicles import VEHICLES
from .vessels import VESSELS

CATEGORIES: tuple[Category, ...] = tuple(
    sorted(
        (
            *ANIMALS,
            *CRAFT,
            *FIGURES,
            *FOOD,
            *FURNITURE,
            *OUTDOORS,
            *SUNDRIES,
            *TOOLS,
            *VEHICLES,
            *VESSELS,
        ),
        key=lambda c: c.name,
    )
)
BANDS_OF = {
    "validation": (2, 8, 13, 17),
    "test": (4, 6, 11, 15),
}
"""The twentieths of every proportion's range that belong to a split; training has the others."""
_TRAIN = tuple(n for n in range(20) if not any(n in bands for bands in BANDS_OF.values()))


def banded_unit(rng: np.random.Generator, split: str) -> Unit:
    """Every proportion from the bands of the split, all independent of each other."""
    bands = BANDS_OF.get(split, _TRAIN)

    def unit(rng: np.random.Generator, number: int) -> float:
        place = rng.random() * len(bands)
        band = min(int(place), len(bands) - 1)
        return (bands[band] + place - band) / 20

    return unit


STRETCH = {
    "tall": {"height": 1.5},
    "low": {"height": 0.62},
    "wide": {"width": 1.5},
    "narrow": {"width": 0.66},
    "long": {"length": 1.45},
    "short": {"length": 0.68},
    "thick": {"thickness": 1.6},
    "thin": {"thickness": 0.6},
}
"""What adjectives change, and by what factor."""
SIZES = {"small": 0.65}
WORDS = Vocabulary(
    categories=tuple(c.name for c in CATEGORIES),
    colours=first.COLOURS,
    synonyms={
        **first.SYNONYMS,
        "plane": "aeroplane",
        "bike": "bicycle",
        "ship": "boat",
        "cupboard": "cabinet",
        "lorry": "truck",
        "shovel": "spade",
        "puppy": "dog",
        "kitten": "cat",
        "pony": "horse",
        "football": "ball",
        "man": "person",
        "wood": "wooden",
        "checkered": "checked",
        "spotted": "dotted",
    },
    modes={c.name: c.modes for c in CATEGORIES if c.modes},
    patterns=("plain", "striped", "dotted", "checked", "wooden", "brick", "metal"),
    relations=first.RELATIONS,
    views=first.VIEWS,
    adjectives={c.name: ("small", *c.adjectives) for c in CATEGORIES},
    parts={c.name: tuple(c.parts) for c in CATEGORIES if c.parts},
    plurals={c.name: c.plural or f"{c.name}s" for c in CATEGORIES},
    counts={"two": 2, "three": 3},
    trailing=frozenset({"letter", "number"}),
)

FIFTY = Edition(
    name="fifty",
    vocabulary=WORDS,
    categories=CATEGORIES,
    patterns={
        "plain": Pattern(code=PLAIN),
        "striped": Pattern(code=BANDS),
        "dotted": Pattern(code=DOTS),
        "checked": Pattern(code=CHECKS),
        "wooden": Pattern(code=WOOD, second=grain, natural=(0.66, 0.45, 0.25)),
        "brick": Pattern(code=BRICK, second=mortar, natural=(0.66, 0.28, 0.20)),
        "metal": Pattern(code=METAL, natural=(0.72, 0.74, 0.78)),
    },
    units=banded_unit,
    stretch=STRETCH,
    sizes=SIZES,
    usual=0.45,
    plain=0.6,
    adjective=0.2,
    part=0.25,
    longest_prompt=64,
    scene=scene,
    layout=layout,
    interior=interior,
    rooms=0.5,
)

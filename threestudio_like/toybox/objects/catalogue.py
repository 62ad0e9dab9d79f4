"""The table of the twenty categories of parametric objects, each a function from proportions to
coloured parts.

Objects have +Y up and their front towards +Z. Their sizes are free, because `world` normalises
every object into the unit sphere.
"""

from __future__ import annotations

from collections.abc import Callable

from .figures import ball, cactus, house, mushroom, robot, snowman, tree
from .furniture import bed, chair, lamp, sofa, table
from .parts import Part, Proportions
from .vehicles import boat, car, rocket
from .vessels import barrel, bottle, box_, mug, vase

BUILDERS: dict[str, Callable[[Proportions, str | None], list[Part]]] = {
    "ball": ball,
    "barrel": barrel,
    "bed": bed,
    "boat": boat,
    "bottle": bottle,
    "box": box_,
    "cactus": cactus,
    "car": car,
    "chair": chair,
    "house": house,
    "lamp": lamp,
    "mug": mug,
    "mushroom": mushroom,
    "robot": robot,
    "rocket": rocket,
    "snowman": snowman,
    "sofa": sofa,
    "table": table,
    "tree": tree,
    "vase": vase,
}
"""The builder of each category."""

HAS_FRONT = frozenset(
    {"bed", "boat", "car", "chair", "house", "mug", "robot", "rocket", "snowman", "sofa"}
)
"""Categories whose front can be distinguished from the side or back."""
